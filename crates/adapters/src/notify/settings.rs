//! What `notify.smtp_url` and `notify.from` mean.
//!
//! Keeps true: a fault never shows any part of the URL: where a password is not escaped, any part may be a piece of it.

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use percent_encoding::percent_decode_str;
use url::Url;

/// A key of the configuration that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} {what}; {mend}")]
pub struct ConfigFault {
    /// Which key.
    pub key: &'static str,
    /// What is wrong with it, as what follows the key in a sentence.
    pub what: &'static str,
    /// How to mend it.
    pub mend: &'static str,
}

/// How the connection is encrypted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Not at all.
    None,
    /// From the STARTTLS command on; without it nothing is sent.
    StartTls,
    /// From the first byte.
    Tls,
}

/// A mail server and how to speak with it.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) encryption: Encryption,
    pub(super) credentials: Option<Credentials>,
}

const FORM: &str = "write smtp://user:password@mail.example.org:587?tls=starttls, smtps://user:password@mail.example.org, \
     or smtp://localhost:1025 without encryption";
const ESCAPE: &str =
    "write characters other than letters and digits in user and password as %XX, an @ as %40";

fn fault(what: &'static str, mend: &'static str) -> ConfigFault {
    ConfigFault {
        key: "notify.smtp_url",
        what,
        mend,
    }
}

/// The certificates of this machine cannot be used.
pub(super) fn certificates_fault() -> ConfigFault {
    fault(
        "needs TLS, and the machine's certificates cannot be read",
        "install them (package ca-certificates)",
    )
}

/// Reads `notify.smtp_url`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn server(text: &str) -> Result<Server, ConfigFault> {
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::InvalidPort => fault("has a port that is no number up to 65535", ESCAPE),
        // The crate's list is open; whatever else is wrong, the form to write is the help.
        _ => fault("is no URL", FORM),
    })?;
    let encryption = encryption(&url)?;
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    if host.is_empty() {
        return Err(fault("names no host", FORM));
    }
    if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
        return Err(fault("has something after the host and port", ESCAPE));
    }
    let port = url.port().unwrap_or(match encryption {
        Encryption::None => 25,
        Encryption::StartTls => 587,
        Encryption::Tls => 465,
    });
    if port == 0 {
        return Err(fault("has port 0", "give one from 1 to 65535"));
    }
    Ok(Server {
        host: host.to_owned(),
        port,
        encryption,
        credentials: credentials(&url)?,
    })
}

fn encryption(url: &Url) -> Result<Encryption, ConfigFault> {
    let wrapped = match url.scheme() {
        "smtp" => false,
        "smtps" => true,
        _ => return Err(fault("begins with neither smtp:// nor smtps://", FORM)),
    };
    let mut encryption = if wrapped {
        Encryption::Tls
    } else {
        Encryption::None
    };
    for (key, value) in url.query_pairs() {
        encryption = match (key.as_ref(), value.as_ref(), wrapped) {
            ("tls", "starttls", false) => Encryption::StartTls,
            ("tls", "none", false) => Encryption::None,
            ("tls", _, false) => {
                return Err(fault("has an unknown tls", "it may be starttls or none"));
            }
            ("tls", _, true) => {
                return Err(fault(
                    "has tls, and smtps:// is always encrypted",
                    "leave ?tls=… out",
                ));
            }
            _ => {
                return Err(fault(
                    "has an unknown setting after the ?",
                    "only tls is known; if the ? is part of a password, write it as %3F",
                ));
            }
        };
    }
    Ok(encryption)
}

fn credentials(url: &Url) -> Result<Option<Credentials>, ConfigFault> {
    let plain = |escaped: &str| {
        percent_decode_str(escaped)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| fault("has a user or password that is not UTF-8", ESCAPE))
    };
    match (plain(url.username())?, url.password()) {
        (user, None) if user.is_empty() => Ok(None),
        (user, Some(password)) if !user.is_empty() && !password.is_empty() => {
            Ok(Some(Credentials::new(user, plain(password)?)))
        }
        _ => Err(fault(
            "has a user without a password, or a password without a user",
            FORM,
        )),
    }
}

/// Reads `notify.from`.
///
/// # Errors
/// It is no e-mail address.
pub(super) fn sender(from: &str) -> Result<Mailbox, ConfigFault> {
    from.parse().map_err(|_| ConfigFault {
        key: "notify.from",
        what: "is no e-mail address",
        mend: "write tickets@example.org or Name <tickets@example.org>",
    })
}
