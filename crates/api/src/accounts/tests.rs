//! What is taken and refused at the edge, and a login from its first request to its end.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use boxoffice_adapters::clock::Clock;
use boxoffice_adapters::live::Live;
use boxoffice_adapters::metrics::Metrics;
use boxoffice_adapters::performance::Catalogue;
use boxoffice_adapters::room::Room;
use boxoffice_adapters::store::{OperatorPut, Store, StoreUrl};
use boxoffice_core::pass::Signer;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;

use super::*;
use crate::app::Parts;
use crate::auth::Auth;
use crate::config::{AuthConfig, HttpConfig};
use crate::extract::decode;

fn each_is(fault: impl Fn(&str) -> Option<String>, good: &[&str], wrong: &[&str]) {
    for text in good {
        assert_eq!(fault(text), None, "{text:?}");
    }
    for text in wrong {
        assert!(fault(text).is_some(), "{text:?}");
    }
}

#[test]
fn addresses_are_checked() {
    let long =
        |local: usize, label: usize| format!("{}@{}.com", "a".repeat(local), "b".repeat(label));
    let (fits, local, label) = (long(64, 63), long(65, 10), long(10, 64));
    let longest = format!("aa@{}com", "bcdefgh.".repeat(31));
    let over = format!("a{longest}");
    assert_eq!((longest.len(), over.len()), (254, 255));
    let good = [
        "a@b.co",
        "minji+tickets@example.com",
        "o'neil@mail.example.co.kr",
        "x_1@1-2.org",
        &fits,
        &longest,
    ];
    let wrong = [
        "",
        "a",
        "@",
        "a@",
        "@b.co",
        "a@b",
        "a@b.",
        "a@.co",
        "a@b..co",
        "a@@b.co",
        "a@b@c.co",
        "a b@c.co",
        " a@b.co",
        "a@b.co ",
        "a@b.co\n",
        "a\0@b.co",
        ".a@b.co",
        "a.@b.co",
        "a..b@c.co",
        "a@-b.co",
        "a@b-.co",
        "<a@b.co>",
        "a,b@c.co",
        "민지@b.co",
        "a@서울.kr",
        &local,
        &label,
        &over,
    ];
    each_is(email_fault, &good, &wrong);
}

#[test]
fn names_and_numbers_are_checked() {
    let (fits, over) = ("민".repeat(100), "민".repeat(101));
    each_is(
        name_fault,
        &["K", "김민지", "Dr. O'Neil-Kim", &fits],
        &["", "   ", "a\nb", "a\0", "\u{7f}", "\u{85}x", &over],
    );
    let over = format!("0101234567{}", " ".repeat(23));
    let wrong = [
        "",
        "+",
        "1234",
        "1234567890123456",
        "0101234a",
        "++8210123",
        "82+10123456",
        "０１０１２３４",
        &over,
    ];
    each_is(
        phone_fault,
        &[
            "+82 10-1234-5678",
            "010-1234-5678",
            "(02) 123.4567",
            "12345",
        ],
        &wrong,
    );
}

fn device(body: &Value) -> Result<DeviceAddress, String> {
    let body: NewDeviceBody =
        decode(body.to_string().as_bytes()).map_err(|problem| problem.detail)?;
    address(body)
}

fn subscription() -> Value {
    json!({"endpoint": "https://push.example.com/x", "expirationTime": null, "keys": {"p256dh": "BNc_-x", "auth": "tBH"}})
}

fn device_is_refused(body: &Value, field: &str) {
    let fault = device(body).err().unwrap_or_default();
    assert!(fault.contains(field), "{body}: {fault}");
}

#[test]
fn a_device_has_what_its_channel_needs_and_nothing_else() {
    let subscription = subscription();
    let kept =
        r#"{"endpoint":"https://push.example.com/x","keys":{"p256dh":"BNc_-x","auth":"tBH"}}"#;
    let is =
        |body: Value, expected: DeviceAddress| assert!(device(&body) == Ok(expected), "{body}");
    is(
        json!({"channel": "fcm", "token": "f:1"}),
        DeviceAddress::Fcm("f:1".to_owned()),
    );
    is(
        json!({"channel": "apns", "token": "a1", "subscription": null}),
        DeviceAddress::Apns("a1".to_owned()),
    );
    is(
        json!({"channel": "web_push", "subscription": subscription}),
        DeviceAddress::WebPush(kept.to_owned()),
    );
    for (body, field) in [
        (json!({"channel": "fcm"}), "token"),
        (
            json!({"channel": "apns", "subscription": subscription}),
            "token",
        ),
        (
            json!({"channel": "apns", "token": "a", "subscription": subscription}),
            "subscription",
        ),
        (json!({"channel": "fcm", "token": ""}), "token"),
        (json!({"channel": "fcm", "token": "a b"}), "token"),
        (
            json!({"channel": "fcm", "token": "x".repeat(4_097)}),
            "token",
        ),
        (json!({"channel": "fcm", "token": 1}), "token"),
        (json!({"channel": "sms", "token": "a"}), "channel"),
        (json!({"token": "a"}), "channel"),
        (json!({"channel": "fcm", "token": "a", "name": "b"}), "name"),
        (json!({"channel": "web_push"}), "subscription"),
        (json!({"channel": "web_push", "token": "a"}), "subscription"),
        (
            json!({"channel": "web_push", "token": "a", "subscription": subscription}),
            "token",
        ),
    ] {
        device_is_refused(&body, field);
    }
}

#[test]
fn a_subscription_is_one_that_a_browser_gives() {
    let with = |pointer: &str, value: Value| {
        let mut body = json!({"channel": "web_push", "subscription": subscription()});
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    for (body, field) in [
        (
            with("/subscription/endpoint", json!("http://push.example.com")),
            "subscription.endpoint",
        ),
        (
            with("/subscription/endpoint", json!("https://")),
            "subscription.endpoint",
        ),
        (
            with("/subscription/endpoint", json!("https:///x")),
            "subscription.endpoint",
        ),
        (
            with("/subscription/endpoint", json!("https://a\nb")),
            "subscription.endpoint",
        ),
        (
            with(
                "/subscription/endpoint",
                json!(format!("https://{}", "x".repeat(2_048))),
            ),
            "subscription.endpoint",
        ),
        (
            with("/subscription/keys/p256dh", json!("")),
            "subscription.keys.p256dh",
        ),
        (
            with("/subscription/keys/auth", json!("a+b")),
            "subscription.keys.auth",
        ),
        (
            with("/subscription/keys/auth", json!("x".repeat(129))),
            "subscription.keys.auth",
        ),
        (with("/subscription/keys", json!({"p256dh": "a"})), "auth"),
    ] {
        device_is_refused(&body, field);
    }
}

#[test]
fn a_change_tells_absent_from_null() {
    let change = |body: Value| {
        decode::<AccountChangeBody>(body.to_string().as_bytes()).map_err(|problem| problem.detail)
    };
    assert_eq!(change(json!({})).unwrap().phone, None);
    assert_eq!(change(json!({"phone": null})).unwrap().phone, Some(None));
    assert_eq!(
        change(json!({"notices": {"sms": true}}))
            .unwrap()
            .notices
            .unwrap()
            .sms,
        Some(true)
    );
    for (body, part) in [
        (json!({"name": null}), "name"),
        (json!({"locale": "fr"}), "`ko` or `en`"),
        (json!({"locale": "KO"}), "`ko` or `en`"),
        (json!({"notices": {"sms": "yes"}}), "notices.sms"),
        (json!({"notices": {"fax": true}}), "fax"),
        (json!({"notices": null}), "notices"),
        (json!({"role": "operator"}), "role"),
        (json!({"email": "a@b.co"}), "email"),
    ] {
        let fault = change(body.clone()).unwrap_err();
        assert!(fault.contains(part), "{body}: {fault}");
    }
    let new = json!({"email": "a@b.co", "password": "x", "name": "y", "role": "operator"});
    assert!(
        decode::<NewAccountBody>(new.to_string().as_bytes())
            .is_err_and(|problem| problem.detail.contains("role"))
    );
}

/// The routes of this file over a store of their own.
struct Server {
    app: App,
    routes: Router,
    _folder: tempfile::TempDir,
}

/// An answer: status, and the body as JSON; of a problem its code alone.
type Answer = (u16, Value);

impl Server {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, metrics, live) = (
            Arc::new(Clock::default()),
            Arc::new(Metrics::default()),
            Arc::new(Live::default()),
        );
        let url = StoreUrl::Sqlite(folder.path().join("boxoffice.db"));
        let store =
            Arc::new(Store::open(&url, Arc::clone(&clock), Arc::clone(&metrics), |_| ()).unwrap());
        let auth = AuthConfig {
            secret: "0123456789abcdef0123456789abcdef".to_owned(),
            access_ttl_s: 900,
            refresh_ttl_s: 3_600,
            password_memory_kib: 8,
            password_passes: 1,
            password_workers: 1,
        };
        let http = HttpConfig {
            public_url: "http://localhost".to_owned(),
            allowed_origins: Vec::new(),
            connections_max: 16,
            streams_max: 1,
            trusted: Vec::new(),
            per_address_per_s: 1,
            per_account_per_s: 1,
            proof_bits_min: 0,
            proof_bits_max: 0,
        };
        let app = App::new(Parts {
            room: Arc::new(Room::memory(
                Arc::clone(&store),
                Arc::clone(&clock),
                Arc::clone(&live),
                Arc::clone(&metrics),
                tokio::sync::mpsc::channel(1).0,
            )),
            store,
            catalogue: Arc::new(Catalogue::default()),
            live,
            metrics,
            clock,
            signer: Signer::new(b"pass"),
            auth: Auth::new(&auth, []).unwrap(),
            proofs: crate::proof::Proofs::new(&[0; 32], &http, boxoffice_core::Timestamp(0)),
            http,
            shutdown: watch::channel(false).1,
            streams: Arc::new(Semaphore::new(1)),
            lines: crate::app::Frames::default(),
        });
        let routes = routes().with_state(app.clone()).into();
        Self {
            app,
            routes,
            _folder: folder,
        }
    }

    async fn ask(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        let response = self
            .routes
            .clone()
            .oneshot(request.body(body).unwrap())
            .await
            .unwrap();
        let status = response.status().as_u16();
        if let Some(problem) = response.extensions().get::<Problem>() {
            return (status, json!(problem.code));
        }
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn fan(&self) -> Value {
        let new = json!({"email": "minji@example.com", "password": "correct horse", "name": "Kim Minji", "locale": "ko"});
        assert_eq!(self.ask("POST", "/accounts", "", new).await.0, 201);
        self.login("minji@example.com").await
    }

    async fn login(&self, email: &str) -> Value {
        let (status, session) = self
            .ask(
                "POST",
                "/sessions",
                "",
                json!({"email": email, "password": "correct horse"}),
            )
            .await;
        assert_eq!(status, 201, "{session}");
        session
    }

    async fn refresh(&self, session: &Value) -> Answer {
        self.ask(
            "POST",
            "/sessions/refresh",
            "",
            json!({"refresh_token": session["refresh_token"]}),
        )
        .await
    }

    async fn me(&self, session: &Value) -> Answer {
        self.ask(
            "GET",
            "/accounts/me",
            session["access_token"].as_str().unwrap(),
            Value::Null,
        )
        .await
    }
}

fn code(status: u16, code: &str) -> Answer {
    (status, json!(code))
}

#[tokio::test]
async fn an_account_is_made_once() {
    let server = Server::new();
    let new =
        json!({"email": "Minji@Example.com", "password": "correct horse", "name": "Kim Minji"});
    let (status, made) = server.ask("POST", "/accounts", "", new.clone()).await;
    let account_id = made["account_id"].as_str().unwrap().to_owned();
    assert_eq!(
        (status, &made),
        (
            201,
            &json!({"account_id": account_id, "email": "Minji@Example.com", "name": "Kim Minji", "locale": "en"})
        )
    );
    let with = |name: &str, value: Value| {
        let mut body = new.clone();
        body[name] = value;
        body
    };
    for (body, expected) in [
        (
            with("email", json!("minji@EXAMPLE.com")),
            code(409, "email-taken"),
        ),
        (
            with("password", json!("1234567")),
            code(400, "weak-password"),
        ),
        (
            with("password", json!("password123")),
            code(400, "weak-password"),
        ),
        (
            with("password", json!("kim minji")),
            code(400, "weak-password"),
        ),
        (with("password", Value::Null), code(400, "bad-request")),
        (with("email", json!("minji")), code(400, "bad-request")),
        (with("name", json!("")), code(400, "bad-request")),
        (with("locale", json!("fr")), code(400, "bad-request")),
        (with("role", json!("operator")), code(400, "bad-request")),
        (json!([]), code(400, "bad-request")),
        (Value::Null, code(400, "bad-request")),
    ] {
        assert_eq!(
            server.ask("POST", "/accounts", "", body.clone()).await,
            expected,
            "{body}"
        );
    }
    server.login("MINJI@example.com").await;
}

#[tokio::test]
async fn an_account_says_who_it_is_and_changes() {
    let server = Server::new();
    let session = server.fan().await;
    let account_id = server.me(&session).await.1["account_id"].clone();
    let me = json!({"account_id": account_id, "email": "minji@example.com", "name": "Kim Minji", "locale": "ko", "phone": null,
        "notices": {"push": true, "email": true, "sms": false}, "role": "fan"});
    assert_eq!(server.me(&session).await, (200, me));
    let change = json!({"locale": "en", "phone": "010-1234-5678", "notices": {"email": false}});
    let (status, me) = server
        .ask(
            "PATCH",
            "/accounts/me",
            session["access_token"].as_str().unwrap(),
            change,
        )
        .await;
    assert_eq!(
        (status, &me["locale"], &me["phone"], &me["name"]),
        (
            200,
            &json!("en"),
            &json!("010-1234-5678"),
            &json!("Kim Minji")
        )
    );
    assert_eq!(
        me["notices"],
        json!({"push": true, "email": false, "sms": false})
    );
    assert_eq!(server.me(&session).await, (200, me));
    assert_eq!(
        server.ask("PATCH", "/accounts/me", "", json!({})).await,
        code(401, "login-required")
    );
}

#[tokio::test]
async fn a_login_needs_the_right_password_and_tells_nothing_else() {
    let server = Server::new();
    let session = server.fan().await;
    assert_eq!(
        (&session["token_type"], &session["expires_in"]),
        (&json!("Bearer"), &json!(900))
    );
    for (email, password) in [
        ("minji@example.com", "wrong horse"),
        ("nobody@example.com", "correct horse"),
        ("minji", ""),
        ("", ""),
    ] {
        let answer = server
            .ask(
                "POST",
                "/sessions",
                "",
                json!({"email": email, "password": password}),
            )
            .await;
        assert_eq!(
            answer,
            code(401, "bad-credentials"),
            "{email:?} {password:?}"
        );
    }
    let long = json!({"email": "minji@example.com", "password": "x".repeat(257)});
    assert_eq!(
        server.ask("POST", "/sessions", "", long).await,
        code(400, "bad-request")
    );
    let password_hash = server
        .app
        .auth
        .hash("correct horse".to_owned())
        .await
        .unwrap();
    let operator = NewAccount {
        account_id: AccountId([1; 16]),
        email: "ops@localhost".to_owned(),
        name: "Ops".to_owned(),
        locale: Locale::En,
        password_hash,
    };
    assert!(matches!(
        server.app.store.put_operator(operator).await.unwrap(),
        OperatorPut::Made(_)
    ));
    let session = server.login("ops@localhost").await;
    assert_eq!(server.me(&session).await.1["role"], json!("operator"));
    let (status, refreshed) = server.refresh(&session).await;
    assert_eq!(
        (status, server.me(&refreshed).await.1["role"].clone()),
        (200, json!("operator"))
    );
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_a_stolen_one_ends_it_all() {
    let server = Server::new();
    let first = server.fan().await;
    let (status, second) = server.refresh(&first).await;
    assert_eq!(status, 200);
    assert!(
        second["refresh_token"] != first["refresh_token"]
            && second["access_token"] != first["access_token"]
    );
    assert_eq!(
        server.refresh(&first).await,
        (200, second.clone()),
        "a parallel tab"
    );
    assert_eq!(
        server.me(&first).await.0,
        200,
        "the first access token lives on"
    );
    let (_, third) = server.refresh(&second).await;
    assert_eq!(
        server.refresh(&first).await,
        code(401, "session-ended"),
        "spent twice over"
    );
    for session in [&first, &second, &third] {
        assert_eq!(server.me(session).await, code(401, "login-required"));
        assert_eq!(server.refresh(session).await, code(401, "session-ended"));
    }
    assert_eq!(
        server.refresh(&json!({"refresh_token": "x"})).await,
        code(401, "session-ended")
    );
    assert_eq!(
        server
            .refresh(&json!({"refresh_token": first["access_token"]}))
            .await,
        code(401, "session-ended")
    );
    assert_eq!(
        server.refresh(&json!({"refresh_token": 1})).await,
        code(400, "bad-request")
    );
    assert_eq!(
        server
            .refresh(&json!({"refresh_token": "x".repeat(513)}))
            .await,
        code(400, "bad-request")
    );
}

#[tokio::test]
async fn logging_out_ends_one_login_and_no_other() {
    let server = Server::new();
    let (here, there) = (server.fan().await, server.login("minji@example.com").await);
    let token = here["access_token"].as_str().unwrap();
    assert_eq!(
        server
            .ask("DELETE", "/sessions/current", token, Value::Null)
            .await,
        (204, Value::Null)
    );
    assert_eq!(
        server
            .ask("DELETE", "/sessions/current", token, Value::Null)
            .await,
        code(401, "login-required")
    );
    assert_eq!(server.me(&here).await, code(401, "login-required"));
    assert_eq!(server.refresh(&here).await, code(401, "session-ended"));
    assert_eq!(server.me(&there).await.0, 200);
    let ended = server
        .app
        .store
        .sessions_ended_since(boxoffice_core::Timestamp(0))
        .await
        .unwrap();
    assert_eq!(ended.len(), 1, "so that a restart knows it too");
}

#[tokio::test]
async fn devices_come_and_go() {
    let server = Server::new();
    let session = server.fan().await;
    let token = session["access_token"].as_str().unwrap();
    let path = |number: u32| format!("/devices/00000000-0000-4000-8000-0000000000{number:02}");
    let id = |number: u32| json!(path(number)[9..]);
    let fcm = json!({"channel": "fcm", "token": "f:1"});
    assert_eq!(
        server.ask("PUT", &path(2), token, fcm.clone()).await,
        (201, json!({"device_id": id(2), "channel": "fcm"}))
    );
    assert_eq!(
        server
            .ask(
                "PUT",
                &path(2),
                token,
                json!({"channel": "apns", "token": "a"})
            )
            .await,
        (200, json!({"device_id": id(2), "channel": "apns"}))
    );
    assert_eq!(server.ask("PUT", &path(1), token, fcm.clone()).await.0, 201);
    assert_eq!(
        server
            .ask("PUT", "/devices/phone", token, fcm.clone())
            .await,
        code(400, "bad-request")
    );
    assert_eq!(
        server
            .ask("PUT", &path(3), token, json!({"channel": "fcm"}))
            .await,
        code(400, "bad-request")
    );
    let listed =
        json!([{"device_id": id(1), "channel": "fcm"}, {"device_id": id(2), "channel": "apns"}]);
    assert_eq!(
        server.ask("GET", "/devices", token, Value::Null).await,
        (200, json!({"items": listed, "next_cursor": null}))
    );
    let (_, part) = server
        .ask("GET", "/devices?limit=1", token, Value::Null)
        .await;
    assert_eq!(part, json!({"items": [listed[0]], "next_cursor": id(1)}));
    let rest = format!(
        "/devices?limit=1&cursor={}",
        part["next_cursor"].as_str().unwrap()
    );
    assert_eq!(
        server.ask("GET", &rest, token, Value::Null).await,
        (200, json!({"items": [listed[1]], "next_cursor": null}))
    );
    for wrong in ["/devices?limit=0", "/devices?limit=x", "/devices?cursor=x"] {
        assert_eq!(
            server.ask("GET", wrong, token, Value::Null).await,
            code(400, "bad-request"),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn an_account_has_at_most_twenty_devices() {
    let server = Server::new();
    let session = server.fan().await;
    let token = session["access_token"].as_str().unwrap();
    let path = |number: u32| format!("/devices/00000000-0000-4000-8000-0000000000{number:02}");
    let fcm = json!({"channel": "fcm", "token": "f:1"});
    for number in 1..=20 {
        assert_eq!(
            server.ask("PUT", &path(number), token, fcm.clone()).await.0,
            201
        );
    }
    assert_eq!(
        server.ask("PUT", &path(21), token, fcm.clone()).await,
        code(422, "too-many-devices")
    );
    assert_eq!(
        server.ask("DELETE", &path(2), token, Value::Null).await,
        (204, Value::Null)
    );
    assert_eq!(
        server.ask("DELETE", &path(2), token, Value::Null).await,
        code(404, "not-found")
    );
    assert_eq!(
        server.ask("DELETE", &path(1), "", Value::Null).await,
        code(401, "login-required")
    );
}
