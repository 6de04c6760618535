//! Accounts, sessions, devices: who a fan is, how long a login lasts, where notices arrive.
//!
//! Keeps true: an account sees and changes itself only; what fails about a login does not say whether there is such an
//! account; neither a password nor a token nor a device's address is ever given out again.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use boxoffice_adapters::notify::Locale;
use boxoffice_adapters::store::{
    Account, AccountChange, Device, DeviceAddress, DevicePut, NewAccount, Rotation, Session,
};
use boxoffice_core::{AccountId, DeviceId, SessionId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{Fan, password_fault};
use crate::extract::{Id, Json, Part};
use crate::problem::Problem;
use crate::wire::{Page, given, given_object, object, object_or_null};

/// Longest e-mail address, characters.
const EMAIL_MAX: usize = 254;
/// Longest name, characters.
const NAME_MAX: usize = 100;
/// Longest password that is compared, characters; no account has a longer one.
const PASSWORD_MAX: usize = 256;
/// Longest refresh token that is looked at, characters; ours have 70.
const REFRESH_TOKEN_MAX: usize = 512;
/// Longest token of a push service, characters.
const DEVICE_TOKEN_MAX: usize = 4_096;
/// Longest address of a push service, characters.
const ENDPOINT_MAX: usize = 2_048;
/// Longest key of a web push subscription, characters of base64url.
const PUSH_KEY_MAX: usize = 128;

/// The routes of this file.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_account))
        .routes(routes!(my_account, change_my_account))
        .routes(routes!(create_session))
        .routes(routes!(refresh_session))
        .routes(routes!(end_session))
        .routes(routes!(devices))
        .routes(routes!(put_device, delete_device))
}

/// The language of notices.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LocaleBody {
    /// Korean.
    Ko,
    /// English.
    En,
}

impl From<LocaleBody> for Locale {
    fn from(locale: LocaleBody) -> Self {
        match locale {
            LocaleBody::Ko => Self::Ko,
            LocaleBody::En => Self::En,
        }
    }
}

impl From<Locale> for LocaleBody {
    fn from(locale: Locale) -> Self {
        match locale {
            Locale::Ko => Self::Ko,
            Locale::En => Self::En,
        }
    }
}

/// What an account is made from.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAccountBody {
    /// Plain ASCII; one account an address, in whatever case it is written.
    #[schema(min_length = 6, max_length = 254, examples("minji@example.com"))]
    email: String,
    /// Not the name or address, and not one that everybody tries first.
    #[schema(min_length = 8, max_length = 256, format = Password)]
    password: String,
    /// Without control characters.
    #[schema(min_length = 1, max_length = 100, examples("Kim Minji"))]
    name: String,
    /// `en` when not given.
    #[serde(default, deserialize_with = "given")]
    locale: Option<LocaleBody>,
}

/// A new account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountMadeBody {
    #[schema(format = Uuid)]
    account_id: String,
    email: String,
    name: String,
    locale: LocaleBody,
}

/// The account that is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountBody {
    #[schema(format = Uuid)]
    account_id: String,
    email: String,
    name: String,
    locale: LocaleBody,
    phone: Option<String>,
    notices: NoticesBody,
    role: RoleBody,
}

/// Which channels are wanted for notices.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NoticesBody {
    push: bool,
    email: bool,
    sms: bool,
}

/// What an account may do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RoleBody {
    /// Buys tickets.
    Fan,
    /// Runs sales.
    Operator,
}

impl From<Account> for AccountBody {
    fn from(account: Account) -> Self {
        let wishes = account.wishes;
        Self {
            account_id: account.account_id.to_string(),
            email: account.email,
            name: account.name,
            locale: account.locale.into(),
            phone: account.phone,
            notices: NoticesBody {
                push: wishes.push,
                email: wishes.email,
                sms: wishes.sms,
            },
            role: if account.operator {
                RoleBody::Operator
            } else {
                RoleBody::Fan
            },
        }
    }
}

/// What to change; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountChangeBody {
    #[serde(default, deserialize_with = "given")]
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    locale: Option<LocaleBody>,
    /// 5 to 15 digits, a plus in front, and spaces, hyphens, dots and brackets between them; null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 32, examples("+82 10-1234-5678"))]
    phone: Option<Option<String>>,
    #[serde(default, deserialize_with = "given_object")]
    notices: Option<NoticesChangeBody>,
}

/// Which channels to switch; what is not given stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoticesChangeBody {
    #[serde(default, deserialize_with = "given")]
    push: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    email: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    sms: Option<bool>,
}

/// Makes a fan's account. Log in afterwards with `POST /api/v1/sessions`.
#[utoipa::path(post, path = "/api/v1/accounts", tag = "accounts", request_body = NewAccountBody, responses(
    (status = 201, body = AccountMadeBody),
    (status = 400, description = "`weak-password`: too short, too long, known to everybody, or the name or address; `bad-request`: a field is wrong, the detail names it"),
    (status = 409, description = "`email-taken`"),
    (status = 503, description = "`busy`: too many at once; try again after `Retry-After`"),
))]
pub(crate) async fn create_account(
    State(app): State<App>,
    Json(new): Json<NewAccountBody>,
) -> Result<Response, Problem> {
    let NewAccountBody {
        email,
        password,
        name,
        locale,
    } = new;
    check(email_fault(&email))?;
    check(name_fault(&name))?;
    if let Some(fault) = password_fault(&password, &email, &name) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "weak-password",
            fault,
        ));
    }
    // Looked up first as well: a taken address must not cost a hash.
    if app.store.account_by_email(email.clone()).await?.is_some() {
        return Err(email_taken());
    }
    let (account_id, locale) = (
        AccountId::from(uuid::Uuid::now_v7()),
        locale.unwrap_or(LocaleBody::En),
    );
    let password_hash = app.auth.hash(password).await?;
    let new = NewAccount {
        account_id,
        email: email.clone(),
        name: name.clone(),
        locale: locale.into(),
        password_hash,
    };
    if !app.store.create_account(new).await? {
        return Err(email_taken());
    }
    let made = AccountMadeBody {
        account_id: account_id.to_string(),
        email,
        name,
        locale,
    };
    Ok((StatusCode::CREATED, axum::Json(made)).into_response())
}

/// The account that is logged in.
#[utoipa::path(get, path = "/api/v1/accounts/me", tag = "accounts", security(("bearer" = [])), responses(
    (status = 200, body = AccountBody),
    (status = 401, description = "`login-required`"),
    (status = 503, description = "`busy`"),
))]
pub(crate) async fn my_account(
    State(app): State<App>,
    fan: Fan,
) -> Result<axum::Json<AccountBody>, Problem> {
    let account = app
        .store
        .account(fan.account)
        .await?
        .ok_or_else(Problem::login_required)?;
    Ok(axum::Json(account.into()))
}

/// Changes the account that is logged in.
#[utoipa::path(patch, path = "/api/v1/accounts/me", tag = "accounts", security(("bearer" = [])), request_body = AccountChangeBody, responses(
    (status = 200, description = "As it is now.", body = AccountBody),
    (status = 400, description = "`bad-request`: a field is wrong, the detail names it"),
    (status = 401, description = "`login-required`"),
    (status = 503, description = "`busy`"),
))]
pub(crate) async fn change_my_account(
    State(app): State<App>,
    fan: Fan,
    Json(change): Json<AccountChangeBody>,
) -> Result<axum::Json<AccountBody>, Problem> {
    let AccountChangeBody {
        name,
        locale,
        phone,
        notices,
    } = change;
    check(name.as_deref().and_then(name_fault))?;
    check(phone.iter().flatten().find_map(|phone| phone_fault(phone)))?;
    let NoticesChangeBody { push, email, sms } = notices.unwrap_or_default();
    let change = AccountChange {
        name,
        locale: locale.map(Locale::from),
        phone,
        push,
        email,
        sms,
    };
    let account = app
        .store
        .change_account(fan.account, change)
        .await?
        .ok_or_else(Problem::login_required)?;
    Ok(axum::Json(account.into()))
}

/// What a login is asked for with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSessionBody {
    #[schema(max_length = 254)]
    email: String,
    #[schema(max_length = 256, format = Password)]
    password: String,
}

/// A login.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionBody {
    /// A JWT, for `Authorization: Bearer`.
    access_token: String,
    #[schema(examples("Bearer"))]
    token_type: &'static str,
    /// Life of a new access token, seconds.
    expires_in: u32,
    /// Good once, for `POST /api/v1/sessions/refresh`; without it the login ends with the access token.
    refresh_token: String,
}

/// Logs in, fans and operators alike.
#[utoipa::path(post, path = "/api/v1/sessions", tag = "accounts", request_body = NewSessionBody, responses(
    (status = 201, body = SessionBody),
    (status = 400, description = "`bad-request`: a field is wrong, the detail names it"),
    (status = 401, description = "`bad-credentials`: no account has this address and password"),
    (status = 503, description = "`busy`: too many log in at once; try again after `Retry-After`"),
))]
pub(crate) async fn create_session(
    State(app): State<App>,
    Json(new): Json<NewSessionBody>,
) -> Result<Response, Problem> {
    let NewSessionBody { email, password } = new;
    check(longer("email", &email, EMAIL_MAX))?;
    check(longer("password", &password, PASSWORD_MAX))?;
    let (account, hash) = app.store.account_by_email(email).await?.unzip();
    let known = app.auth.is_password(password, hash).await?;
    let Some(account) = account.filter(|_| known) else {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "bad-credentials",
            "No account has this address and password.",
        ));
    };
    let session_id = SessionId::from(uuid::Uuid::now_v7());
    let session = app
        .store
        .create_session(session_id, &account, app.auth.refresh_ttl_s())
        .await?;
    tokens(&app, StatusCode::CREATED, &session)
}

/// What goes on with a login.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshBody {
    #[schema(max_length = 512)]
    refresh_token: String,
}

/// Goes on with a login: spends the refresh token for a new pair.
///
/// The same token again within a second (a parallel tab) is answered with the same new pair. Any other spent token ends the
/// whole session, for one of the two that have it must have stolen it.
#[utoipa::path(post, path = "/api/v1/sessions/refresh", tag = "accounts", request_body = RefreshBody, responses(
    (status = 200, body = SessionBody),
    (status = 400, description = "`bad-request`: a field is wrong, the detail names it"),
    (status = 401, description = "`session-ended`: log in again; the token was spent, has run out, or is none of ours"),
    (status = 503, description = "`busy`: try the same again, nothing is spent"),
))]
pub(crate) async fn refresh_session(
    State(app): State<App>,
    Json(body): Json<RefreshBody>,
) -> Result<Response, Problem> {
    check(longer(
        "refresh_token",
        &body.refresh_token,
        REFRESH_TOKEN_MAX,
    ))?;
    let ended = || {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "session-ended",
            "This login has ended; log in again (POST /api/v1/sessions).",
        )
    };
    let (session_id, generation) = app
        .auth
        .read_refresh(&body.refresh_token)
        .ok_or_else(ended)?;
    match app
        .store
        .rotate_session(session_id, generation, app.auth.refresh_ttl_s())
        .await?
    {
        Rotation::Good(session) => tokens(&app, StatusCode::OK, &session),
        Rotation::Refused => Err(ended()),
        Rotation::Ended(at) => {
            app.auth.end(session_id, at);
            Err(ended())
        }
    }
}

/// Logs out: neither the access tokens nor the refresh token of this login are good for anything afterwards.
#[utoipa::path(delete, path = "/api/v1/sessions/current", tag = "accounts", security(("bearer" = [])), responses(
    (status = 204, description = "Logged out."),
    (status = 401, description = "`login-required`: there is no login, or none any more"),
    (status = 503, description = "`busy`: still logged in; try again"),
))]
pub(crate) async fn end_session(State(app): State<App>, fan: Fan) -> Result<StatusCode, Problem> {
    let ended_at = app.store.end_session(fan.session).await?;
    app.auth.end(fan.session, ended_at);
    Ok(StatusCode::NO_CONTENT)
}

/// How a device is reached.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChannelBody {
    /// Firebase Cloud Messaging.
    Fcm,
    /// Apple Push Notification service.
    Apns,
    /// A browser.
    WebPush,
}

/// Where notices may arrive: `token` for `fcm` and `apns`, `subscription` for `web_push`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDeviceBody {
    channel: ChannelBody,
    /// What the push service gave the app.
    #[schema(min_length = 1, max_length = 4096)]
    token: Option<String>,
    #[serde(default, deserialize_with = "object_or_null")]
    subscription: Option<SubscriptionBody>,
}

/// A browser's push subscription, as its `toJSON()` gives it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscriptionBody {
    /// Begins with `https://`.
    #[schema(max_length = 2048, format = "uri")]
    endpoint: String,
    #[serde(deserialize_with = "object")]
    keys: SubscriptionKeysBody,
    /// Browsers send it along; not used.
    #[serde(rename = "expirationTime", default, skip_serializing)]
    #[schema(value_type = Option<f64>)]
    _expiration_time: Option<f64>,
}

/// The keys of a push subscription, in base64url.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscriptionKeysBody {
    #[schema(min_length = 1, max_length = 128)]
    p256dh: String,
    #[schema(min_length = 1, max_length = 128)]
    auth: String,
}

/// A device that notices may arrive at. Its address is not given out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceBody {
    #[schema(format = Uuid)]
    device_id: String,
    channel: ChannelBody,
}

/// The devices of the account that is logged in.
#[utoipa::path(get, path = "/api/v1/devices", tag = "accounts", security(("bearer" = [])),
    params(("limit" = Option<u32>, Query, description = "1 to 200"), ("cursor" = Option<String>, Query, description = "`next_cursor` of the part before")),
    responses(
        (status = 200, body = Page<DeviceBody>),
        (status = 400, description = "`bad-request`: a parameter is wrong"),
        (status = 401, description = "`login-required`"),
        (status = 503, description = "`busy`"),
    ))]
pub(crate) async fn devices(
    State(app): State<App>,
    fan: Fan,
    part: Part,
) -> Result<axum::Json<Page<DeviceBody>>, Problem> {
    let wrong = |_| Problem::bad_request("cursor: none of ours; take it from `next_cursor`.");
    let after: Option<DeviceId> = part
        .cursor
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(wrong)?;
    let devices = app.store.devices(fan.account).await?;
    let mut rest = devices
        .iter()
        .filter(|device| Some(device.device_id) > after);
    let items: Vec<DeviceBody> = rest.by_ref().take(part.limit).map(device_body).collect();
    let next_cursor = rest
        .next()
        .and(items.last())
        .map(|device| device.device_id.clone());
    Ok(axum::Json(Page { items, next_cursor }))
}

/// Keeps a device, in place of what was kept under its id. The client makes the id; it means something to this account only.
#[utoipa::path(put, path = "/api/v1/devices/{device_id}", tag = "accounts", security(("bearer" = [])), request_body = NewDeviceBody,
    params(("device_id" = String, Path, format = Uuid)),
    responses(
        (status = 200, description = "Kept in place of what was there.", body = DeviceBody),
        (status = 201, description = "Kept for the first time.", body = DeviceBody),
        (status = 400, description = "`bad-request`: a field is wrong, the detail names it"),
        (status = 401, description = "`login-required`"),
        (status = 422, description = "`too-many-devices`: there are 20; delete one"),
        (status = 503, description = "`busy`"),
    ))]
pub(crate) async fn put_device(
    State(app): State<App>,
    fan: Fan,
    Id(device_id): Id<DeviceId>,
    Json(new): Json<NewDeviceBody>,
) -> Result<Response, Problem> {
    let address = address(new).map_err(Problem::bad_request)?;
    let device = Device { device_id, address };
    let body = device_body(&device);
    let status = match app.store.put_device(fan.account, device).await? {
        DevicePut::New => StatusCode::CREATED,
        DevicePut::Known => StatusCode::OK,
        DevicePut::TooMany => {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "too-many-devices",
                "You have 20 devices; delete one first.",
            ));
        }
    };
    Ok((status, axum::Json(body)).into_response())
}

/// Forgets a device: no notice goes there any more.
#[utoipa::path(delete, path = "/api/v1/devices/{device_id}", tag = "accounts", security(("bearer" = [])),
    params(("device_id" = String, Path, format = Uuid)),
    responses(
        (status = 204, description = "Forgotten."),
        (status = 400, description = "`bad-request`: not a UUID"),
        (status = 401, description = "`login-required`"),
        (status = 404, description = "`not-found`: no such device of yours"),
        (status = 503, description = "`busy`"),
    ))]
pub(crate) async fn delete_device(
    State(app): State<App>,
    fan: Fan,
    Id(device_id): Id<DeviceId>,
) -> Result<StatusCode, Problem> {
    let deleted = app.store.delete_device(fan.account, device_id).await?;
    if deleted {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found())
    }
}

fn email_taken() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "email-taken",
        "There is an account with this address; log in, or take another.",
    )
}

/// The answer with a session's tokens, which no cache may keep.
fn tokens(app: &App, status: StatusCode, session: &Session) -> Result<Response, Problem> {
    let pair = app.auth.pair(session)?;
    let body = SessionBody {
        access_token: pair.access_token,
        token_type: "Bearer",
        expires_in: pair.expires_in_s,
        refresh_token: pair.refresh_token,
    };
    Ok((
        status,
        [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        axum::Json(body),
    )
        .into_response())
}

fn device_body(device: &Device) -> DeviceBody {
    let channel = match device.address {
        DeviceAddress::Fcm(_) => ChannelBody::Fcm,
        DeviceAddress::Apns(_) => ChannelBody::Apns,
        DeviceAddress::WebPush(_) => ChannelBody::WebPush,
    };
    DeviceBody {
        device_id: device.device_id.to_string(),
        channel,
    }
}

fn check(fault: Option<String>) -> Result<(), Problem> {
    fault.map_or(Ok(()), |fault| Err(Problem::bad_request(fault)))
}

fn longer(field: &str, text: &str, max: usize) -> Option<String> {
    (text.chars().count() > max)
        .then(|| format!("{field}: too long; take at most {max} characters."))
}

/// What is wrong with an address. Whether it exists, only a mail to it can tell.
fn email_fault(email: &str) -> Option<String> {
    let too_long = longer("email", email, EMAIL_MAX);
    let local_fits =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&byte);
    let atoms = |text: &str| {
        text.split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(local_fits))
    };
    let label = |label: &str| {
        let fits = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        fits && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let good = email.split_once('@').is_some_and(|(local, domain)| {
        local.len() <= 64 && atoms(local) && domain.contains('.') && domain.split('.').all(label)
    });
    too_long.or_else(|| {
        (!good).then(|| {
            "email: not an e-mail address; write it plainly, such as minji@example.com.".to_owned()
        })
    })
}

fn name_fault(name: &str) -> Option<String> {
    let empty = name
        .trim()
        .is_empty()
        .then(|| "name: empty; say what to call you.".to_owned());
    let control = name
        .chars()
        .any(char::is_control)
        .then(|| "name: has a control character, such as a line break; leave it out.".to_owned());
    empty.or_else(|| longer("name", name, NAME_MAX)).or(control)
}

fn phone_fault(phone: &str) -> Option<String> {
    let (digits, others): (Vec<char>, Vec<char>) = phone
        .strip_prefix('+')
        .unwrap_or(phone)
        .chars()
        .partition(char::is_ascii_digit);
    let good = phone.chars().count() <= 32
        && (5..=15).contains(&digits.len())
        && others.iter().all(|other| " -.()".contains(*other));
    (!good).then(|| {
        "phone: not a telephone number; write 5 to 15 digits, such as +82 10-1234-5678.".to_owned()
    })
}

/// The address in a device's body: what its channel needs and nothing else.
fn address(new: NewDeviceBody) -> Result<DeviceAddress, String> {
    let token = |name: &str| match (&new.token, &new.subscription) {
        (Some(token), None) => token_fault(token).map_or_else(|| Ok(token.clone()), Err),
        (None, _) => Err(format!(
            "token: missing; {name} needs the one that its service gave the app."
        )),
        (Some(_), Some(_)) => Err(format!("subscription: not for {name}; leave it out.")),
    };
    match new.channel {
        ChannelBody::Fcm => token("fcm").map(DeviceAddress::Fcm),
        ChannelBody::Apns => token("apns").map(DeviceAddress::Apns),
        ChannelBody::WebPush => match (new.token, new.subscription) {
            (None, Some(subscription)) => subscription_text(&subscription).map(DeviceAddress::WebPush),
            (_, None) => Err("subscription: missing; web_push needs the browser's {endpoint, keys: {p256dh, auth}}.".to_owned()),
            (Some(_), Some(_)) => Err("token: not for web_push; leave it out.".to_owned()),
        },
    }
}

fn token_fault(token: &str) -> Option<String> {
    let good = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let wrong = || "token: must be characters of ASCII without spaces.".to_owned();
    longer("token", token, DEVICE_TOKEN_MAX).or_else(|| (!good).then(wrong))
}

fn subscription_text(subscription: &SubscriptionBody) -> Result<String, String> {
    let SubscriptionBody {
        endpoint,
        keys,
        _expiration_time: _,
    } = subscription;
    let host = endpoint.strip_prefix("https://").unwrap_or_default();
    if host.is_empty()
        || host.starts_with('/')
        || !endpoint.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err("subscription.endpoint: not an address; it begins with https://.".to_owned());
    }
    longer("subscription.endpoint", endpoint, ENDPOINT_MAX).map_or(Ok(()), Err)?;
    for (name, key) in [("p256dh", &keys.p256dh), ("auth", &keys.auth)] {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte);
        if key.is_empty() || key.len() > PUSH_KEY_MAX || !key.bytes().all(fits) {
            return Err(format!(
                "subscription.keys.{name}: not base64url of at most {PUSH_KEY_MAX} characters."
            ));
        }
    }
    serde_json::to_string(subscription).map_err(|why| format!("subscription: {why}."))
}

#[cfg(test)]
mod tests;
