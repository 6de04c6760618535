//! Configurations and what is wrong with them.

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn read(file: &str, pairs: &[(&str, &str)]) -> Result<Config, Faults> {
    Config::read(Some(("my.toml", file)), environment(pairs))
}

fn faults(file: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    read(file, pairs)
        .err()
        .map_or_else(Vec::new, |faults| faults.0)
}

#[test]
fn the_default_file_is_a_whole_configuration() {
    let config = Config::read(None, []).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(config.demo);
    assert_eq!(config.listen.to_string(), "127.0.0.1:8082");
    assert_eq!(config.http.public_url, "http://127.0.0.1:8082");
    assert_eq!(
        config.store.url,
        StoreUrl::Sqlite("data/boxoffice.db".into())
    );
    assert_eq!(
        (
            config.auth.access_ttl_s,
            config.auth.password_memory_kib,
            config.auth.password_passes
        ),
        (900, 19_456, 2)
    );
    assert!(config.auth.secret.is_empty() && config.auth.password_workers >= 1);
    assert!(
        config.operator.email.is_none()
            && config.operator.password.is_none()
            && config.notify.smtp_url.is_none()
    );
    assert_eq!(
        config.http.trusted,
        [
            ("127.0.0.0".parse().unwrap(), 8),
            ("::1".parse().unwrap(), 128)
        ]
    );
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn the_default_file_explains_every_key() {
    let mut explained = false;
    for line in DEFAULT_FILE.lines() {
        match line.split_once(" = ") {
            Some((key, _)) if !line.starts_with('#') => assert!(explained, "{key} has no comment"),
            _ => explained = line.starts_with('#'),
        }
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let file = "demo = false\n[http]\nlisten = \"0.0.0.0:80\"\nallowed_origins = [\"https://a.example\", \"https://b.example/\"]\n[auth]\naccess_ttl_s = 60\n";
    let pairs = [
        ("BOXOFFICE_AUTH__ACCESS_TTL_S", "2"),
        (
            "BOXOFFICE_LIMITS__TRUSTED",
            "10.0.0.0/8, 2001:db8::/32,192.0.2.1",
        ),
        (
            "BOXOFFICE_HTTP__PUBLIC_URL",
            "https://tickets.example.org/shop/",
        ),
        ("BOXOFFICE_LOG__FORMAT", "ecs"),
        ("BOXOFFICE_TEST_URL", "not ours"),
        ("PATH", "/bin"),
    ];
    let config = read(file, &pairs).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(
        (config.demo, config.listen.port(), config.auth.access_ttl_s),
        (false, 80, 2)
    );
    assert_eq!(
        config.http.allowed_origins,
        ["https://a.example", "https://b.example"]
    );
    assert_eq!(config.http.public_url, "https://tickets.example.org/shop");
    assert_eq!(config.http.trusted.len(), 3);
    assert_eq!(config.http.trusted[2], ("192.0.2.1".parse().unwrap(), 32));
    assert_eq!(config.log.format, LogFormat::Ecs);
}

/// What is set by file, and by environment, and words that its one fault must have.
type Wrong = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

const WRONG: &[Wrong] = &[
    (
        "[http]\nlissten = 1",
        &[],
        &["http.lissten", "my.toml", "http.listen", "http.public_url"],
    ),
    ("speed = 9", &[], &["speed", "demo", "http"]),
    ("[htpp]\nlisten = 1", &[], &["htpp.listen", "http", "store"]),
    (
        "",
        &[("BOXOFFICE_HTTP__LISTNE", "x")],
        &["http.listne", "BOXOFFICE_HTTP__LISTNE", "http.listen"],
    ),
    ("", &[("BOXOFFICE_NONSENSE", "x")], &["nonsense", "demo"]),
    (
        "",
        &[("BOXOFFICE_http__listen", "127.0.0.1:1")],
        &["http__listen", "no such key"],
    ),
    (
        "[auth]\naccess_ttl_s = 1",
        &[],
        &["auth.access_ttl_s: 1 ", "from 2 to 86400"],
    ),
    (
        "[auth]\naccess_ttl_s = \"900\"",
        &[],
        &["auth.access_ttl_s: \"900\"", "whole number"],
    ),
    (
        "[auth]\naccess_ttl_s = 900.5",
        &[],
        &["auth.access_ttl_s: 900.5"],
    ),
    (
        "[auth.access_ttl_s]\nx = 1",
        &[],
        &["auth.access_ttl_s: a table"],
    ),
    ("auth = 5", &[], &["auth: there is no such key"]),
    (
        "",
        &[("BOXOFFICE_AUTH__ACCESS_TTL_S", "soon")],
        &[
            "auth.access_ttl_s: \"soon\"",
            "BOXOFFICE_AUTH__ACCESS_TTL_S",
        ],
    ),
    (
        "",
        &[("BOXOFFICE_AUTH__ACCESS_TTL_S", "99999999999999999999")],
        &["auth.access_ttl_s", "86400"],
    ),
    (
        "",
        &[("BOXOFFICE_AUTH__PASSWORD_MEMORY_KIB", "7")],
        &["auth.password_memory_kib", "8 to 1048576"],
    ),
    (
        "",
        &[("BOXOFFICE_AUTH__PASSWORD_PASSES", "11")],
        &["auth.password_passes", "1 to 10"],
    ),
    (
        "",
        &[("BOXOFFICE_STORE__POOL_MAX", "0")],
        &["store.pool_max", "1 to 1000"],
    ),
    (
        "",
        &[("BOXOFFICE_LOG__FORMAT", "poetry")],
        &["log.format", "text or ecs"],
    ),
    (
        "",
        &[("BOXOFFICE_LOG__LEVEL", "info,=,[")],
        &["log.level", "info"],
    ),
    (
        "",
        &[("BOXOFFICE_HTTP__LISTEN", "everywhere")],
        &["http.listen", "127.0.0.1:8082"],
    ),
    (
        "",
        &[("BOXOFFICE_HTTP__PUBLIC_URL", "tickets.example.org")],
        &["http.public_url", "https://"],
    ),
    (
        "",
        &[("BOXOFFICE_HTTP__ALLOWED_ORIGINS", "https://a.example,*")],
        &["http.allowed_origins", "\"*\""],
    ),
    (
        "",
        &[("BOXOFFICE_HTTP__ALLOWED_ORIGINS", "https://a.example/path")],
        &["http.allowed_origins", "path"],
    ),
    (
        "[http]\nstreams_max = 30000",
        &[],
        &["http.streams_max", "http.connections_max"],
    ),
    (
        "",
        &[("BOXOFFICE_LIMITS__TRUSTED", "10.0.0.0/33")],
        &["limits.trusted", "10.0.0.0/33"],
    ),
    ("[limits]\ntrusted = [1]", &[], &["limits.trusted", "list"]),
    (
        "[limits]\nproof_bits_max = 29",
        &[],
        &["limits.proof_bits_max", "from 0 to 28"],
    ),
    (
        "",
        &[("BOXOFFICE_LIMITS__PROOF_BITS_MIN", "21")],
        &["limits.proof_bits_min", "limits.proof_bits_max"],
    ),
    (
        "",
        &[("BOXOFFICE_STORE__URL", "gopher://x")],
        &["store.url", "sqlite://"],
    ),
    (
        "",
        &[("BOXOFFICE_STORE__URL", "mysql://u:hunter2@h/db")],
        &["store.url", "MySQL"],
    ),
    (
        "",
        &[("BOXOFFICE_ROOM__URL", "redis://u:hunter2@h")],
        &["room.url", "Redis is not built in yet"],
    ),
    (
        "",
        &[("BOXOFFICE_BUS__URL", "kafka://u:hunter2@h")],
        &["bus.url", "Kafka is not built in yet"],
    ),
    (
        "",
        &[("BOXOFFICE_NOTIFY__SNS_ENDPOINT", "http://h")],
        &["notify.sns_endpoint", "SNS"],
    ),
    (
        "",
        &[("BOXOFFICE_NOTIFY__SMTP_URL", "ftp://u:hunter2@h")],
        &["notify.smtp_url", "smtp://"],
    ),
    (
        "",
        &[
            ("BOXOFFICE_NOTIFY__FROM", "nobody"),
            ("BOXOFFICE_NOTIFY__SMTP_URL", "smtp://h:1"),
        ],
        &["notify.from"],
    ),
    (
        "",
        &[("BOXOFFICE_DEMO", "maybe")],
        &["demo: \"maybe\"", "true or false"],
    ),
    (
        "",
        &[("BOXOFFICE_AUTH__SECRET", "hunter2")],
        &["auth.secret", "32 to 512"],
    ),
    (
        "",
        &[("BOXOFFICE_OPERATOR__PASSWORD", "hunter2")],
        &["operator.password", "8 to 256"],
    ),
    (
        "",
        &[("BOXOFFICE_OPERATOR__EMAIL", "nobody")],
        &["operator.email", "e-mail"],
    ),
    ("[http]\nlisten = \"hunter2", &[], &["my.toml: line 2"]),
];

#[test]
fn a_wrong_value_is_named_with_what_it_may_be() {
    for (file, pairs, words) in WRONG {
        let faults = faults(file, pairs);
        assert_eq!(faults.len(), 1, "{file:?} {pairs:?}: {faults:?}");
        for word in *words {
            assert!(
                faults[0].contains(word),
                "{word:?} is not in {:?}",
                faults[0]
            );
        }
        assert!(
            !faults[0].contains("hunter2"),
            "a secret is shown: {}",
            faults[0]
        );
    }
}

#[test]
fn all_faults_are_named_at_once() {
    let file = "colour = 1\n[auth]\naccess_ttl_s = 0\n[log]\nformat = 7\n";
    let pairs = [
        ("BOXOFFICE_DEMO", ""),
        ("BOXOFFICE_HTTP__LISTEN", "x"),
        ("BOXOFFICE_WHAT", "x"),
    ];
    let faults = faults(file, &pairs);
    assert_eq!(faults.len(), 6, "{faults:?}");
    for key in [
        "colour",
        "auth.access_ttl_s",
        "log.format",
        "demo",
        "http.listen",
        "what",
    ] {
        assert!(
            faults
                .iter()
                .any(|fault| fault.starts_with(&format!("{key}:"))),
            "{key} is not named: {faults:?}"
        );
    }
}

#[test]
fn any_text_is_read_or_refused_and_nothing_else() {
    // Cut anywhere, the manual itself is a source of half-written files.
    for end in (0..DEFAULT_FILE.len()).filter(|end| DEFAULT_FILE.is_char_boundary(*end)) {
        let _ = read(&DEFAULT_FILE[..end], &[]);
    }
    for text in [
        "\0",
        "[[http]]\nlisten = 1",
        "[http]\n[http]",
        "http.listen.x = 1",
        "a = {b = {c = 1}}",
    ] {
        assert!(!faults(text, &[]).is_empty(), "{text:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_file_is_a_configuration_or_its_faults_are_named(text in "\\PC{0,200}|(\\[[a-z]{1,8}\\]\n)?([a-z_]{1,12} = [-\"a-z0-9.\\[\\]]{0,20}\n){0,5}") {
        if let Err(Faults(faults)) = read(&text, &[]) {
            proptest::prop_assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.is_empty()));
        }
    }

    #[test]
    fn any_value_of_a_known_key_is_taken_or_refused_by_name(line in 0_usize..100, value in "-?[0-9]{1,25}|true|\"\\PC{0,40}\"|\\[\\]|[-0-9.e]{1,8}") {
        let mut section = "";
        let mut keys = Vec::new();
        for text in DEFAULT_FILE.lines().filter(|text| !text.starts_with('#')) {
            match text.split_once(" = ") {
                Some((key, _)) => keys.push((section, key)),
                None if text.starts_with('[') => section = text,
                None => (),
            }
        }
        let (section, key) = keys[line % keys.len()];
        let path = section.trim_matches(['[', ']']).to_owned() + if section.is_empty() { "" } else { "." } + key;
        let named = |fault: &String| fault.contains(&path) || fault.contains("my.toml");
        for fault in faults(&format!("{section}\n{key} = {value}\n"), &[]) {
            proptest::prop_assert!(named(&fault), "{} does not name {}", fault, path);
        }
    }
}
