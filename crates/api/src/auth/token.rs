//! Access tokens (JWT) and refresh tokens.
//!
//! Keeps true: both are functions of the session's row alone, so that two answers about one generation are the same; of the
//! row nothing secret is needed to make them, so nothing secret is stored. An access token's head is compared as a whole
//! with the one head that we write: algorithm, type and key id are ours or the token is not looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use boxoffice_adapters::store::Session;
use boxoffice_core::time::SECOND_US;
use boxoffice_core::{SessionId, Timestamp};
use hmac::{Hmac, Mac};
use jsonwebtoken::crypto::{sign, verify};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Fan;

const ALGORITHM: Algorithm = Algorithm::HS256;
const TYPE: &str = "at+jwt";
const ISSUER: &str = "boxoffice";
const AUDIENCE: &str = "boxoffice";
/// Longest claims that are read, bytes; ours have about 240.
const CLAIMS_MAX: usize = 512;

#[derive(Serialize)]
struct Head<'a> {
    alg: Algorithm,
    kid: &'a str,
    typ: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    /// The account.
    sub: &'a str,
    /// The session.
    sid: &'a str,
    role: Role,
    /// The session's generation.
    r#gen: u32,
    /// Seconds since 1970, as `exp`.
    iat: i64,
    exp: i64,
}

#[derive(Copy, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Fan,
    Operator,
}

/// Makes and reads access tokens.
pub(super) struct Access {
    /// The head of every token, encoded, and the dot after it. A second key would be a second head here.
    head: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    ttl_s: i64,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access(secret)")
    }
}

impl Access {
    pub(super) fn new(key: &[u8; 32], ttl_s: u32) -> Self {
        // The key's name is a hash of the key, and gives nothing of it away.
        let kid = Hmac::<Sha256>::new_from_slice(key)
            .expect("HMAC takes keys of every length")
            .chain_update("key id")
            .finalize()
            .into_bytes();
        let kid = URL_SAFE_NO_PAD.encode(&kid[..9]);
        let head = encode(&Head {
            alg: ALGORITHM,
            kid: &kid,
            typ: TYPE,
        })
        .expect("a head of plain text is JSON");
        Self {
            head: head + ".",
            encoding: EncodingKey::from_secret(key),
            decoding: DecodingKey::from_secret(key),
            ttl_s: i64::from(ttl_s),
        }
    }

    /// The token of a session's generation. It lives from when that was given out, for the configured time less the
    /// fraction of a second: tokens count whole seconds, and must not outlive what was promised.
    pub(super) fn make(&self, session: &Session) -> Result<String, String> {
        let iat = session.rotated_at.0.div_euclid(SECOND_US);
        let claims = Claims {
            iss: ISSUER,
            aud: AUDIENCE,
            sub: &session.account_id.to_string(),
            sid: &session.session_id.to_string(),
            role: if session.operator {
                Role::Operator
            } else {
                Role::Fan
            },
            r#gen: session.generation,
            iat,
            exp: iat + self.ttl_s,
        };
        let message = self.head.clone() + &encode(&claims)?;
        let signature = sign(message.as_bytes(), &self.encoding, ALGORITHM)
            .map_err(|why| format!("failed to sign a token: {why}"))?;
        Ok(message + "." + &signature)
    }

    /// Who holds a token that is ours and has not run out.
    pub(super) fn read(&self, token: &str, now: Timestamp) -> Option<Fan> {
        let (message, signature) = token.rsplit_once('.')?;
        let claims = message.strip_prefix(&self.head)?;
        if claims.len() > CLAIMS_MAX * 4 / 3
            || !verify(signature, message.as_bytes(), &self.decoding, ALGORITHM).ok()?
        {
            return None;
        }
        let mut bytes = [0; CLAIMS_MAX + 3];
        let length = URL_SAFE_NO_PAD.decode_slice(claims, &mut bytes).ok()?;
        let claims: Claims<'_> = serde_json::from_slice(&bytes[..length]).ok()?;
        // A life that was configured shorter since then holds for older tokens too: ended sessions are remembered no longer.
        let exp = claims.exp.min(claims.iat.saturating_add(self.ttl_s));
        if claims.iss != ISSUER || claims.aud != AUDIENCE || now.0 >= exp.saturating_mul(SECOND_US)
        {
            return None;
        }
        Some(Fan {
            account: claims.sub.parse().ok()?,
            session: claims.sid.parse().ok()?,
            operator: claims.role == Role::Operator,
        })
    }
}

fn encode(part: &impl Serialize) -> Result<String, String> {
    let json = serde_json::to_vec(part).map_err(|why| format!("failed to write a token: {why}"))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

/// Makes and reads refresh tokens: session (16 bytes), generation (4, big-endian), HMAC-SHA-256 of both (32), in base64url.
pub(super) struct Refresh {
    mac: Hmac<Sha256>,
}

const BODY: usize = 16 + 4;
const MAC: usize = 32;

impl std::fmt::Debug for Refresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Refresh(secret)")
    }
}

impl Refresh {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self {
            mac: Hmac::new_from_slice(key).expect("HMAC takes keys of every length"),
        }
    }

    pub(super) fn make(&self, session: SessionId, generation: u32) -> String {
        let mut bytes = [0; BODY + MAC];
        bytes[..16].copy_from_slice(&session.0);
        bytes[16..BODY].copy_from_slice(&generation.to_be_bytes());
        let mac = self
            .mac
            .clone()
            .chain_update(&bytes[..BODY])
            .finalize()
            .into_bytes();
        bytes[BODY..].copy_from_slice(&mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(super) fn read(&self, token: &str) -> Option<(SessionId, u32)> {
        let mut bytes = [0; BODY + MAC + 2];
        if URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).ok()? != BODY + MAC {
            return None;
        }
        self.mac
            .clone()
            .chain_update(&bytes[..BODY])
            .verify_slice(&bytes[BODY..BODY + MAC])
            .ok()?;
        Some((
            SessionId(bytes[..16].try_into().ok()?),
            u32::from_be_bytes(bytes[16..BODY].try_into().ok()?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use boxoffice_core::AccountId;
    use jsonwebtoken::Header;
    use serde_json::{Value, json};

    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const TTL_S: u32 = 900;
    const IAT: i64 = 1_795_000_000;
    const NOW: Timestamp = Timestamp(IAT * SECOND_US + 250_000);
    const SESSION: Session = Session {
        session_id: SessionId([2; 16]),
        account_id: AccountId([1; 16]),
        operator: true,
        generation: 3,
        rotated_at: NOW,
    };
    const FAN: Fan = Fan {
        account: SESSION.account_id,
        session: SESSION.session_id,
        operator: true,
    };

    fn access() -> Access {
        Access::new(&KEY, TTL_S)
    }

    fn head() -> Value {
        json!({"alg": "HS256", "kid": kid(), "typ": "at+jwt"})
    }

    fn kid() -> String {
        let head: Value = serde_json::from_slice(
            &URL_SAFE_NO_PAD
                .decode(access().head.trim_end_matches('.'))
                .unwrap(),
        )
        .unwrap();
        head["kid"].as_str().unwrap().to_owned()
    }

    fn claims() -> Value {
        let id = |byte: u8| SessionId([byte; 16]).to_string();
        json!({"iss": "boxoffice", "aud": "boxoffice", "sub": id(1), "sid": id(2), "role": "operator", "gen": 3, "iat": IAT, "exp": IAT + 900})
    }

    /// A token of these parts, signed with `key` by an algorithm of the HMAC family.
    fn forge(head: &Value, claims: &Value, key: &[u8], algorithm: Algorithm) -> String {
        let message = format!("{}.{}", encode(head).unwrap(), encode(claims).unwrap());
        let signature = sign(
            message.as_bytes(),
            &EncodingKey::from_secret(key),
            algorithm,
        )
        .unwrap();
        format!("{message}.{signature}")
    }

    fn with(mut value: Value, name: &str, other: Value) -> Value {
        if other.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = other;
        }
        value
    }

    #[test]
    fn a_token_is_made_and_read_and_is_the_same_each_time() {
        let token = access().make(&SESSION).unwrap();
        assert_eq!(access().read(&token, NOW), Some(FAN));
        assert_eq!(
            access()
                .make(&Session {
                    rotated_at: Timestamp(IAT * SECOND_US),
                    ..SESSION
                })
                .unwrap(),
            token
        );
        assert_ne!(
            access()
                .make(&Session {
                    generation: 4,
                    ..SESSION
                })
                .unwrap(),
            token
        );
        let fan = access()
            .make(&Session {
                operator: false,
                ..SESSION
            })
            .unwrap();
        assert_eq!(
            access().read(&fan, NOW),
            Some(Fan {
                operator: false,
                ..FAN
            })
        );
        // Anybody who follows the standard reads it too.
        let mut rules = jsonwebtoken::Validation::new(ALGORITHM);
        rules.set_audience(&[AUDIENCE]);
        rules.set_issuer(&[ISSUER]);
        rules.validate_exp = false;
        let read =
            jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_secret(&KEY), &rules).unwrap();
        assert_eq!(
            (read.claims, read.header.typ.as_deref()),
            (claims(), Some("at+jwt"))
        );
    }

    #[test]
    fn a_token_lives_its_time_and_no_longer() {
        let token = access().make(&SESSION).unwrap();
        let at = |us: i64| access().read(&token, Timestamp((IAT + 900) * SECOND_US + us));
        assert_eq!((at(-1), at(0), at(i64::MAX / 2)), (Some(FAN), None, None));
        let shorter = Access::new(&KEY, 60);
        assert_eq!(
            shorter.read(&token, Timestamp((IAT + 60) * SECOND_US - 1)),
            Some(FAN)
        );
        assert_eq!(
            shorter.read(&token, Timestamp((IAT + 60) * SECOND_US)),
            None,
            "a life made shorter holds for older tokens"
        );
        assert_eq!(
            Access::new(&KEY, 9_000).read(&token, Timestamp((IAT + 900) * SECOND_US)),
            None
        );
    }

    #[test]
    fn a_token_with_another_head_or_key_is_refused() {
        let good = forge(&head(), &claims(), &KEY, ALGORITHM);
        assert_eq!(
            access().read(&good, NOW),
            Some(FAN),
            "the forger below changes one thing at a time"
        );
        for (name, other) in [
            ("alg", json!("none")),
            ("alg", json!("HS512")),
            ("kid", json!("other")),
            ("kid", Value::Null),
            ("typ", json!("JWT")),
            ("typ", Value::Null),
            ("crit", json!(["exp"])),
        ] {
            let token = forge(
                &with(head(), name, other.clone()),
                &claims(),
                &KEY,
                ALGORITHM,
            );
            assert_eq!(access().read(&token, NOW), None, "{name}: {other}");
        }
        let other_key = forge(&head(), &claims(), &[8; 32], ALGORITHM);
        assert_eq!(access().read(&other_key, NOW), None, "another key");
        let hs512 = with(head(), "alg", json!("HS512"));
        let long = forge(&hs512, &claims(), &KEY, Algorithm::HS512);
        assert_eq!(
            access().read(&long, NOW),
            None,
            "our key, another algorithm"
        );
        // The library writes the same parts in another order: ours in content, not in form.
        let mut header = Header::new(ALGORITHM);
        (header.typ, header.kid) = (Some(TYPE.to_owned()), Some(kid()));
        let other_order =
            jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&KEY)).unwrap();
        assert_eq!(access().read(&other_order, NOW), None);
    }

    #[test]
    fn a_token_with_other_claims_is_refused() {
        for (name, other) in [
            ("iss", json!("other")),
            ("iss", Value::Null),
            ("iss", json!(["boxoffice"])),
            ("aud", json!("other")),
            ("aud", Value::Null),
            ("sub", json!("1")),
            ("sub", Value::Null),
            ("sid", json!("")),
            ("sid", Value::Null),
            ("role", json!("admin")),
            ("role", Value::Null),
            ("gen", json!(-1)),
            ("gen", Value::Null),
            ("iat", Value::Null),
            ("exp", Value::Null),
            ("exp", json!("9999999999")),
            ("exp", json!(1e300)),
            ("exp", json!(IAT)),
            ("exp", json!(-1)),
            ("iat", json!(IAT - 901)),
            ("iat", json!(i64::MIN)),
            ("pad", json!("x".repeat(600))),
        ] {
            let token = forge(
                &head(),
                &with(claims(), name, other.clone()),
                &KEY,
                ALGORITHM,
            );
            assert_eq!(access().read(&token, NOW), None, "{name}: {other}");
        }
    }

    #[test]
    fn what_is_not_three_parts_is_refused() {
        let good = access().make(&SESSION).unwrap();
        let signature = good.rsplit_once('.').unwrap().1;
        let none = format!(
            "{}.{}.",
            encode(&with(head(), "alg", json!("none"))).unwrap(),
            encode(&claims()).unwrap()
        );
        for token in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            none.clone(),
            format!("{none}{signature}"),
            good.replace('.', ""),
            format!("{good}."),
            format!("{good}="),
            good[..good.len() - 1].to_owned(),
            format!(" {good}"),
            "é.ü.ß".to_owned(),
        ] {
            assert_eq!(access().read(&token, NOW), None, "{token}");
        }
    }

    #[test]
    fn one_changed_character_makes_a_token_worthless() {
        let token = access().make(&SESSION).unwrap();
        for at in 0..token.len() {
            for other in ["A", "B"] {
                let mut changed = token.clone();
                changed.replace_range(at..=at, other);
                assert!(
                    changed == token || access().read(&changed, NOW).is_none(),
                    "character {at}"
                );
            }
        }
    }

    #[test]
    fn a_refresh_token_says_its_generation_and_cannot_be_forged() {
        let refresh = Refresh::new(&KEY);
        for generation in [0, 1, u32::MAX] {
            let token = refresh.make(SESSION.session_id, generation);
            assert_eq!(refresh.read(&token), Some((SESSION.session_id, generation)));
            assert_eq!(token.len(), 70);
            assert_eq!(Refresh::new(&[8; 32]).read(&token), None, "another key");
            for at in 0..token.len() {
                let mut changed = token.clone();
                changed.replace_range(at..=at, if &token[at..=at] == "A" { "B" } else { "A" });
                assert_eq!(refresh.read(&changed), None, "character {at}");
            }
            for wrong in [
                format!("{token}A"),
                format!("{token}="),
                token[..69].to_owned(),
                format!("{token}{token}"),
                token.replace(&token[..1], "é"),
            ] {
                assert_eq!(refresh.read(&wrong), None, "{wrong}");
            }
        }
        assert_eq!(refresh.read(""), None);
        assert_eq!(
            refresh.read(&access().make(&SESSION).unwrap()),
            None,
            "an access token is no refresh token"
        );
        assert_eq!(refresh.read(&URL_SAFE_NO_PAD.encode([0; 52])), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_token_by_chance(text in "\\PC{0,200}", claims in "[-_0-9a-zA-Z]{0,900}") {
            let refresh = Refresh::new(&KEY);
            for text in [text, format!("{}{claims}.{claims}", access().head)] {
                proptest::prop_assert_eq!(access().read(&text, NOW), None);
                proptest::prop_assert_eq!(refresh.read(&text), None);
            }
        }

        #[test]
        fn claims_that_we_sign_are_read_or_refused(claims in proptest::collection::vec(proptest::num::u8::ANY, 0..700)) {
            let message = access().head + &URL_SAFE_NO_PAD.encode(&claims);
            let signature = sign(message.as_bytes(), &EncodingKey::from_secret(&KEY), ALGORITHM).unwrap();
            proptest::prop_assert_eq!(access().read(&format!("{message}.{signature}"), NOW), None);
        }

        #[test]
        fn one_changed_letter_makes_a_token_worthless(at in 0_usize..1_000, letter in "[-_.0-9a-zA-Z]") {
            let refresh = Refresh::new(&KEY);
            for token in [access().make(&SESSION).unwrap(), refresh.make(SESSION.session_id, 3)] {
                let mut changed = token.clone();
                let at = at % token.len();
                changed.replace_range(at..=at, &letter);
                if changed != token {
                    proptest::prop_assert_eq!(access().read(&changed, NOW), None);
                    proptest::prop_assert_eq!(refresh.read(&changed), None);
                }
            }
        }
    }
}
