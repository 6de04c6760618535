//! Accounts, their sessions and devices, and the settings that the first start makes.
//!
//! Keeps true: one account an e-mail address, however it is written; an account never turns into an operator's; one refresh
//! token of a session is good at a time, and a spent one that is shown again ends the session; no token is stored.

use std::collections::HashMap;
use std::fmt;

use boxoffice_core::notice::Wishes;
use boxoffice_core::{AccountId, DeviceId, SessionId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Store;
use super::row::{Col, bad_text};
use super::sqlite::{Tx, expect_rows, failure};
use crate::failure::Failure;
use crate::notify::Locale;

/// Most devices of one account.
pub const DEVICES_MAX: u32 = 20;
/// How long the token that was just rotated is answered with the same new pair: a parallel tab, microseconds.
const PARALLEL_US: u64 = 1_000_000;

/// A login: a fan's or an operator's.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Which one.
    pub account_id: AccountId,
    /// The address as it was given.
    pub email: String,
    /// What to call the fan.
    pub name: String,
    /// The language of notices.
    pub locale: Locale,
    /// As it was given.
    pub phone: Option<String>,
    /// Whether it runs sales.
    pub operator: bool,
    /// Which channels are wanted.
    pub wishes: Wishes,
}

impl fmt::Debug for Account {
    /// Without personal data: this ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("account_id", &self.account_id)
            .finish_non_exhaustive()
    }
}

/// A fan's account to be made. It can hold no secret but a hash, and is never printed.
#[derive(Clone)]
pub struct NewAccount {
    /// Made by the caller.
    pub account_id: AccountId,
    /// The address as it was given.
    pub email: String,
    /// What to call the fan.
    pub name: String,
    /// The language of notices.
    pub locale: Locale,
    /// argon2id, in the PHC format.
    pub password_hash: String,
}

/// What to change of an account; `None` leaves it as it is.
#[derive(Clone, Default)]
pub struct AccountChange {
    /// What to call the fan.
    pub name: Option<String>,
    /// The language of notices.
    pub locale: Option<Locale>,
    /// A number, or none any more.
    pub phone: Option<Option<String>>,
    /// Whether push is wanted.
    pub push: Option<bool>,
    /// Whether e-mail is wanted.
    pub email: Option<bool>,
    /// Whether SMS is wanted.
    pub sms: Option<bool>,
}

/// What became of [`Store::put_operator`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OperatorPut {
    /// There is a new operator.
    Made(AccountId),
    /// There was this operator already; nothing is changed, the password neither.
    Found(AccountId),
    /// The address belongs to a fan's account; nothing is changed.
    IsFan,
}

/// A live session, as its tokens are made from it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which one.
    pub session_id: SessionId,
    /// Whose it is.
    pub account_id: AccountId,
    /// Whether that account runs sales.
    pub operator: bool,
    /// Of the refresh token that is good now, from 0.
    pub generation: u32,
    /// When this generation was given out.
    pub rotated_at: Timestamp,
}

/// What became of a refresh token that was shown.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Answer with the pair of this generation: a new one, or the same again for a parallel tab.
    Good(Session),
    /// It was spent: the session has been ended now, at this instant.
    Ended(Timestamp),
    /// No such session, or it had run out or been ended before.
    Refused,
}

/// Where a fan's notices may arrive.
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    /// Made by the client; means something within its account only.
    pub device_id: DeviceId,
    /// How to reach it.
    pub address: DeviceAddress,
}

/// How to reach a device. Each is a secret between the fan and the push service, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum DeviceAddress {
    /// Firebase's registration token.
    Fcm(String),
    /// Apple's device token.
    Apns(String),
    /// The browser's subscription, JSON.
    WebPush(String),
}

/// What became of [`Store::put_device`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DevicePut {
    /// The account has one more device.
    New,
    /// The account had it; its address is the new one now.
    Known,
    /// The account has [`DEVICES_MAX`] others; nothing is changed.
    TooMany,
}

/// The address by which an account is found: two that differ in case only are one.
fn email_key(email: &str) -> String {
    email.to_lowercase()
}

const BY_ID: &str =
    "SELECT account_id, email, name, locale, phone, operator, wish_push, wish_email, wish_sms
    FROM accounts WHERE account_id = ?1";

const BY_EMAIL: &str = "SELECT account_id, email, name, locale, phone, operator, wish_push, wish_email, wish_sms, password_hash
    FROM accounts WHERE email_key = ?1";

const INSERT: &str = "INSERT INTO accounts (account_id, email_key, email, name, locale, phone, operator, password_hash,
        wish_push, wish_email, wish_sms, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING";

const CHANGE: &str = "UPDATE accounts SET name = COALESCE(?2, name), locale = COALESCE(?3, locale),
        phone = CASE WHEN ?4 THEN ?5 ELSE phone END, wish_push = COALESCE(?6, wish_push),
        wish_email = COALESCE(?7, wish_email), wish_sms = COALESCE(?8, wish_sms)
    WHERE account_id = ?1";

impl Store {
    /// Makes a fan's account with the default wishes; `false` when the e-mail address is taken.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn create_account(&self, new: NewAccount) -> Result<bool, Failure> {
        self.sqlite().write(move |tx| insert(tx, &new, false)).await
    }

    /// Makes an operator's account with this id, or finds the one that has the address.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn put_operator(&self, new: NewAccount) -> Result<OperatorPut, Failure> {
        let put = move |tx: &Tx<'_>| {
            if insert(tx, &new, true)? {
                return Ok(OperatorPut::Made(new.account_id));
            }
            let (found, _) = by_email(tx.rows, &new.email)
                .map_err(failure)?
                .ok_or_else(|| Failure::Broken("an account is taken and not there".to_owned()))?;
            Ok(if found.operator {
                OperatorPut::Found(found.account_id)
            } else {
                OperatorPut::IsFan
            })
        };
        self.sqlite().write(put).await
    }

    /// The account, if there is one.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn account(&self, account_id: AccountId) -> Result<Option<Account>, Failure> {
        self.sqlite()
            .read(move |rows| by_id(rows, account_id))
            .await
    }

    /// The account that has this address, in whatever case, and the hash of its password.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn account_by_email(
        &self,
        email: String,
    ) -> Result<Option<(Account, String)>, Failure> {
        self.sqlite().read(move |rows| by_email(rows, &email)).await
    }

    /// Those of the accounts that there are, for notices in a batch.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn recipients(
        &self,
        account_ids: Vec<AccountId>,
    ) -> Result<HashMap<AccountId, Account>, Failure> {
        let read = move |rows: &Connection| {
            let found = account_ids
                .iter()
                .map(|account_id| by_id(rows, *account_id));
            let found: Vec<_> = found.collect::<rusqlite::Result<_>>()?;
            Ok(found
                .into_iter()
                .flatten()
                .map(|account| (account.account_id, account))
                .collect())
        };
        self.sqlite().read(read).await
    }

    /// Changes an account; gives it as it is then, or nothing when there is none.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn change_account(
        &self,
        account_id: AccountId,
        change: AccountChange,
    ) -> Result<Option<Account>, Failure> {
        let write = move |tx: &Tx<'_>| {
            let AccountChange {
                name,
                locale,
                phone,
                push,
                email,
                sms,
            } = &change;
            let values = params![
                Col(account_id),
                name,
                locale.map(Locale::tag),
                phone.is_some(),
                phone.as_ref().and_then(Option::as_ref),
                push,
                email,
                sms
            ];
            let changed = tx
                .rows
                .prepare_cached(CHANGE)
                .and_then(|mut sql| sql.execute(values))
                .map_err(failure)?;
            let account = by_id(tx.rows, account_id).map_err(failure)?;
            expect_rows("change an account", changed, usize::from(account.is_some()))?;
            Ok(account)
        };
        self.sqlite().write(write).await
    }
}

/// Whether it was made: not when the address is taken.
fn insert(tx: &Tx<'_>, new: &NewAccount, operator: bool) -> Result<bool, Failure> {
    let NewAccount {
        account_id,
        email,
        name,
        locale,
        password_hash,
    } = new;
    let wishes = Wishes::default();
    let values = params![
        Col(*account_id),
        email_key(email),
        email,
        name,
        locale.tag(),
        operator,
        password_hash,
        wishes.push,
        wishes.email,
        wishes.sms,
        Col(tx.now)
    ];
    let made = tx
        .rows
        .prepare_cached(INSERT)
        .and_then(|mut sql| sql.execute(values))
        .map_err(failure)?;
    Ok(made == 1)
}

fn by_id(rows: &Connection, account_id: AccountId) -> rusqlite::Result<Option<Account>> {
    rows.prepare_cached(BY_ID)?
        .query_row([Col(account_id)], account)
        .optional()
}

fn by_email(rows: &Connection, email: &str) -> rusqlite::Result<Option<(Account, String)>> {
    rows.prepare_cached(BY_EMAIL)?
        .query_row([email_key(email)], |row| Ok((account(row)?, row.get(9)?)))
        .optional()
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let locale = match row.get_ref(3)?.as_str()? {
        "ko" => Locale::Ko,
        "en" => Locale::En,
        other => return Err(bad_text("locale", other)),
    };
    Ok(Account {
        account_id: row.get::<_, Col<AccountId>>(0)?.0,
        email: row.get(1)?,
        name: row.get(2)?,
        locale,
        phone: row.get(4)?,
        operator: row.get(5)?,
        wishes: Wishes {
            push: row.get(6)?,
            email: row.get(7)?,
            sms: row.get(8)?,
        },
    })
}

const CREATE_SESSION: &str =
    "INSERT INTO sessions (session_id, account_id, generation, rotated_at, expires_at, ended_at)
    VALUES (?1, ?2, 0, ?3, ?4, NULL)";

const SESSION: &str =
    "SELECT sessions.account_id, operator, generation, rotated_at, expires_at, ended_at
    FROM sessions JOIN accounts ON accounts.account_id = sessions.account_id WHERE session_id = ?1";

const ROTATE: &str =
    "UPDATE sessions SET generation = generation + 1, rotated_at = ?3, expires_at = ?4
    WHERE session_id = ?1 AND generation = ?2 AND ended_at IS NULL";

const END_SESSION: &str =
    "UPDATE sessions SET ended_at = ?2 WHERE session_id = ?1 AND ended_at IS NULL";

const ENDED_SINCE: &str = "SELECT session_id, ended_at FROM sessions WHERE ended_at > ?1";

/// What to do about a refresh token that was shown.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Step {
    Rotate,
    Repeat,
    End,
    Refuse,
}

/// A session's row.
#[derive(Copy, Clone)]
struct Kept {
    session: Session,
    expires_at: Timestamp,
    ended: bool,
}

fn step(kept: &Kept, shown: u32, now: Timestamp) -> Step {
    let Session {
        generation,
        rotated_at,
        ..
    } = kept.session;
    if kept.ended || now >= kept.expires_at {
        Step::Refuse
    } else if shown == generation {
        Step::Rotate
    } else if shown.checked_add(1) == Some(generation) && now.since_us(rotated_at) <= PARALLEL_US {
        Step::Repeat
    } else {
        Step::End
    }
}

impl Store {
    /// Begins a session of an account, which runs out after `ttl_s` seconds unless it is rotated.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn create_session(
        &self,
        session_id: SessionId,
        account: &Account,
        ttl_s: u32,
    ) -> Result<Session, Failure> {
        let (account_id, operator) = (account.account_id, account.operator);
        let write = move |tx: &Tx<'_>| {
            let values = params![
                Col(session_id),
                Col(account_id),
                Col(tx.now),
                Col(tx.now.plus_s(ttl_s))
            ];
            tx.rows
                .prepare_cached(CREATE_SESSION)
                .and_then(|mut sql| sql.execute(values))
                .map_err(failure)?;
            Ok(Session {
                session_id,
                account_id,
                operator,
                generation: 0,
                rotated_at: tx.now,
            })
        };
        self.sqlite().write(write).await
    }

    /// Takes a refresh token of generation `shown`, whose signature the caller has checked. The good one is spent and the
    /// next given out, good for `ttl_s` seconds; the one just spent gives the same again for 1 s; any other ends the session.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn rotate_session(
        &self,
        session_id: SessionId,
        shown: u32,
        ttl_s: u32,
    ) -> Result<Rotation, Failure> {
        let write = move |tx: &Tx<'_>| {
            let Some(kept) = session(tx.rows, session_id).map_err(failure)? else {
                return Ok(Rotation::Refused);
            };
            match step(&kept, shown, tx.now) {
                Step::Refuse => Ok(Rotation::Refused),
                Step::Repeat => Ok(Rotation::Good(kept.session)),
                Step::Rotate => {
                    let values = params![
                        Col(session_id),
                        shown,
                        Col(tx.now),
                        Col(tx.now.plus_s(ttl_s))
                    ];
                    let changed = tx
                        .rows
                        .prepare_cached(ROTATE)
                        .and_then(|mut sql| sql.execute(values))
                        .map_err(failure)?;
                    expect_rows("rotate a session", changed, 1)?;
                    Ok(Rotation::Good(Session {
                        generation: shown + 1,
                        rotated_at: tx.now,
                        ..kept.session
                    }))
                }
                Step::End => {
                    expect_rows("end a session", end(tx, session_id)?, 1)?;
                    Ok(Rotation::Ended(tx.now))
                }
            }
        };
        self.sqlite().write(write).await
    }

    /// Ends a session, if it has not ended; gives the instant.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn end_session(&self, session_id: SessionId) -> Result<Timestamp, Failure> {
        self.sqlite()
            .write(move |tx| end(tx, session_id).map(|_| tx.now))
            .await
    }

    /// The sessions that were ended after this instant, and when: for the start, whose memory of them is empty.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn sessions_ended_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(SessionId, Timestamp)>, Failure> {
        let read = move |rows: &Connection| {
            let mut sql = rows.prepare_cached(ENDED_SINCE)?;
            let ended = sql.query_map([Col(since)], |row| {
                Ok((
                    row.get::<_, Col<SessionId>>(0)?.0,
                    row.get::<_, Col<Timestamp>>(1)?.0,
                ))
            })?;
            ended.collect()
        };
        self.sqlite().read(read).await
    }
}

fn session(rows: &Connection, session_id: SessionId) -> rusqlite::Result<Option<Kept>> {
    let kept = |row: &Row<'_>| {
        let session = Session {
            session_id,
            account_id: row.get::<_, Col<AccountId>>(0)?.0,
            operator: row.get(1)?,
            generation: row.get(2)?,
            rotated_at: row.get::<_, Col<Timestamp>>(3)?.0,
        };
        Ok(Kept {
            session,
            expires_at: row.get::<_, Col<Timestamp>>(4)?.0,
            ended: row.get::<_, Option<i64>>(5)?.is_some(),
        })
    };
    rows.prepare_cached(SESSION)?
        .query_row([Col(session_id)], kept)
        .optional()
}

fn end(tx: &Tx<'_>, session_id: SessionId) -> Result<usize, Failure> {
    tx.rows
        .prepare_cached(END_SESSION)
        .and_then(|mut sql| sql.execute(params![Col(session_id), Col(tx.now)]))
        .map_err(failure)
}

const DEVICES: &str = "SELECT device_id, channel, token, subscription FROM devices WHERE account_id = ?1 ORDER BY device_id";

const COUNT_DEVICES: &str = "SELECT COUNT(*) FROM devices WHERE account_id = ?1";

const CHANGE_DEVICE: &str =
    "UPDATE devices SET channel = ?3, token = ?4, subscription = ?5, changed_at = ?6
    WHERE account_id = ?1 AND device_id = ?2";

const INSERT_DEVICE: &str =
    "INSERT INTO devices (account_id, device_id, channel, token, subscription, changed_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const DELETE_DEVICE: &str = "DELETE FROM devices WHERE account_id = ?1 AND device_id = ?2";

impl Store {
    /// Keeps a device of an account, in place of what was kept under its id.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn put_device(
        &self,
        account_id: AccountId,
        device: Device,
    ) -> Result<DevicePut, Failure> {
        let write = move |tx: &Tx<'_>| {
            let (channel, token, subscription) = match &device.address {
                DeviceAddress::Fcm(token) => ("fcm", Some(token), None),
                DeviceAddress::Apns(token) => ("apns", Some(token), None),
                DeviceAddress::WebPush(subscription) => ("web_push", None, Some(subscription)),
            };
            let values = params![
                Col(account_id),
                Col(device.device_id),
                channel,
                token,
                subscription,
                Col(tx.now)
            ];
            if tx
                .rows
                .prepare_cached(CHANGE_DEVICE)
                .and_then(|mut sql| sql.execute(values))
                .map_err(failure)?
                == 1
            {
                return Ok(DevicePut::Known);
            }
            let count: u32 = tx
                .rows
                .prepare_cached(COUNT_DEVICES)
                .and_then(|mut sql| sql.query_row([Col(account_id)], |row| row.get(0)))
                .map_err(failure)?;
            if count >= DEVICES_MAX {
                return Ok(DevicePut::TooMany);
            }
            tx.rows
                .prepare_cached(INSERT_DEVICE)
                .and_then(|mut sql| sql.execute(values))
                .map_err(failure)?;
            Ok(DevicePut::New)
        };
        self.sqlite().write(write).await
    }

    /// An account's devices, by id; at most [`DEVICES_MAX`].
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn devices(&self, account_id: AccountId) -> Result<Vec<Device>, Failure> {
        let read = move |rows: &Connection| {
            rows.prepare_cached(DEVICES)?
                .query_map([Col(account_id)], device)?
                .collect()
        };
        self.sqlite().read(read).await
    }

    /// Forgets a device; `false` when the account has none of this id.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn delete_device(
        &self,
        account_id: AccountId,
        device_id: DeviceId,
    ) -> Result<bool, Failure> {
        let write = move |tx: &Tx<'_>| {
            let deleted = tx
                .rows
                .prepare_cached(DELETE_DEVICE)
                .and_then(|mut sql| sql.execute(params![Col(account_id), Col(device_id)]));
            deleted.map(|deleted| deleted == 1).map_err(failure)
        };
        self.sqlite().write(write).await
    }
}

fn device(row: &Row<'_>) -> rusqlite::Result<Device> {
    let address = match row.get_ref(1)?.as_str()? {
        "fcm" => DeviceAddress::Fcm(row.get(2)?),
        "apns" => DeviceAddress::Apns(row.get(2)?),
        "web_push" => DeviceAddress::WebPush(row.get(3)?),
        other => return Err(bad_text("channel", other)),
    };
    Ok(Device {
        device_id: row.get::<_, Col<DeviceId>>(0)?.0,
        address,
    })
}

const SETTING: &str = "SELECT value FROM settings WHERE name = ?1";

const INSERT_SETTING: &str = "INSERT INTO settings (name, value) VALUES (?1, ?2)";

impl Store {
    /// The setting of this name; at the first time it is made, and is kept before it is given.
    ///
    /// # Errors
    /// [`Failure::Busy`] when the store is full or away.
    pub async fn setting(
        &self,
        name: &'static str,
        mut make: impl FnMut() -> String + Send + 'static,
    ) -> Result<String, Failure> {
        let write = move |tx: &Tx<'_>| {
            let kept = tx
                .rows
                .prepare_cached(SETTING)
                .and_then(|mut sql| sql.query_row([name], |row| row.get(0)).optional());
            if let Some(value) = kept.map_err(failure)? {
                return Ok(value);
            }
            let value = make();
            tx.rows
                .prepare_cached(INSERT_SETTING)
                .and_then(|mut sql| sql.execute([name, &value]))
                .map_err(failure)?;
            Ok(value)
        };
        self.sqlite().write(write).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::store::StoreUrl;

    const FAN: AccountId = AccountId([1; 16]);
    const SESSION: SessionId = SessionId([2; 16]);

    /// A store in a folder that goes when the test ends.
    struct Temporary {
        folder: tempfile::TempDir,
        store: Store,
    }

    impl Temporary {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = open(&folder);
            Self { folder, store }
        }

        fn restarted(self) -> Self {
            self.store.close();
            let store = open(&self.folder);
            Self { store, ..self }
        }
    }

    fn open(folder: &tempfile::TempDir) -> Store {
        let url = StoreUrl::Sqlite(folder.path().join("boxoffice.db"));
        Store::open(
            &url,
            Arc::new(Clock::default()),
            Arc::new(Metrics::default()),
            |_| (),
        )
        .unwrap()
    }

    fn new_account(account_id: AccountId, email: &str) -> NewAccount {
        NewAccount {
            account_id,
            email: email.to_owned(),
            name: "Kim".to_owned(),
            locale: Locale::Ko,
            password_hash: "hash".to_owned(),
        }
    }

    async fn with_fan() -> (Temporary, Account) {
        let at = Temporary::new();
        assert!(
            at.store
                .create_account(new_account(FAN, "Kim@Example.com"))
                .await
                .unwrap()
        );
        let fan = at.store.account(FAN).await.unwrap().unwrap();
        (at, fan)
    }

    #[tokio::test]
    async fn an_address_has_one_account_however_it_is_written() {
        let (at, fan) = with_fan().await;
        assert!(
            !at.store
                .create_account(new_account(AccountId([9; 16]), "kIM@example.COM"))
                .await
                .unwrap()
        );
        let (found, hash) = at
            .store
            .account_by_email("KIM@EXAMPLE.COM".to_owned())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (
                found.email.as_str(),
                hash.as_str(),
                found.locale,
                found.operator
            ),
            ("Kim@Example.com", "hash", Locale::Ko, false)
        );
        assert_eq!((&found, found.wishes), (&fan, Wishes::default()));
        assert_eq!(at.store.account(AccountId([9; 16])).await.unwrap(), None);
        assert_eq!(
            at.store
                .account_by_email("other@example.com".to_owned())
                .await
                .unwrap(),
            None
        );
        assert!(
            !format!("{found:?}").contains("Kim"),
            "an account in a log tells nothing about the fan"
        );
    }

    #[tokio::test]
    async fn a_change_touches_what_it_names_and_nothing_else() {
        let (at, fan) = with_fan().await;
        let phone = AccountChange {
            phone: Some(Some("+82 10 1234 5678".to_owned())),
            sms: Some(true),
            ..AccountChange::default()
        };
        let changed = at.store.change_account(FAN, phone).await.unwrap().unwrap();
        let wishes = Wishes {
            sms: true,
            ..fan.wishes
        };
        assert_eq!(
            changed,
            Account {
                phone: Some("+82 10 1234 5678".to_owned()),
                wishes,
                ..fan.clone()
            }
        );
        let rest = AccountChange {
            name: Some("Lee".to_owned()),
            locale: Some(Locale::En),
            push: Some(false),
            email: Some(false),
            ..AccountChange::default()
        };
        at.store.change_account(FAN, rest).await.unwrap().unwrap();
        let changed = at
            .store
            .change_account(FAN, AccountChange::default())
            .await
            .unwrap()
            .unwrap();
        let wishes = Wishes {
            push: false,
            email: false,
            sms: true,
        };
        assert_eq!(
            changed,
            Account {
                name: "Lee".to_owned(),
                locale: Locale::En,
                phone: Some("+82 10 1234 5678".to_owned()),
                wishes,
                ..fan
            }
        );
        let without = AccountChange {
            phone: Some(None),
            ..AccountChange::default()
        };
        assert_eq!(
            at.store
                .change_account(FAN, without)
                .await
                .unwrap()
                .unwrap()
                .phone,
            None
        );
        assert_eq!(
            at.restarted()
                .store
                .change_account(AccountId([9; 16]), AccountChange::default())
                .await
                .unwrap(),
            None
        );
    }

    #[tokio::test]
    async fn an_operator_is_made_once_and_never_out_of_a_fan() {
        let (at, _) = with_fan().await;
        let operator = AccountId([3; 16]);
        assert_eq!(
            at.store
                .put_operator(new_account(operator, "ops@example.com"))
                .await
                .unwrap(),
            OperatorPut::Made(operator)
        );
        assert_eq!(
            at.store
                .put_operator(new_account(AccountId([4; 16]), "OPS@example.com"))
                .await
                .unwrap(),
            OperatorPut::Found(operator)
        );
        assert_eq!(
            at.store
                .put_operator(new_account(AccountId([4; 16]), "kim@example.com"))
                .await
                .unwrap(),
            OperatorPut::IsFan
        );
        assert!(!at.store.account(FAN).await.unwrap().unwrap().operator);
        let found = at
            .store
            .recipients(vec![operator, FAN, AccountId([9; 16]), FAN])
            .await
            .unwrap();
        assert_eq!(
            (
                found.len(),
                found[&operator].operator,
                found[&FAN].email.as_str()
            ),
            (2, true, "Kim@Example.com")
        );
    }

    #[test]
    fn a_spent_token_ends_the_session_unless_it_is_a_parallel_tab() {
        let session = Session {
            session_id: SESSION,
            account_id: FAN,
            operator: false,
            generation: 5,
            rotated_at: Timestamp(10_000_000),
        };
        let live = Kept {
            session,
            expires_at: Timestamp(90_000_000),
            ended: false,
        };
        let ended = Kept {
            ended: true,
            ..live
        };
        let first = Kept {
            session: Session {
                generation: 0,
                ..session
            },
            ..live
        };
        for (kept, shown, now_us, expected) in [
            (live, 5, 10_000_000, Step::Rotate),
            (live, 5, 89_999_999, Step::Rotate),
            (live, 5, 90_000_000, Step::Refuse),
            (live, 4, 10_000_000, Step::Repeat),
            (live, 4, 11_000_000, Step::Repeat),
            (live, 4, 11_000_001, Step::End),
            (live, 3, 10_000_000, Step::End),
            (live, 0, 10_000_000, Step::End),
            (live, 6, 10_000_000, Step::End),
            (live, u32::MAX, 10_000_000, Step::End),
            (live, 4, 90_000_000, Step::Refuse),
            (ended, 5, 10_000_000, Step::Refuse),
            (ended, 4, 10_000_000, Step::Refuse),
            (ended, 0, 10_000_000, Step::Refuse),
            (first, 0, 10_000_000, Step::Rotate),
            (first, u32::MAX, 10_000_000, Step::End),
        ] {
            assert_eq!(
                step(&kept, shown, Timestamp(now_us)),
                expected,
                "generation {shown} at {now_us}"
            );
        }
    }

    #[tokio::test]
    async fn a_session_rotates_repeats_and_ends() {
        let (at, fan) = with_fan().await;
        let begun = at.store.create_session(SESSION, &fan, 600).await.unwrap();
        assert_eq!(
            (begun.generation, begun.account_id, begun.operator),
            (0, FAN, false)
        );
        let rotated = at.store.rotate_session(SESSION, 0, 600).await.unwrap();
        let Rotation::Good(session) = rotated else {
            panic!("{rotated:?}")
        };
        assert_eq!(
            session,
            Session {
                generation: 1,
                rotated_at: session.rotated_at,
                ..begun
            }
        );
        assert!(session.rotated_at >= begun.rotated_at);
        assert_eq!(
            at.store.rotate_session(SESSION, 0, 600).await.unwrap(),
            rotated,
            "a parallel tab gets the same pair"
        );
        let at = at.restarted();
        let Rotation::Good(third) = at.store.rotate_session(SESSION, 1, 600).await.unwrap() else {
            panic!()
        };
        assert_eq!(third.generation, 2);
        let reused = at.store.rotate_session(SESSION, 0, 600).await.unwrap();
        let Rotation::Ended(ended_at) = reused else {
            panic!("{reused:?}")
        };
        assert_eq!(
            at.store.rotate_session(SESSION, 2, 600).await.unwrap(),
            Rotation::Refused,
            "the good one has ended with it"
        );
        assert_eq!(
            at.restarted()
                .store
                .sessions_ended_since(Timestamp(0))
                .await
                .unwrap(),
            [(SESSION, ended_at)]
        );
    }

    #[tokio::test]
    async fn tabs_that_refresh_at_once_get_one_pair() {
        let (at, fan) = with_fan().await;
        at.store.create_session(SESSION, &fan, 600).await.unwrap();
        let tabs: Vec<_> = (0..8)
            .map(|_| at.store.rotate_session(SESSION, 0, 600))
            .collect();
        let mut answers = Vec::new();
        for tab in tabs {
            answers.push(tab.await.unwrap());
        }
        assert!(
            matches!(answers[0], Rotation::Good(Session { generation: 1, .. })),
            "{answers:?}"
        );
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
    }

    #[tokio::test]
    async fn an_ended_unknown_or_expired_session_is_refused() {
        let (at, fan) = with_fan().await;
        assert_eq!(
            at.store.rotate_session(SESSION, 0, 600).await.unwrap(),
            Rotation::Refused,
            "unknown"
        );
        at.store.create_session(SESSION, &fan, 600).await.unwrap();
        let ended_at = at.store.end_session(SESSION).await.unwrap();
        assert_eq!(
            at.store.rotate_session(SESSION, 0, 600).await.unwrap(),
            Rotation::Refused,
            "logged out"
        );
        at.store.end_session(SESSION).await.unwrap();
        assert_eq!(
            at.store.sessions_ended_since(Timestamp(0)).await.unwrap(),
            [(SESSION, ended_at)],
            "the first end counts"
        );
        assert_eq!(at.store.sessions_ended_since(ended_at).await.unwrap(), []);
        at.store
            .create_session(SessionId([5; 16]), &fan, 0)
            .await
            .unwrap();
        assert_eq!(
            at.store
                .rotate_session(SessionId([5; 16]), 0, 600)
                .await
                .unwrap(),
            Rotation::Refused,
            "run out"
        );
        let shortened = SessionId([6; 16]);
        at.store.create_session(shortened, &fan, 600).await.unwrap();
        let rotated = at.store.rotate_session(shortened, 0, 0).await.unwrap();
        assert!(matches!(rotated, Rotation::Good(_)), "{rotated:?}");
        assert_eq!(
            at.store.rotate_session(shortened, 1, 600).await.unwrap(),
            Rotation::Refused,
            "each rotation says anew until when"
        );
        assert_eq!(at.store.sessions_ended_since(ended_at).await.unwrap(), []);
    }

    #[tokio::test]
    async fn devices_are_kept_by_account_and_bounded() {
        let (at, _) = with_fan().await;
        let other = AccountId([8; 16]);
        let device = |number: u8, address| Device {
            device_id: DeviceId([number; 16]),
            address,
        };
        let fcm = |number: u8| device(number, DeviceAddress::Fcm(format!("token {number}")));
        assert_eq!(
            at.store.put_device(FAN, fcm(1)).await.unwrap(),
            DevicePut::New
        );
        assert_eq!(
            at.store
                .put_device(other, device(1, DeviceAddress::Apns("theirs".to_owned())))
                .await
                .unwrap(),
            DevicePut::New
        );
        let moved = device(1, DeviceAddress::WebPush("{}".to_owned()));
        assert_eq!(
            at.store.put_device(FAN, moved.clone()).await.unwrap(),
            DevicePut::Known
        );
        for number in 2..=20 {
            assert_eq!(
                at.store.put_device(FAN, fcm(number)).await.unwrap(),
                DevicePut::New
            );
        }
        assert_eq!(
            at.store.put_device(FAN, fcm(21)).await.unwrap(),
            DevicePut::TooMany
        );
        assert_eq!(
            at.store.put_device(FAN, fcm(20)).await.unwrap(),
            DevicePut::Known,
            "one of the twenty may still change"
        );
        assert!(
            at.store
                .delete_device(FAN, DeviceId([2; 16]))
                .await
                .unwrap()
        );
        assert!(
            !at.store
                .delete_device(FAN, DeviceId([2; 16]))
                .await
                .unwrap()
        );
        let theirs = DeviceId([30; 16]);
        at.store.put_device(other, fcm(30)).await.unwrap();
        assert!(!at.store.delete_device(FAN, theirs).await.unwrap());
        let expected: Vec<Device> = std::iter::once(moved).chain((3..=20).map(fcm)).collect();
        assert!(at.store.devices(FAN).await.unwrap() == expected);
        assert!(
            at.store.devices(other).await.unwrap()
                == [device(1, DeviceAddress::Apns("theirs".to_owned())), fcm(30)]
        );
    }

    #[tokio::test]
    async fn a_setting_is_made_once_and_kept() {
        let at = Temporary::new();
        assert_eq!(
            at.store
                .setting("secret", || "first".to_owned())
                .await
                .unwrap(),
            "first"
        );
        assert_eq!(
            at.store
                .setting("secret", || "second".to_owned())
                .await
                .unwrap(),
            "first"
        );
        let at = at.restarted();
        assert_eq!(
            at.store
                .setting("secret", || "third".to_owned())
                .await
                .unwrap(),
            "first"
        );
        assert_eq!(
            at.store
                .setting("other", || "own".to_owned())
                .await
                .unwrap(),
            "own"
        );
    }
}
