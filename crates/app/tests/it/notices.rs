//! Notices: who is told by e-mail, once, whatever the mail server and the process go through meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    PASSWORD, Server, Who, free_port, from_now_s, let_pass, new_email, new_id, skipped, time,
    until, within_s,
};
use crate::mail::{FakeMailServer, Mail, Mood};
use crate::show::{Setup, Show, count, list, text};

const PUBLIC_URL: &str = "https://tickets.example.org";

/// A server whose notices go to this port.
fn server(port: u16) -> Server {
    Server::start_with(&[
        ("BOXOFFICE_NOTIFY__SMTP_URL", &FakeMailServer::url(port)),
        ("BOXOFFICE_HTTP__PUBLIC_URL", PUBLIC_URL),
    ])
}

/// Called by nobody yet; [`call`] calls everybody.
fn show(server: &Server, claim_within_s: u32) -> Show {
    Setup::new()
        .admission(1_000.0, 0, 600, claim_within_s)
        .make(&server.api)
}

fn call(show: &Show) {
    show.patch(&json!({"admission": {"active_max": 1_000}}));
}

/// Fans who wait and whom nobody tells on a stream.
fn waiting(show: &Show, fans: usize) -> Vec<Who> {
    let fans = show.api.fans(fans);
    fans.iter().for_each(|fan| drop(fan.join(show)));
    fans
}

fn korean_fan(server: &Server) -> Who {
    let email = new_email();
    let body = json!({"email": email, "password": PASSWORD, "name": "김민지", "locale": "ko"});
    server.api.post("/accounts", &body).expect(201);
    server.api.login(&email, PASSWORD)
}

#[track_caller]
fn only(mails: Vec<Mail>) -> Mail {
    let [mail] = <[Mail; 1]>::try_from(mails).expect("exactly one mail");
    mail
}

#[track_caller]
fn dead_letters(server: &Server) -> Vec<Value> {
    let found = server.api.operator().get("/admin/notices?state=dead");
    list(&found.expect(200)["items"]).clone()
}

#[track_caller]
fn until_dead(server: &Server) -> Value {
    until("a dead letter", within_s(3), || dead_letters(server).pop())
}

fn resend_path(dead: &Value) -> String {
    format!("/admin/notices/{}/resend", text(&dead["notice_id"]))
}

#[test]
fn a_called_fan_is_mailed_once_unless_told_on_a_stream_or_not_wanting_mail() {
    if skipped("a mail server of its own") {
        return;
    }
    let mail = FakeMailServer::start(Mood::Takes);
    let server = server(mail.port);
    let (here, elsewhere) = (show(&server, 600), show(&server, 600));
    let (absent, korean) = (waiting(&here, 1).remove(0), korean_fan(&server));
    let (in_room, on_account, left_stream) = (server.api.fan(), server.api.fan(), server.api.fan());
    let (in_other_room, without_mail) = (server.api.fan(), server.api.fan());
    for fan in [
        &korean,
        &in_room,
        &on_account,
        &left_stream,
        &in_other_room,
        &without_mail,
    ] {
        fan.join(&here);
    }
    in_other_room.join(&elsewhere);
    without_mail
        .patch("/accounts/me", &json!({"notices": {"email": false}}))
        .expect(200);
    let room = in_room.stream(&here.path("/waiting-room/stream"));
    let account = on_account.stream("/accounts/me/stream");
    let _other_room = in_other_room.stream(&elsewhere.path("/waiting-room/stream"));
    drop(left_stream.stream(&here.path("/waiting-room/stream")));
    let_pass(Duration::from_millis(500));
    call(&here);

    room.find("place", within_s(2), |place| place["state"] == "called");
    let link = format!("{PUBLIC_URL}/p/{}/enter", here.performance_id);
    let told = account.find("notice", within_s(2), |_| true).value();
    assert_eq!(told["reason"], "your_turn");
    assert_eq!(told["url"], link.as_str());
    let mails = mail.exactly(4, within_s(3));
    for fan in [&absent, &korean, &left_stream, &in_other_room] {
        let mail = only(mail.mails_to(&fan.email));
        assert!(mail.text.contains(&link), "{}", mail.text);
        assert!(
            mail.html.contains(&format!("href=\"{link}\"")),
            "{}",
            mail.html
        );
    }
    assert_eq!(mails.len(), 4);
    let english = only(mail.mails_to(&absent.email));
    assert_eq!(
        (english.language.as_str(), english.subject.as_str()),
        ("en", "It is your turn: A show")
    );
    assert!(
        english.text.contains("Enter within 10 minutes, by "),
        "{}",
        english.text
    );
    let korean = only(mail.mails_to(&korean.email));
    assert_eq!(
        (korean.language.as_str(), korean.subject.as_str()),
        ("ko", "입장하실 차례입니다: A show")
    );
    assert!(
        korean.text.contains("10분 안에, 한국 시간 "),
        "{}",
        korean.text
    );
    let stats = here.stats();
    // Those on a stream are told too; who wants no mail and has no stream is not.
    assert_eq!(count(&stats["notices"]["sent"]), 6, "{stats}");
}

#[test]
fn a_booking_is_mailed_once_for_each_end_it_comes_to() {
    if skipped("a mail server of its own") {
        return;
    }
    let mail = FakeMailServer::start(Mood::Takes);
    let server = server(mail.port);
    let show = Setup::new().make(&server.api);
    let guids = show.guids();
    let (buyer, declined) = (server.api.fan(), korean_fan(&server));
    // The tickets are mailed to a fan with a stream, too: a stream keeps nothing.
    let _stream = buyer.stream("/accounts/me/stream");
    let hold = buyer.hold(&show, &[&guids[0], &guids[1]]);
    let booking = text(&buyer.book(&hold)["booking_id"]);
    let confirmed = only(mail.exactly(1, within_s(3)));
    assert_eq!(
        (confirmed.to.as_str(), confirmed.subject.as_str()),
        (buyer.email.as_str(), "Your tickets: A show")
    );
    for words in [
        "A, row 1, seat 1",
        "Total: ₩264,000",
        &format!("{PUBLIC_URL}/bookings/{booking}"),
    ] {
        assert!(
            confirmed.text.contains(words),
            "{words}: {}",
            confirmed.text
        );
    }
    for _ in 0..2 {
        buyer.cancel(&booking).expect_any(&[200, 202]);
    }
    let mails = mail.exactly(2, within_s(5));
    assert_eq!(mails[1].subject, "Booking cancelled: A show");
    korean_buys(&mail, &korean_fan(&server), &show, &guids[4]);
    let hold = declined.hold(&show, &[&guids[2]]);
    let refused = declined.book_and_wait(&new_id(), &hold["hold_id"], "declined");
    assert_eq!(refused.expect(200)["code"], "payment-declined");
    let mails = mail.exactly(4, within_s(3));
    assert_eq!(mails[3].subject, "예매가 완료되지 않았습니다: A show");
    assert!(
        mails[3].text.contains("결제가 승인되지 않았습니다."),
        "{}",
        mails[3].text
    );
}

/// A booking told in Korean, its seats too.
#[track_caller]
fn korean_buys(mail: &FakeMailServer, fan: &Who, show: &Show, guid: &str) {
    fan.book(&fan.hold(show, &[guid]));
    mail.until_mails(3, within_s(3));
    let tickets = only(mail.mails_to(&fan.email));
    assert_eq!(tickets.subject, "예매 완료: A show");
    for words in ["- A 1열 5번", "합계: 132,000원"] {
        assert!(tickets.text.contains(words), "{words}: {}", tickets.text);
    }
}

#[test]
fn a_mail_server_that_is_busy_for_a_while_gets_every_mail_once() {
    if skipped("a mail server of its own") {
        return;
    }
    let mail = FakeMailServer::start(Mood::Refuses("451 busy, come back"));
    let server = server(mail.port);
    let show = show(&server, 600);
    let fans = waiting(&show, 20);
    call(&show);
    until("everybody was tried twice", within_s(5), || {
        (mail.attempts() >= 2 * fans.len()).then_some(())
    });
    mail.set(Mood::Takes);
    mail.exactly(fans.len(), within_s(5));
    for fan in &fans {
        only(mail.mails_to(&fan.email));
    }
    assert_eq!(dead_letters(&server), Vec::<Value>::new());
}

#[test]
fn a_mail_server_that_is_back_before_the_turn_ends_still_calls() {
    if skipped("a mail server of its own") {
        return;
    }
    let port = free_port();
    let server = server(port);
    let show = show(&server, 14);
    let fan = waiting(&show, 1).remove(0);
    call(&show);
    let place = fan.until_place_is(&show, "called", within_s(2));
    // Nobody listens for most of the turn: doubled waits alone would next look when it is over.
    let_pass(Duration::from_millis(10_500));
    let mail = FakeMailServer::start_on(port, Mood::Takes);
    only(mail.exactly(1, Duration::from_secs(5)));
    let lapses = time(&place["call_expires_at"]);
    assert!(
        time(&json!(from_now_s(-2.0))) < lapses,
        "it came after the turn"
    );
    fan.until_place_is(&show, "lapsed", within_s(5));
    mail.exactly(1, within_s(0));
}

#[test]
fn what_is_refused_for_good_waits_for_the_operator() {
    if skipped("a mail server of its own") {
        return;
    }
    let mail = FakeMailServer::start(Mood::Refuses("550 no such address"));
    let server = server(mail.port);
    let show = Setup::new().make(&server.api);
    let fan = server.api.fan();
    fan.book(&fan.hold(&show, &[&show.guids()[0]]));
    let dead = until_dead(&server);
    assert_eq!(dead["reason"], "booking_confirmed");
    assert_eq!(dead["account_id"], fan.account_id.as_str());
    assert_eq!(dead["channel"], "email");
    assert_eq!(count(&dead["tries"]), 1);
    assert_eq!(count(&show.stats()["notices"]["failed"]), 1);
    assert_eq!(mail.attempts(), 1, "what is hopeless is not tried again");
    mail.set(Mood::Takes);
    let (operator, resend) = (server.api.operator(), resend_path(&dead));
    fan.post(&resend, &json!({})).problem(403, "operator-only");
    for _ in 0..2 {
        assert_eq!(operator.post(&resend, &json!({})).status, 202);
    }
    assert_eq!(only(mail.exactly(1, within_s(3))).to, fan.email);
    assert_eq!(dead_letters(&server), Vec::<Value>::new());
    assert_eq!(count(&show.stats()["notices"]["failed"]), 0);
    operator.post(&resend, &json!({})).problem(404, "not-found");
}

#[test]
fn nobody_is_called_again_to_a_turn_that_is_over() {
    if skipped("a mail server of its own") {
        return;
    }
    let mail = FakeMailServer::start(Mood::Refuses("550 no such address"));
    let server = server(mail.port);
    let show = show(&server, 3);
    let fan = waiting(&show, 1).remove(0);
    call(&show);
    let dead = until_dead(&server);
    assert_eq!(dead["reason"], "your_turn");
    fan.until_place_is(&show, "lapsed", within_s(5));
    mail.set(Mood::Takes);
    let again = server.api.operator().post(&resend_path(&dead), &json!({}));
    again.problem(410, "turn-lapsed");
    mail.exactly(0, within_s(0));
}

#[test]
fn a_crash_in_the_middle_of_sending_tells_nobody_more_than_three_times() {
    if skipped("a mail server of its own") {
        return;
    }
    let mail = FakeMailServer::start(Mood::HangsAfterContent);
    let mut server = server(mail.port);
    let show = show(&server, 600);
    let fan = waiting(&show, 1).remove(0);
    call(&show);
    for attempt in 1..=3 {
        mail.until_mails(attempt, within_s(4));
        server.kill();
        server.run();
    }
    let dead = until_dead(&server);
    assert_eq!(dead["account_id"], fan.account_id.as_str());
    mail.exactly(3, within_s(0));
    mail.set(Mood::Takes);
    let again = server.api.operator().post(&resend_path(&dead), &json!({}));
    assert_eq!(again.status, 202);
    mail.exactly(4, within_s(3));
}

#[test]
fn a_crash_leaves_nobody_untold_and_those_not_tried_yet_are_told_once() {
    if skipped("a mail server of its own") {
        return;
    }
    /// Connections to a mail server at once.
    const AT_ONCE: usize = 16;
    let mail = FakeMailServer::start(Mood::HangsAfterContent);
    let mut server = server(mail.port);
    let show = show(&server, 600);
    let fans = waiting(&show, 40);
    call(&show);
    let tried = mail.exactly(AT_ONCE, within_s(4));
    server.kill();
    mail.set(Mood::Takes);
    server.run();
    mail.exactly(AT_ONCE + fans.len(), within_s(4));
    for fan in &fans {
        let before = tried.iter().filter(|mail| mail.to == fan.email).count();
        assert_eq!(mail.mails_to(&fan.email).len(), before + 1, "{}", fan.email);
    }
}
