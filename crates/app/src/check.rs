//! `boxoffice check`: tries every part of the configuration and names what is wrong or unsafe.
//!
//! Keeps true: it changes nothing; it never shows a secret; what is wrong makes it exit with 1, what is unsafe does not.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use boxoffice_adapters::notify::Mailer;
use boxoffice_adapters::store::StoreUrl;
use boxoffice_api::serve;

use crate::config::Config;

/// What OWASP asks of argon2id at least: memory in KiB, passes. Any one of them will do.
const PASSWORD_COSTS: [(u32, u32); 5] = [
    (47_104, 1),
    (19_456, 2),
    (12_288, 3),
    (9_216, 4),
    (7_168, 5),
];
/// What a SQLite file begins with.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// What was found about one part.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Good(&'static str, String),
    Unsafe(&'static str, String),
    Wrong(&'static str, String),
}

/// Tries everything and says what was found, a line each.
pub(crate) async fn check(config: &Config) -> ExitCode {
    let mut findings = vec![store(&config.store.url), listen(config), smtp(config).await];
    findings.extend(seen_by_others(&config.store.url));
    findings.extend(open_files(config));
    findings.extend(
        unsafe_settings(config)
            .into_iter()
            .map(|(key, why)| Finding::Unsafe(key, why)),
    );
    let wrong = findings
        .iter()
        .filter(|finding| matches!(finding, Finding::Wrong(..)))
        .count();
    let mut output = std::io::stdout().lock();
    for finding in &findings {
        let (word, key, text) = match finding {
            Finding::Good(key, text) => ("ok", key, text),
            Finding::Unsafe(key, text) => ("unsafe", key, text),
            Finding::Wrong(key, text) => ("wrong", key, text),
        };
        // A reader that is gone needs no more lines; the exit code still says it.
        let _ = writeln!(output, "{word:<7} {key}: {text}");
    }
    if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn store(url: &StoreUrl) -> Finding {
    let StoreUrl::Sqlite(path) = url;
    match try_sqlite(path) {
        Ok(text) => Finding::Good("store.url", text),
        Err(why) => Finding::Wrong("store.url", why),
    }
}

/// Whether the file can be read and written, or be made.
fn try_sqlite(path: &Path) -> Result<String, String> {
    let shown = path.display();
    if path.exists() {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|why| format!("failed to open {shown} for writing: {why}"))?;
        let mut magic = Vec::new();
        let read = (&mut file)
            .take(SQLITE_MAGIC.len() as u64)
            .read_to_end(&mut magic);
        read.map_err(|why| format!("failed to read {shown}: {why}"))?;
        if !magic.is_empty() && magic != SQLITE_MAGIC {
            return Err(format!("{shown} is no SQLite database"));
        }
    }
    // SQLite makes files beside its own, so the folder has to be writable too. One that is not there yet will be made.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let there = folder
        .ancestors()
        .find(|ancestor| ancestor.exists() || ancestor.as_os_str().is_empty());
    let there = there
        .filter(|ancestor| !ancestor.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(format!(
            "{} is no folder, so {shown} cannot be there",
            there.display()
        ));
    }
    let probe: PathBuf = there.join(format!(".boxoffice-check-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&probe);
    made.map_err(|why| format!("failed to write in {}: {why}", there.display()))?;
    std::fs::remove_file(&probe)
        .map_err(|why| format!("failed to remove {}: {why}", probe.display()))?;
    Ok(if path.exists() {
        format!("{shown} can be read and written")
    } else {
        format!("{shown} is not there yet and can be made")
    })
}

/// Whoever can read the store can sign passes and logins.
fn seen_by_others(url: &StoreUrl) -> Option<Finding> {
    use std::os::unix::fs::PermissionsExt as _;
    let StoreUrl::Sqlite(path) = url;
    let is_open = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o007 != 0)
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    (is_open(path) && is_open(folder)).then(|| {
        let text = format!(
            "every user of this machine may read {}, and with it forge passes; chmod 700 {}",
            path.display(),
            folder.display()
        );
        Finding::Unsafe("store.url", text)
    })
}

fn listen(config: &Config) -> Finding {
    match serve::bind(config.listen) {
        Ok(_closed_again) => {
            Finding::Good("http.listen", format!("{} can be opened", config.listen))
        }
        Err(why) => Finding::Wrong("http.listen", why),
    }
}

async fn smtp(config: &Config) -> Finding {
    let mailer = match Mailer::from_url(config.notify.smtp_url.as_deref(), &config.notify.from) {
        Ok(mailer) => mailer,
        Err(fault) => return Finding::Wrong("notify.smtp_url", fault.to_string()),
    };
    match (mailer.reach().await, &mailer) {
        (Err(why), _) => Finding::Wrong("notify.smtp_url", format!("failed to {why}")),
        (Ok(()), Mailer::Log) => Finding::Good(
            "notify.smtp_url",
            "no mail server: notices go to the log".to_owned(),
        ),
        (Ok(()), Mailer::Smtp(_)) => match mailer.unsafe_setting() {
            Some(why) => Finding::Unsafe("notify.smtp_url", why.to_owned()),
            None => Finding::Good(
                "notify.smtp_url",
                "the mail server answers and takes the login".to_owned(),
            ),
        },
    }
}

fn open_files(config: &Config) -> Option<Finding> {
    let (files_max, wanted) = (
        crate::open_files_max(),
        config.http.connections_max as u64 + crate::OTHER_FILES,
    );
    (files_max < wanted).then(|| {
        let text = format!("{wanted} open files are needed for so many connections and {files_max} are allowed; raise the limit (ulimit -n, LimitNOFILE) or lower the key");
        Finding::Unsafe("http.connections_max", text)
    })
}

/// Settings that work and should not be used for a real sale.
fn unsafe_settings(config: &Config) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let (memory_kib, passes) = (config.auth.password_memory_kib, config.auth.password_passes);
    if !PASSWORD_COSTS
        .iter()
        .any(|(memory, least)| memory_kib >= *memory && passes >= *least)
    {
        let text = format!(
            "{memory_kib} KiB and {passes} passes are too cheap to guess; take at least 19456 and 2"
        );
        found.push(("auth.password_memory_kib", text));
    }
    let secret = config.auth.secret.as_bytes();
    let different = (0..=255).filter(|byte| secret.contains(byte)).count();
    if !secret.is_empty() && different < 10 {
        found.push(("auth.secret", format!("has only {different} different characters, so it can be guessed; take `openssl rand -hex 32`")));
    }
    if config
        .http
        .trusted
        .iter()
        .any(|(network, bits)| *bits < if network.is_ipv4() { 8 } else { 16 })
    {
        found.push((
            "limits.trusted",
            "trusts much of the world, which then has no limits; name your own networks".to_owned(),
        ));
    }
    let clear: Vec<&String> = config
        .http
        .allowed_origins
        .iter()
        .filter(|origin| origin.starts_with("http://"))
        .collect();
    if !clear.is_empty() {
        found.push((
            "http.allowed_origins",
            format!("{clear:?} without https: whoever is on the way can change their pages"),
        ));
    }
    if !config.listen.ip().is_loopback() {
        found.extend(unsafe_for_the_world(config));
    }
    found
}

/// What is fine on one's own machine only.
fn unsafe_for_the_world(config: &Config) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if config.demo {
        found.push((
            "demo",
            "an empty store that the world can reach gets demo events; set it to false".to_owned(),
        ));
    }
    if config.http.public_url.starts_with("http://") {
        found.push(("http.public_url", "is not https: passwords and passes travel unencrypted; put a proxy with TLS in front and name its address".to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::load(None).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn keys(config: &Config) -> Vec<&'static str> {
        unsafe_settings(config)
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    }

    #[test]
    fn the_defaults_are_safe_and_each_unsafe_setting_is_named() {
        assert_eq!(keys(&config()), [""; 0]);
        let mut cheap = config();
        cheap.auth.password_passes = 1;
        assert_eq!(keys(&cheap), ["auth.password_memory_kib"]);
        cheap.auth.password_memory_kib = 47_104;
        assert_eq!(keys(&cheap), [""; 0]);
        let mut guessed = config();
        guessed.auth.secret = "ab".repeat(20);
        assert_eq!(keys(&guessed), ["auth.secret"]);
        guessed.auth.secret = "0123456789abcdef".repeat(3);
        assert_eq!(keys(&guessed), [""; 0]);
        let mut open = config();
        open.http.trusted = vec![("0.0.0.0".parse().unwrap(), 0)];
        open.http.allowed_origins = vec!["http://a.example".to_owned()];
        assert_eq!(keys(&open), ["limits.trusted", "http.allowed_origins"]);
        let mut world = config();
        world.listen = "0.0.0.0:8082".parse().unwrap();
        assert_eq!(keys(&world), ["demo", "http.public_url"]);
    }

    #[test]
    fn the_store_is_tried_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(try_sqlite(&path("new.db")).is_ok_and(|text| text.contains("can be made")));
        assert!(try_sqlite(&path("a/b/new.db")).is_ok());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "something was left behind"
        );
        std::fs::write(path("text"), "no database at all").unwrap();
        assert!(try_sqlite(&path("text")).is_err_and(|why| why.contains("no SQLite database")));
        assert!(try_sqlite(&path("text/below.db")).is_err_and(|why| why.contains("is no folder")));
        assert!(try_sqlite(folder.path()).is_err());
        std::fs::write(path("real.db"), SQLITE_MAGIC).unwrap();
        assert!(try_sqlite(&path("real.db")).is_ok_and(|text| text.contains("read and written")));
    }

    #[test]
    fn a_store_that_others_can_read_is_unsafe() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("real.db");
        std::fs::write(&path, SQLITE_MAGIC).unwrap();
        let unsafe_with = |of_folder, of_file| {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(of_folder))
                .unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(of_file)).unwrap();
            seen_by_others(&StoreUrl::Sqlite(path.clone())).is_some()
        };
        assert!(unsafe_with(0o755, 0o644));
        assert!(!unsafe_with(0o700, 0o644) && !unsafe_with(0o755, 0o600));
    }

    #[tokio::test]
    async fn a_taken_port_is_wrong() {
        let mut config = config();
        config.listen = "127.0.0.1:0".parse().unwrap();
        assert!(matches!(listen(&config), Finding::Good(..)));
        let taken = std::net::TcpListener::bind(config.listen).unwrap();
        config.listen = taken.local_addr().unwrap();
        assert!(matches!(listen(&config), Finding::Wrong("http.listen", _)));
    }
}
