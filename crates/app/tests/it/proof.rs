//! The world's side of the door: a proof of work before a number, and limits by address and account.
//!
//! The servers here trust another network than loopback, so that the suite itself is the world.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Api, PASSWORD, Server, Who, in_parallel, let_pass, new_email, skipped};
use crate::http::Answer;
use crate::show::{Setup, Show, count, text};

const TRUSTED: (&str, &str) = ("BOXOFFICE_LIMITS__TRUSTED", "192.0.2.0/24");
const PER_ADDRESS: (&str, &str) = ("BOXOFFICE_LIMITS__PER_ADDRESS_PER_S", "100000");
const BITS_MIN: (&str, &str) = ("BOXOFFICE_LIMITS__PROOF_BITS_MIN", "9");

/// Zero bits that the SHA-256 of this text begins with.
fn zero_bits(text: &str) -> u32 {
    let hash = Sha256::digest(text);
    let head = u128::from_be_bytes(hash[..16].try_into().expect("a hash has 32 bytes"));
    head.leading_zeros()
}

/// The proof that this problem asks for.
#[track_caller]
fn solve(problem: &Value) -> String {
    assert_eq!(problem["algorithm"], "sha-256", "{problem}");
    let bits = u32::try_from(count(&problem["bits"])).expect("a few bits");
    search(problem, |zeros| zeros >= bits)
}

#[track_caller]
fn search(problem: &Value, good: impl Fn(u32) -> bool) -> String {
    let challenge = text(&problem["challenge"]);
    (0..1_u32 << 24)
        .map(|nonce| format!("{challenge}:{nonce}"))
        .find(|proof| good(zero_bits(proof)))
        .expect("one in some thousands is right")
}

fn join_with(fan: &Who, show: &Show, proof: &str) -> Answer {
    let call = fan.call("POST", &show.path("/waiting-room"));
    fan.send(&call.header("Boxoffice-Proof", proof).json(&json!({})))
}

/// The problem of a join without a good proof.
#[track_caller]
fn refused(answer: &Answer) -> Value {
    answer.problem(403, "proof-required")
}

#[test]
fn from_the_world_a_number_costs_a_proof_that_is_good_once() {
    if skipped("a network that is not trusted") {
        return;
    }
    let mut server = Server::start_with(&[TRUSTED, PER_ADDRESS, BITS_MIN]);
    let api = server.api.clone();
    let room = || Setup::new().in_lobby().admission(1.0, 10, 60, 60);
    let (show, other_show) = (room().make(&api), room().make(&api));
    let (fan, other_fan) = (api.fan(), api.fan());

    let problem = refused(&fan.try_join(&show));
    assert_eq!(problem["bits"], 9, "{problem}");
    let proof = solve(&problem);
    let others = solve(&refused(&other_fan.try_join(&show)));
    let elsewhere = solve(&refused(&fan.try_join(&other_show)));
    let (challenge, nonce) = proof.split_once(':').expect("a colon");
    for wrong in [
        search(&problem, |zeros| zeros == 8),
        search(&problem, |zeros| zeros == 0),
        others.clone(),
        elsewhere.clone(),
        format!("x{proof}"),
        format!("{}:{nonce}", "A".repeat(challenge.len())),
        format!("{}:{nonce}", "A".repeat(10_000)),
        challenge.to_owned(),
        ":".to_owned(),
        String::new(),
    ] {
        refused(&join_with(&fan, &show, &wrong));
    }
    let line = api.get(&show.path("/waiting-room")).expect(200);
    assert_eq!(line["queue_counter"], 0, "nobody got a number: {line}");

    let place = join_with(&fan, &show, &proof).expect(201);
    assert_eq!(place["number"], 1);
    // A repeat of a live place needs no proof, and does not mind an old one.
    assert_eq!(fan.try_join(&show).expect(200)["number"], 1);
    assert_eq!(join_with(&fan, &show, &proof).expect(200)["number"], 1);
    join_with(&other_fan, &show, &others).expect(201);

    fan.delete(&show.path("/waiting-room/place")).expect(204);
    refused(&join_with(&fan, &show, &proof));
    server.kill();
    server.run();
    let fresh = refused(&join_with(&fan, &show, &proof));
    refused(&join_with(&fan, &other_show, &elsewhere));
    let again = join_with(&fan, &show, &solve(&fresh)).expect(201);
    assert_eq!(again["number"], 3);
}

#[test]
fn of_many_who_spend_one_proof_one_gets_a_number() {
    if skipped("a network that is not trusted") {
        return;
    }
    let server = Server::start_with(&[TRUSTED, PER_ADDRESS, BITS_MIN]);
    let show = Setup::new()
        .in_lobby()
        .admission(1.0, 10, 60, 60)
        .make(&server.api);
    let fan = server.api.fan();
    let proof = solve(&refused(&fan.try_join(&show)));
    let answers = in_parallel(8, |_| join_with(&fan, &show, &proof));
    let with = |status| answers.iter().filter(|a| a.status == status).count();
    assert_eq!(with(201), 1, "{answers:?}");
    assert_eq!(with(201) + with(200) + with(403), 8, "{answers:?}");
    let line = server.api.get(&show.path("/waiting-room")).expect(200);
    assert_eq!(line["queue_counter"], 1, "{line}");
}

#[test]
fn nobody_works_for_a_place_that_there_is_not() {
    if skipped("a network that is not trusted") {
        return;
    }
    let server = Server::start_with(&[TRUSTED, PER_ADDRESS]);
    let api = &server.api;
    let fan = api.fan();
    let early = Setup::new().opens_in_s(3_600.0).wide_room().make(api);
    fan.try_join(&early).problem(409, "not-open-yet");
    let over = Setup::new().closes_in_s(-1.0).wide_room().make(api);
    fan.try_join(&over).problem(410, "sale-closed");
    let no_room = Setup::new().make(api);
    fan.try_join(&no_room).problem(409, "no-waiting-room");
    let open = Setup::new().wide_room().make(api);
    let call = api.call("POST", &open.path("/waiting-room"));
    api.send(&call.json(&json!({})))
        .problem(401, "login-required");
}

#[test]
fn without_bits_the_world_joins_at_once() {
    if skipped("settings of its own") {
        return;
    }
    let server = Server::start_with(&[TRUSTED, ("BOXOFFICE_LIMITS__PROOF_BITS_MAX", "0")]);
    let show = Setup::new().wide_room().make(&server.api);
    server.api.fan().join(&show);
}

/// Asks until it is refused for asking too often, and hands that answer back with how often it was not.
#[track_caller]
fn ask_too_often(asks_max: usize, ask: impl Fn() -> Answer) -> (usize, Answer) {
    for asked in 0..asks_max {
        let answer = ask();
        if answer.status == 429 {
            answer.problem(429, "too-many-requests");
            return (asked, answer);
        }
    }
    panic!("asked {asks_max} times and was never refused");
}

/// The seconds in `Retry-After`.
#[track_caller]
fn retry_after(answer: &Answer) -> Duration {
    let seconds = answer
        .header("retry-after")
        .and_then(|text| text.parse().ok());
    let seconds = seconds.unwrap_or_else(|| panic!("no whole seconds in Retry-After: {answer}"));
    assert!((1..=10).contains(&seconds), "{answer}");
    Duration::from_secs(seconds)
}

fn get_events(api: &Api) -> Answer {
    api.get("/events?limit=1")
}

#[test]
fn an_address_that_asks_too_often_is_told_when_to_come_back() {
    if skipped("a network that is not trusted") {
        return;
    }
    let server = Server::start_with(&[TRUSTED, ("BOXOFFICE_LIMITS__PER_ADDRESS_PER_S", "20")]);
    let started = Instant::now();
    let (asked, answer) = ask_too_often(2_000, || get_events(&server.api));
    let allowed = 20.0 + started.elapsed().as_secs_f64() * 20.0;
    assert!(asked as f64 <= allowed + 1.0, "{asked} were answered");
    let_pass(retry_after(&answer));
    get_events(&server.api).expect(200);
}

#[test]
fn an_account_that_asks_too_often_does_not_hurt_others() {
    if skipped("a network that is not trusted") {
        return;
    }
    let server = Server::start_with(&[
        TRUSTED,
        PER_ADDRESS,
        ("BOXOFFICE_LIMITS__PER_ACCOUNT_PER_S", "5"),
    ]);
    let (fan, other) = (server.api.fan(), server.api.fan());
    let (asked, answer) = ask_too_often(500, || fan.get("/accounts/me"));
    assert!(asked >= 5, "a second's worth may come at once: {asked}");
    other.get("/accounts/me").expect(200);
    get_events(&server.api).expect(200);
    let_pass(retry_after(&answer));
    fan.get("/accounts/me").expect(200);
}

#[test]
fn an_address_that_guesses_passwords_is_slowed_and_nothing_else_of_it() {
    if skipped("a network that is not trusted") {
        return;
    }
    let server = Server::start_with(&[TRUSTED, PER_ADDRESS]);
    let fan = server.api.fan();
    let guess = json!({"email": fan.email, "password": "not-the-right-one"});
    let (asked, answer) = ask_too_often(500, || server.api.post("/sessions", &guess));
    assert!((5..200).contains(&asked), "{asked} guesses");
    // New accounts count with logins: alone they could have 20 at once.
    let (made, answer_to_new) = ask_too_often(100, || {
        let account = json!({"email": new_email(), "password": PASSWORD, "name": "S"});
        server.api.post("/accounts", &account)
    });
    assert!(made < 15, "{made} accounts more");
    fan.get("/accounts/me").expect(200);
    assert!(retry_after(&answer) <= Duration::from_secs(1), "{answer}");
    let_pass(retry_after(&answer_to_new));
    server.api.login(&fan.email, PASSWORD);
}
