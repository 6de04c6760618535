//! The command line and the configuration: what is wrong is named, with the range it may have.

use std::process::{Output, Stdio};
use std::time::Instant;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Server, boxoffice, free_port, skipped, within_s};

/// Runs the binary to its end with these settings, input closed.
fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let folder = TempDir::with_prefix("boxoffice-it-").expect("a temporary folder");
    let mut command = boxoffice(folder.path());
    command.env(
        "BOXOFFICE_HTTP__LISTEN",
        format!("127.0.0.1:{}", free_port()),
    );
    command
        .args(arguments)
        .envs(settings.iter().copied())
        .stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The output names the key, in either spelling: `ttl_s` or `TTL_S`.
#[track_caller]
fn check_names(output: &Output, words: &[&str]) {
    let said = said(output).to_lowercase();
    assert!(!output.status.success(), "it went through: {said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not named: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn check_names_a_value_out_of_its_range() {
    check_names(
        &run(&["check"], &[("BOXOFFICE_AUTH__ACCESS_TTL_S", "1")]),
        &["access_ttl_s", "2"],
    );
    check_names(
        &run(&["check"], &[("BOXOFFICE_AUTH__ACCESS_TTL_S", "soon")]),
        &["access_ttl_s"],
    );
    check_names(
        &run(&["check"], &[("BOXOFFICE_STORE__POOL_MAX", "0")]),
        &["pool_max", "1"],
    );
    check_names(
        &run(&["check"], &[("BOXOFFICE_LOG__FORMAT", "poetry")]),
        &["format", "text", "ecs"],
    );
    check_names(
        &run(&["check"], &[("BOXOFFICE_HTTP__LISTEN", "everywhere")]),
        &["listen"],
    );
    check_names(
        &run(&["check"], &[("BOXOFFICE_STORE__URL", "gopher://x")]),
        &["url"],
    );
    check_names(&run(&["check"], &[("BOXOFFICE_DEMO", "maybe")]), &["demo"]);
}

#[test]
fn check_names_a_key_that_does_not_exist() {
    check_names(
        &run(&["check"], &[("BOXOFFICE_HTTP__LISTNE", "127.0.0.1:1")]),
        &["listne"],
    );
    check_names(
        &run(&["check"], &[("BOXOFFICE_NONSENSE__KEY", "1")]),
        &["nonsense"],
    );
}

#[test]
fn serve_refuses_what_check_refuses() {
    check_names(
        &run(&["serve"], &[("BOXOFFICE_AUTH__ACCESS_TTL_S", "1")]),
        &["access_ttl_s"],
    );
    check_names(
        &run(&[], &[("BOXOFFICE_HTTP__LISTNE", "127.0.0.1:1")]),
        &["listne"],
    );
    check_names(&run(&["serve", "--roles", "jester"], &[]), &["jester"]);
    check_names(&run(&["dance"], &[]), &["dance"]);
}

#[test]
fn check_reaches_the_store() {
    let folder = TempDir::with_prefix("boxoffice-it-").expect("a temporary folder");
    let file = folder.path().join("a-file");
    std::fs::write(&file, "no folder").expect("a file");
    // No store can be below a file, whoever runs this.
    let url = format!("sqlite://{}/boxoffice.db", file.display());
    check_names(
        &run(&["check"], &[("BOXOFFICE_STORE__URL", &url)]),
        &["store"],
    );
}

#[test]
fn migrate_may_be_repeated() {
    let folder = TempDir::with_prefix("boxoffice-it-").expect("a temporary folder");
    for _ in 0..2 {
        let output = boxoffice(folder.path())
            .arg("migrate")
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn an_operator_is_added_from_the_command_line() {
    if skipped("the server's own command line") {
        return;
    }
    let server = Server::start();
    let given = "copper-Balcony-3301-tide";
    let mut command = server.command();
    command
        .args(["operator", "add", "second@example.com"])
        .env("BOXOFFICE_OPERATOR__PASSWORD", given);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    if let Some(mut input) = child.stdin.take() {
        // Asked for twice, or not at all.
        let _does_not_read =
            std::io::Write::write_all(&mut input, format!("{given}\n{given}\n").as_bytes());
    }
    let output = child.wait_with_output().expect("our own child");
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    // How the password comes is not said: it is the one given, or one that is printed.
    let printed = said
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '-' && c != '_'));
    let logged_in = std::iter::once(given).chain(printed).find_map(|password| {
        let answer = server.api.post(
            "/sessions",
            &json!({"email": "second@example.com", "password": password}),
        );
        (answer.status == 201).then(|| answer.value())
    });
    let session = logged_in.unwrap_or_else(|| panic!("no password in: {said}"));
    let token = session["access_token"].as_str().expect("a token");
    server
        .api
        .send(&server.api.call("GET", "/admin/bookings").bearer(token))
        .expect(200);
}

#[test]
fn what_is_no_email_is_no_operator() {
    let output = run(&["operator", "add", "nobody"], &[]);
    assert!(!output.status.success(), "{}", said(&output));
}

#[test]
fn secrets_stay_out_of_the_log() {
    if skipped("to read the server's log") {
        return;
    }
    let server = Server::start();
    let fan = server.api.fan();
    fan.get("/accounts/me").expect(200);
    server.api.send(
        &server
            .api
            .call("GET", "/accounts/me")
            .bearer("wrong-token-in-a-header"),
    );
    let log = server.log();
    for secret in [
        crate::harness::PASSWORD,
        &fan.access_token,
        &fan.refresh_token,
        &fan.email,
        "wrong-token-in-a-header",
    ] {
        assert!(!log.contains(secret), "`{secret}` is in the log: {log}");
    }
}

#[test]
fn it_is_ready_at_once() {
    if skipped("to start a server") {
        return;
    }
    let started = Instant::now();
    let server = Server::start();
    assert!(started.elapsed() <= within_s(2), "{:?}", started.elapsed());
    drop(server);
}

#[test]
fn an_empty_store_gets_a_demo_that_can_be_looked_at() {
    if skipped("an empty store") {
        return;
    }
    let server = Server::start_with(&[("BOXOFFICE_DEMO", "true")]);
    let page = server.api.get("/events").expect(200);
    let events = page["items"].as_array().expect("items");
    assert_eq!(events.len(), 2, "{page}");
    let mut sizes: Vec<u64> = Vec::new();
    for event in events {
        for performance in event["performances"].as_array().expect("performances") {
            let id = performance["performance_id"].as_str().expect("an id");
            let seen = server.api.get(&format!("/performances/{id}")).expect(200);
            sizes.push(seen["seats_total"].as_u64().expect("a number"));
        }
    }
    assert!(
        sizes.iter().any(|seats| *seats >= 1_500),
        "no theatre: {sizes:?}"
    );
    assert!(
        server.log().contains(&*server.api.address),
        "it does not say where to look: {}",
        server.log()
    );
}
