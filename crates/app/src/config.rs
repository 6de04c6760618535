//! The configuration: the default file, then a file, then the environment.
//!
//! Keeps true: the default file names every key, so it is the manual; a key that nobody reads is a fault; all faults are
//! named at once, each with the key, where it came from and what it may be; a secret is never shown.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use boxoffice_adapters::notify::Mailer;
use boxoffice_adapters::store::StoreUrl;
use boxoffice_api::auth::password_fault;
use boxoffice_api::config::{AuthConfig, HttpConfig};
use toml::Value;
use tracing_subscriber::EnvFilter;

/// Every key with its default.
pub(crate) const DEFAULT_FILE: &str = include_str!("../config.default.toml");
/// Read when it is there and no other is named.
const USUAL_FILE: &str = "boxoffice.toml";
/// What the environment's keys begin with, and those that belong to the tests.
const PREFIX: &str = "BOXOFFICE_";
const OF_TESTS: &str = "BOXOFFICE_TEST_";
/// Keys whose values are never shown.
const SECRET: &[&str] = &["auth.secret", "notify.smtp_url", "operator.password"];
/// Most characters of any text.
const TEXT_MAX: usize = 2_048;
/// Most entries of any list.
const LIST_MAX: usize = 64;

/// Everything that can be set.
#[derive(Clone)]
pub(crate) struct Config {
    /// Whether an empty store gets demo events.
    pub(crate) demo: bool,
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// What the HTTP part is told.
    pub(crate) http: HttpConfig,
    /// What remembers.
    pub(crate) store: StoreConfig,
    /// How notices are sent.
    pub(crate) notify: NotifyConfig,
    /// Logins; its secret is empty when the store is to make one and keep it.
    pub(crate) auth: AuthConfig,
    /// The first operator.
    pub(crate) operator: OperatorConfig,
    /// What is written down.
    pub(crate) log: LogConfig,
}

/// What remembers.
#[derive(Clone)]
pub(crate) struct StoreConfig {
    pub(crate) url: StoreUrl,
}

/// How notices are sent.
#[derive(Clone)]
pub(crate) struct NotifyConfig {
    /// The mail server; none: the log.
    pub(crate) smtp_url: Option<String>,
    /// Who they come from.
    pub(crate) from: String,
}

/// The first operator.
#[derive(Clone)]
pub(crate) struct OperatorConfig {
    pub(crate) email: Option<String>,
    pub(crate) password: Option<String>,
}

/// What is written down.
#[derive(Clone)]
pub(crate) struct LogConfig {
    pub(crate) format: LogFormat,
    /// Levels, by part.
    pub(crate) level: String,
}

/// For whom the log is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// People.
    Text,
    /// Machines: the Elastic Common Schema.
    Ecs,
}

/// All that is wrong with a configuration, a line each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Config {
    /// The configuration of this process: `named`, else the usual file if it is there, then the environment.
    ///
    /// # Errors
    /// All faults.
    pub(crate) fn load(named: Option<&Path>) -> Result<Self, Faults> {
        let usual = Path::new(USUAL_FILE);
        let path = named.or_else(|| usual.exists().then_some(usual));
        let text = path.map(|path| {
            let text = std::fs::read_to_string(path);
            text.map_err(|why| Faults(vec![format!("{}: cannot be read: {why}", path.display())]))
        });
        let file = match (path, text.transpose()?) {
            (Some(path), Some(text)) => Some((path.display().to_string(), text)),
            _ => None,
        };
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
        Self::read(
            file.as_ref()
                .map(|(name, text)| (name.as_str(), text.as_str())),
            environment,
        )
    }

    /// The configuration of a file (its name and text) and an environment.
    fn read(
        file: Option<(&str, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Faults> {
        let mut reader = Reader::default();
        reader.add_file(None, DEFAULT_FILE);
        if let Some((name, text)) = file {
            reader.add_file(Some(name), text);
        }
        reader.add_environment(environment);
        let (listen, http) = read_http(&mut reader);
        let config = Self {
            demo: reader.flag("demo"),
            listen,
            http,
            store: read_store(&mut reader),
            notify: read_notify(&mut reader),
            auth: read_auth(&mut reader),
            operator: read_operator(&mut reader),
            log: read_log(&mut reader),
        };
        reader.only_itself("room.url", "memory:", "Redis is");
        reader.only_itself("bus.url", "memory:", "Kafka is");
        reader.only_itself("notify.sns_endpoint", "", "AWS SNS is");
        reader.finish()?;
        Ok(config)
    }
}

fn read_http(reader: &mut Reader) -> (SocketAddr, HttpConfig) {
    let listen = reader.parsed(
        "http.listen",
        "an IP address and a port, such as 127.0.0.1:8082 or [::]:8082",
        |text| text.parse().ok(),
    );
    let listen = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8_082)));
    let public_url = reader.parsed(
        "http.public_url",
        "empty, or begin with http:// or https:// and have a host, no ?, # or space",
        public_url,
    );
    let public_url = public_url
        .filter(|url| !url.is_empty())
        .unwrap_or_else(|| format!("http://{listen}"));
    let allowed_origins = reader.list(
        "http.allowed_origins",
        "origins without a path, such as https://tickets.example.org",
        origin,
    );
    let connections_max = reader.whole("http.connections_max", 16, 1_000_000);
    let streams_max = reader.whole("http.streams_max", 1, 1_000_000);
    if streams_max >= connections_max {
        reader.faults.push(format!("http.streams_max: must be below http.connections_max, and {streams_max} is not below {connections_max}"));
    }
    let trusted = reader.list(
        "limits.trusted",
        "addresses, or networks such as 10.0.0.0/8",
        network,
    );
    let faults_before = reader.faults.len();
    let proof_bits_min = reader.whole("limits.proof_bits_min", 0, 28);
    let proof_bits_max = reader.whole("limits.proof_bits_max", 0, 28);
    let is_read = reader.faults.len() == faults_before;
    if is_read && proof_bits_max > 0 && proof_bits_min > proof_bits_max {
        reader.faults.push(format!("limits.proof_bits_min: must not be above limits.proof_bits_max (which may be 0 for no proof of work), and {proof_bits_min} is above {proof_bits_max}"));
    }
    let http = HttpConfig {
        public_url,
        allowed_origins,
        connections_max,
        streams_max,
        trusted,
        per_address_per_s: reader.whole("limits.per_address_per_s", 1, 1_000_000),
        per_account_per_s: reader.whole("limits.per_account_per_s", 1, 1_000_000),
        proof_bits_min,
        proof_bits_max,
    };
    (listen, http)
}

fn read_store(reader: &mut Reader) -> StoreConfig {
    let text = reader.text("store.url");
    let url = text.parse().unwrap_or_else(|why| {
        // The text may have a password in it.
        reader.faults.push(format!("store.url {why}"));
        StoreUrl::Sqlite(std::path::PathBuf::new())
    });
    // For database servers; checked all the same, so that a wrong one is found here and not on the day it matters.
    let _: u32 = reader.whole("store.pool_max", 1, 1_000);
    StoreConfig { url }
}

fn read_notify(reader: &mut Reader) -> NotifyConfig {
    let (smtp_url, from) = (reader.text("notify.smtp_url"), reader.text("notify.from"));
    let smtp_url = Some(smtp_url).filter(|url| !url.is_empty());
    if let Err(fault) = Mailer::from_url(smtp_url.as_deref(), &from) {
        reader.faults.push(fault.to_string());
    }
    NotifyConfig { smtp_url, from }
}

fn read_auth(reader: &mut Reader) -> AuthConfig {
    let secret = reader.parsed("auth.secret", "empty, or 32 to 512 bytes long", |text| {
        (text.is_empty() || (32..=512).contains(&text.len())).then(|| text.to_owned())
    });
    let workers = reader.whole("auth.password_workers", 0, 64);
    let half =
        std::thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1));
    AuthConfig {
        secret: secret.unwrap_or_default(),
        access_ttl_s: reader.whole("auth.access_ttl_s", 2, 86_400),
        refresh_ttl_s: reader.whole("auth.refresh_ttl_s", 60, 31_536_000),
        password_memory_kib: reader.whole("auth.password_memory_kib", 8, 1_048_576),
        password_passes: reader.whole("auth.password_passes", 1, 10),
        password_workers: if workers == 0 { half } else { workers },
    }
}

fn read_operator(reader: &mut Reader) -> OperatorConfig {
    let given = |text: &str| Some(Some(text.to_owned()).filter(|text| !text.is_empty()));
    let email = reader.parsed("operator.email", "empty, or an e-mail address", |text| {
        given(text).filter(|_| text.is_empty() || is_email(text))
    });
    let email = email.flatten();
    let name = email.clone().unwrap_or_default();
    let good = |text: &str| {
        given(text).filter(|_| text.is_empty() || password_fault(text, &name, "").is_none())
    };
    let password = reader.parsed(
        "operator.password",
        "empty, or 8 to 256 characters that are not the address and not easily guessed",
        good,
    );
    OperatorConfig {
        email,
        password: password.flatten(),
    }
}

fn read_log(reader: &mut Reader) -> LogConfig {
    let format = reader.parsed("log.format", "text or ecs", |text| match text {
        "text" => Some(LogFormat::Text),
        "ecs" => Some(LogFormat::Ecs),
        _ => None,
    });
    let level = reader.parsed(
        "log.level",
        "error, warn, info, debug or trace, also by part, such as info,boxoffice_api=debug",
        |text| (!text.is_empty() && EnvFilter::try_new(text).is_ok()).then(|| text.to_owned()),
    );
    LogConfig {
        format: format.unwrap_or(LogFormat::Text),
        level: level.unwrap_or_default(),
    }
}

fn public_url(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))?;
    let has_host = rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[');
    let is_plain = rest.bytes().all(|byte| {
        byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'"' | b'<' | b'>' | b'\\')
    });
    (has_host && is_plain).then(|| text.trim_end_matches('/').to_owned())
}

fn origin(text: &str) -> Option<String> {
    let url = public_url(text)?;
    let (_, host) = url.split_once("://")?;
    // A browser sends the origin in lower case and without a slash.
    (!host.contains(['/', '@', '*'])).then(|| url.to_ascii_lowercase())
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text
        .split_once('/')
        .map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(bits_max), |bits| {
        bits.parse().ok().filter(|bits| *bits <= bits_max)
    })?;
    Some((address, bits))
}

/// A name, an @ and a host with a dot, in at most 254 bytes of ASCII: what can log in.
pub(crate) fn is_email(text: &str) -> bool {
    let plain = text.len() <= 254 && text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_host = |host: &str| {
        host.contains('.') && !host.contains('@') && host.split('.').all(|label| !label.is_empty())
    };
    plain
        && text
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && is_host(host))
}

/// Where a value came from.
#[derive(Clone, Debug)]
enum Source {
    Default,
    File(String),
    Environment(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(name) => f.write_str(name),
            Self::Environment(name) => write!(f, "environment {name}"),
        }
    }
}

/// Values by key, such as `http.listen`, and what was found wrong with them.
#[derive(Default)]
struct Reader {
    values: BTreeMap<String, (Value, Source)>,
    /// All keys of the default file.
    known: Vec<String>,
    faults: Vec<String>,
}

impl Reader {
    /// Adds a file's values; without a name it is the default file.
    fn add_file(&mut self, name: Option<&str>, text: &str) {
        let shown = name.unwrap_or("the default file");
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return self.faults.push(syntax_fault(shown, text, &error)),
        };
        for (section, value) in table {
            let entries = match value {
                Value::Table(entries) => entries
                    .into_iter()
                    .map(|(key, value)| (format!("{section}.{key}"), value))
                    .collect(),
                value => vec![(section, value)],
            };
            for (key, value) in entries {
                match name {
                    None => {
                        self.known.push(key.clone());
                        self.values.insert(key, (value, Source::Default));
                    }
                    Some(file) => self.add(key, value, Source::File(file.to_owned())),
                }
            }
        }
    }

    fn add_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in environment {
            let Some(rest) = name
                .strip_prefix(PREFIX)
                .filter(|_| !name.starts_with(OF_TESTS))
            else {
                continue;
            };
            let key = rest.to_lowercase().replacen("__", ".", 1);
            // Only as written in the manual: another spelling is not one key more.
            let key = if rest == rest.to_uppercase() {
                key
            } else {
                rest.to_owned()
            };
            self.add(key, Value::String(value), Source::Environment(name));
        }
    }

    fn add(&mut self, key: String, value: Value, source: Source) {
        if self.known.contains(&key) {
            self.values.insert(key, (value, source));
            return;
        }
        let section = key.split_once('.').map_or("", |(section, _)| section);
        let in_section =
            |known: &&String| known.split_once('.').map_or("", |(section, _)| section) == section;
        let mut may_be: Vec<&str> = self
            .known
            .iter()
            .filter(in_section)
            .map(String::as_str)
            .collect();
        if section.is_empty() || may_be.is_empty() {
            may_be = self
                .known
                .iter()
                .map(|known| known.split('.').next().unwrap_or_default())
                .collect();
            may_be.dedup();
        }
        self.faults.push(format!(
            "{key}: there is no such key (from {source}); there is {}",
            may_be.join(", ")
        ));
    }

    fn take(&mut self, key: &str) -> (Value, Source) {
        self.values
            .remove(key)
            .unwrap_or_else(|| panic!("the default file lacks {key}"))
    }

    fn fault(&mut self, key: &str, seen: &Value, source: &Source, may_be: &str) {
        let seen = match seen {
            _ if SECRET.contains(&key) => "its value".to_owned(),
            Value::String(text) => format!("{:?}", text.chars().take(100).collect::<String>()),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
                seen.to_string()
            }
            Value::Array(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        };
        self.faults.push(format!(
            "{key}: {seen} (from {source}) is not what it may be: {may_be}"
        ));
    }

    /// A whole number in this range.
    fn whole<T: TryFrom<i64> + From<u8>>(&mut self, key: &str, min: i64, max: i64) -> T {
        let (value, source) = self.take(key);
        let number = match (&value, &source) {
            (Value::Integer(number), _) => Some(*number),
            (Value::String(text), Source::Environment(_)) => i64::from_str(text.trim()).ok(),
            _ => None,
        };
        let number = number
            .filter(|number| (min..=max).contains(number))
            .and_then(|number| T::try_from(number).ok());
        number.unwrap_or_else(|| {
            self.fault(
                key,
                &value,
                &source,
                &format!("a whole number from {min} to {max}"),
            );
            T::from(1)
        })
    }

    fn flag(&mut self, key: &str) -> bool {
        let (value, source) = self.take(key);
        match (&value, &source) {
            (Value::Boolean(flag), _) => *flag,
            (Value::String(text), Source::Environment(_)) if text == "true" => true,
            (Value::String(text), Source::Environment(_)) if text == "false" => false,
            _ => {
                self.fault(key, &value, &source, "true or false");
                false
            }
        }
    }

    /// A text that `read` makes something of.
    fn parsed<T>(
        &mut self,
        key: &str,
        may_be: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let (value, source) = self.take(key);
        let read = value
            .as_str()
            .filter(|text| text.chars().count() <= TEXT_MAX)
            .and_then(read);
        if read.is_none() {
            self.fault(key, &value, &source, may_be);
        }
        read
    }

    fn text(&mut self, key: &str) -> String {
        self.parsed(
            key,
            &format!("a text of at most {TEXT_MAX} characters"),
            |text| Some(text.to_owned()),
        )
        .unwrap_or_default()
    }

    /// A list of texts, or texts separated by commas.
    fn list<T>(&mut self, key: &str, may_be: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let (value, source) = self.take(key);
        let texts: Option<Vec<&str>> = match &value {
            Value::Array(entries) => entries.iter().map(Value::as_str).collect(),
            Value::String(text) => Some(
                text.split(',')
                    .map(str::trim)
                    .filter(|text| !text.is_empty())
                    .collect(),
            ),
            Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Table(_) => None,
        };
        let Some(texts) = texts.filter(|texts| texts.len() <= LIST_MAX) else {
            self.fault(
                key,
                &value,
                &source,
                &format!("at most {LIST_MAX} {may_be}"),
            );
            return Vec::new();
        };
        let mut all = Vec::new();
        for text in texts {
            match read(text) {
                Some(one) => all.push(one),
                None => self.fault(key, &Value::from(text), &source, may_be),
            }
        }
        all
    }

    /// A key that has one value for now.
    fn only_itself(&mut self, key: &str, only: &str, other: &str) {
        let (value, source) = self.take(key);
        if value.as_str() != Some(only) {
            // Not shown: what others than memory: look like has a password in it.
            self.faults.push(format!("{key}: its value (from {source}) cannot be used: {other} not built in yet; leave it at {only:?}"));
        }
    }

    fn finish(self) -> Result<(), Faults> {
        assert!(
            self.values.is_empty(),
            "nobody reads {:?}",
            self.values.keys()
        );
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(Faults(self.faults))
        }
    }
}

/// What is wrong with a file's form. Only the line is named: what stands there may be a secret.
fn syntax_fault(name: &str, text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1;
    format!("{name}: line {line}: {}", error.message())
}

#[cfg(test)]
mod tests;
