//! Notices as a fan and a mail server see them. The mail server is a fake ([`FakeMailServer`]).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boxoffice_core::booking::Why;
use boxoffice_core::notice::{Attempt, Channel, Reason};
use boxoffice_core::{Money, Timestamp};
use proptest::prelude::*;

use super::sink::{Act, FakeMailServer};
use super::{Locale, Mailer, Message, TimeLimits, render, short_text};

/// 2026-03-14T10:40:00Z.
const NOW: Timestamp = Timestamp(1_773_484_800_000_000);
const TITLE: &str = "봄날의 콘서트 <1부> & 2부";

fn message(reason: Reason, locale: Locale) -> Message {
    Message {
        to_email: "minji@example.org".to_owned(),
        to_name: "김민지".to_owned(),
        locale,
        reason,
        title: TITLE.to_owned(),
        starts_at: NOW.plus_s(86_400),
        url: "https://tickets.example.org/p/018f/enter?a=1&b=2".to_owned(),
        useful_until: Some(NOW.plus_s(600)),
        seats: vec!["1층, 5열, 12번".to_owned(), "1층, 5열, 13번".to_owned()],
        total: Some(Money {
            amount_minor: 132_000,
            currency: "KRW".parse().unwrap(),
        }),
        why: None,
    }
}

const PATIENT: TimeLimits = TimeLimits {
    connect: Duration::from_secs(20),
    command: Duration::from_secs(20),
    content: Duration::from_secs(20),
};

fn mailer(server: &FakeMailServer, limits: TimeLimits) -> Mailer {
    let url = format!("smtp://{}", server.address);
    Mailer::from_url_within(Some(&url), "매표소 <tickets@example.org>", limits).unwrap()
}

async fn send(mailer: &Mailer) -> Attempt {
    let message = message(Reason::BookingConfirmed, Locale::Ko);
    mailer.send(&message, NOW).await
}

// What a notice says.

/// Of each notice: how its subject begins, and what its text says.
const SAID: &[(Reason, Locale, &str, &[&str])] = &[
    (
        Reason::YourTurn,
        Locale::En,
        "It is your turn: ",
        &[
            "within 10 minutes, by 10:50 UTC",
            "Sunday 15 March 2026, 10:40 UTC",
        ],
    ),
    (
        Reason::YourTurn,
        Locale::Ko,
        "입장하실 차례입니다: ",
        &[
            "10분 안에, 한국 시간 19:50까지",
            "2026년 3월 15일(일) 19:40",
        ],
    ),
    (
        Reason::BookingConfirmed,
        Locale::En,
        "Your tickets: ",
        &["is confirmed", "- 1층, 5열, 12번\n- 1층", "Total: ₩132,000"],
    ),
    (
        Reason::BookingConfirmed,
        Locale::Ko,
        "예매 완료: ",
        &[
            "완료되었습니다",
            "- 1층, 5열, 12번\n- 1층",
            "합계: 132,000원",
        ],
    ),
    (
        Reason::BookingRefused,
        Locale::En,
        "Booking not completed: ",
        &["The payment was declined.", "pay again", "on its way back"],
    ),
    (
        Reason::BookingRefused,
        Locale::Ko,
        "예매가 완료되지 않았습니다: ",
        &["결제가 승인되지", "다시 결제", "환불됩니다"],
    ),
    (
        Reason::BookingCancelled,
        Locale::En,
        "Booking cancelled: ",
        &["no longer valid", "₩132,000 is on its way back"],
    ),
    (
        Reason::BookingCancelled,
        Locale::Ko,
        "예매 취소: ",
        &["예매가 취소", "환불 금액: 132,000원"],
    ),
];

#[test]
fn every_notice_says_what_happened_and_where_to_go_on() {
    for (reason, locale, subject, parts) in SAID {
        let mut message = message(*reason, *locale);
        message.why = (*reason == Reason::BookingRefused).then_some(Why::PaymentDeclined);
        let rendered = render(&message, NOW);
        assert_eq!(rendered.subject, format!("{subject}{TITLE}"));
        for part in *parts {
            assert!(rendered.text.contains(part), "{part} in {}", rendered.text);
            let paragraph = part.replace("- ", "<li>").replace('\n', "</li>\n");
            assert!(
                rendered.html.contains(&paragraph),
                "{paragraph} in {}",
                rendered.html
            );
        }
        assert!(rendered.text.ends_with(&format!(":\n{}\n", message.url)));
        assert!(
            !rendered.text.contains(&message.to_name),
            "nobody's words but the operator's"
        );
        let html = &rendered.html;
        assert!(html.contains(&format!("<html lang=\"{}\">", locale.tag())));
        assert!(html.contains("href=\"https://tickets.example.org/p/018f/enter?a=1&amp;b=2\""));
        assert!(
            html.contains("봄날의 콘서트 &lt;1부&gt; &amp; 2부</a>"),
            "the link says where it goes"
        );
        assert_eq!(html.matches("<h1").count(), 1);
        assert!(html.contains("content=\"light dark\""));
    }
}

#[test]
fn a_refused_fan_reads_the_reason_and_the_way_that_is_still_open() {
    let cases = [
        (
            Some(Why::PaymentDeclined),
            "The payment was declined.",
            "pay again",
        ),
        (
            Some(Why::PaymentFailed),
            "The payment was not made in full and in time.",
            "pay again",
        ),
        (
            Some(Why::HoldExpired),
            "The seats were no longer kept for you.",
            "You can choose seats again.",
        ),
        (None, "Your booking was not completed", "pay again"),
    ];
    for (why, because, way_on) in cases {
        let text = render(
            &Message {
                why,
                ..message(Reason::BookingRefused, Locale::En)
            },
            NOW,
        )
        .text;
        assert!(text.contains(because) && text.contains(way_on), "{text}");
        assert_eq!(text.contains("pay again"), way_on == "pay again");
    }
}

#[test]
fn one_sentence_for_streams_and_push() {
    let until = Some(NOW.plus_s(600));
    let declined = Some(Why::PaymentDeclined);
    let cases = [
        (
            Reason::YourTurn,
            Locale::En,
            "It is your turn for Aida: enter within 10 minutes, by 10:50 UTC.",
        ),
        (
            Reason::YourTurn,
            Locale::Ko,
            "Aida 입장 차례입니다: 10분 안에, 한국 시간 19:50까지 입장해 주세요.",
        ),
        (
            Reason::BookingConfirmed,
            Locale::En,
            "Your booking for Aida is confirmed.",
        ),
        (
            Reason::BookingConfirmed,
            Locale::Ko,
            "Aida 예매가 완료되었습니다.",
        ),
        (
            Reason::BookingRefused,
            Locale::En,
            "Your booking for Aida was not completed: the payment was declined.",
        ),
        (
            Reason::BookingRefused,
            Locale::Ko,
            "Aida 예매가 완료되지 않았습니다: 결제가 승인되지 않았습니다.",
        ),
        (
            Reason::BookingCancelled,
            Locale::En,
            "Your booking for Aida is cancelled; what you paid is on its way back.",
        ),
        (
            Reason::BookingCancelled,
            Locale::Ko,
            "Aida 예매가 취소되었으며, 결제하신 금액은 환불됩니다.",
        ),
    ];
    for (reason, locale, sentence) in cases {
        assert_eq!(
            short_text(reason, "Aida\r\n", locale, until, declined, NOW),
            sentence
        );
    }
}

#[test]
fn korean_is_for_korean_tags_and_english_for_all_others() {
    for (tag, locale) in [
        ("ko", Locale::Ko),
        ("ko-KR", Locale::Ko),
        ("KO_kr", Locale::Ko),
        ("kok", Locale::En),
        ("en-GB", Locale::En),
        ("", Locale::En),
        ("-ko", Locale::En),
    ] {
        assert_eq!(Locale::from_tag(tag), locale, "{tag}");
    }
}

// Hostile input.

/// The HTML without what stands between tags and without the values of `href`.
fn skeleton(html: &str) -> Vec<&str> {
    html.split('<')
        .filter_map(|tag| tag.split_once('>'))
        .map(|(tag, _)| tag)
        .collect()
}

/// Unfolds the header of an e-mail or of a part, and splits it off from the body.
fn header_and_body(email: &str) -> (Vec<(String, String)>, &str) {
    let (header, body) = email.split_once("\r\n\r\n").unwrap();
    let lines = header.replace("\r\n ", " ").replace("\r\n\t", " ");
    let header = lines.lines().map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_owned(), value.to_owned())
    });
    (header.collect(), body)
}

fn composed(message: &Message) -> String {
    let Mailer::Smtp(smtp) =
        Mailer::from_url(Some("smtp://localhost"), "매표소 <tickets@example.org>").unwrap()
    else {
        unreachable!()
    };
    let (_, email) = smtp.compose(message, &render(message, NOW)).unwrap();
    String::from_utf8(email).unwrap()
}

#[test]
fn a_script_in_a_title_or_seat_is_text() {
    for reason in [
        Reason::YourTurn,
        Reason::BookingConfirmed,
        Reason::BookingRefused,
        Reason::BookingCancelled,
    ] {
        let mut hostile = message(reason, Locale::En);
        hostile.title = "<script>alert(1)</script>\"'".to_owned();
        hostile.seats = vec![
            "<img src=x onerror=alert(1)>".to_owned(),
            "</li></ul><h1>".to_owned(),
        ];
        hostile.to_name = "<script>".to_owned();
        let html = render(&hostile, NOW).html;
        let usual = render(&message(reason, Locale::En), NOW).html;
        assert_eq!(skeleton(&html), skeleton(&usual), "{html}");
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;"));
    }
}

#[test]
fn a_line_break_in_a_title_or_name_adds_no_header() {
    let names = |message: &Message| -> Vec<String> {
        let email = composed(message);
        let (header, _) = header_and_body(&email);
        header.into_iter().map(|(name, _)| name).collect()
    };
    let usual = message(Reason::YourTurn, Locale::Ko);
    let expected = [
        "From",
        "To",
        "Subject",
        "Message-ID",
        "Date",
        "Auto-Submitted",
        "Content-Language",
        "MIME-Version",
        "Content-Type",
    ];
    assert_eq!(names(&usual), expected);
    for inject in [
        "\r\nBcc: thief@example.org",
        "\nBcc: thief@example.org",
        "\rBcc: x",
        "\r\n\r\n<h1>",
        "\u{85}Bcc: x",
    ] {
        let hostile = Message {
            title: format!("Aida{inject}"),
            to_name: format!("Kim{inject}"),
            seats: vec![inject.to_owned()],
            ..message(Reason::YourTurn, Locale::Ko)
        };
        assert_eq!(names(&hostile), expected, "{inject:?}");
    }
}

proptest! {
    #[test]
    fn nothing_typed_changes_the_form_of_a_message(title in any::<String>(), name in any::<String>(), seat in any::<String>()) {
        let usual = message(Reason::BookingConfirmed, Locale::Ko);
        let hostile = Message { title, to_name: name, seats: vec![seat; 2], ..message(Reason::BookingConfirmed, Locale::Ko) };
        let (rendered, expected) = (render(&hostile, NOW), render(&usual, NOW));
        prop_assert_eq!(skeleton(&rendered.html), skeleton(&expected.html));
        prop_assert_eq!(rendered.text.lines().count(), expected.text.lines().count());
        let (email, usual) = (composed(&hostile), composed(&usual));
        prop_assert!(email.is_ascii());
        let names = |email: &str| header_and_body(email).0.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        prop_assert_eq!(names(&email), names(&usual));
    }
}

// What arrives at a mail server.

/// Undoes RFC 2047: words such as `=?utf-8?b?…?=`. A blank counts unless it stands between two of them.
fn decoded_words(value: &str) -> String {
    let (mut text, mut after_encoded) = (String::new(), true);
    for word in value.split(' ') {
        let inner = word
            .strip_prefix("=?utf-8?b?")
            .and_then(|word| word.strip_suffix("?="));
        if !(after_encoded && (inner.is_some() || text.is_empty())) {
            text.push(' ');
        }
        after_encoded = inner.is_some();
        match inner {
            Some(encoded) => {
                text.push_str(&String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap());
            }
            None => text.push_str(word),
        }
    }
    text
}

fn decoded_body(encoding: &str, body: &str) -> String {
    let bytes = match encoding {
        "base64" => STANDARD.decode(body.replace("\r\n", "")).unwrap(),
        "quoted-printable" => {
            let mut bytes = vec![];
            let joined = body.replace("=\r\n", "");
            let mut rest = joined.as_bytes();
            while let [first, tail @ ..] = rest {
                rest = tail;
                if *first == b'=' {
                    let hex = std::str::from_utf8(&tail[..2]).unwrap();
                    bytes.push(u8::from_str_radix(hex, 16).unwrap());
                    rest = &tail[2..];
                } else {
                    bytes.push(*first);
                }
            }
            bytes
        }
        "7bit" => body.as_bytes().to_vec(),
        other => panic!("unknown encoding {other}"),
    };
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

/// The content type and decoded body of each part.
fn parts(content_type: &str, body: &str) -> Vec<(String, String)> {
    let boundary = content_type
        .split("boundary=\"")
        .nth(1)
        .unwrap()
        .trim_end_matches('"');
    body.split(&format!("--{boundary}"))
        .filter(|part| part.starts_with("\r\nContent-"))
        .map(|part| {
            let (header, body) = header_and_body(part.trim_start_matches("\r\n"));
            let value = |name: &str| {
                header
                    .iter()
                    .find(|(key, _)| key == name)
                    .unwrap()
                    .1
                    .clone()
            };
            let body = body.strip_suffix("\r\n").unwrap();
            (
                value("Content-Type"),
                decoded_body(&value("Content-Transfer-Encoding"), body),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_korean_message_arrives_as_it_was_written() {
    let server = FakeMailServer::start(&[]).await;
    let mailer = mailer(&server, PATIENT);
    let message = message(Reason::BookingConfirmed, Locale::Ko);
    assert_eq!(mailer.channel(), Channel::Email);
    assert_eq!(mailer.send(&message, NOW).await, Attempt::Accepted);

    let heard = server.heard();
    assert_eq!(
        heard.commands[1..],
        [
            "MAIL FROM:<tickets@example.org>",
            "RCPT TO:<minji@example.org>",
            "DATA"
        ]
    );
    let [email] = &heard.messages[..] else {
        panic!("one message")
    };
    assert!(email.is_ascii() && email.lines().all(|line| line.len() <= 998));
    let (header, body) = header_and_body(email);
    let value = |name: &str| decoded_words(&header.iter().find(|(key, _)| key == name).unwrap().1);
    let rendered = render(&message, NOW);
    assert_eq!(value("Subject"), rendered.subject);
    assert_eq!(
        value("To").replace(['"', ' '], ""),
        "김민지<minji@example.org>"
    );
    assert_eq!(
        value("From").replace(['"', ' '], ""),
        "매표소<tickets@example.org>"
    );
    assert_eq!(value("Auto-Submitted"), "auto-generated");
    assert!(
        value("Message-ID").ends_with("@example.org>"),
        "{}",
        value("Message-ID")
    );
    assert!(value("Date").ends_with("+0000"), "{}", value("Date"));
    let content_type = value("Content-Type");
    assert!(content_type.starts_with("multipart/alternative;"));
    assert_eq!(
        parts(&content_type, body),
        [
            ("text/plain; charset=utf-8".to_owned(), rendered.text),
            ("text/html; charset=utf-8".to_owned(), rendered.html),
        ]
    );
}

#[tokio::test]
async fn one_connection_carries_one_message_after_the_other() {
    let server = FakeMailServer::start(&[]).await;
    let mailer = mailer(&server, PATIENT);
    assert_eq!(mailer.reach().await, Ok(()));
    for _ in 0..3 {
        assert_eq!(send(&mailer).await, Attempt::Accepted);
    }
    let heard = server.heard();
    assert_eq!((heard.connections, heard.messages.len()), (1, 3));
    let id = |email: &String| {
        header_and_body(email)
            .0
            .into_iter()
            .find(|(name, _)| name == "Message-ID")
    };
    assert_ne!(id(&heard.messages[0]), id(&heard.messages[1]));
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_replaced() {
    for act in [
        Act::ReplyAndDrop("250 taken"),
        Act::ReplyAndDrop("250 taken\r\n421 busy"),
    ] {
        let script: &'static [_] = Box::leak(Box::new([(".", act)]));
        let server = FakeMailServer::start(script).await;
        let mailer = mailer(&server, PATIENT);
        for _ in 0..2 {
            assert_eq!(send(&mailer).await, Attempt::Accepted, "{act:?}");
        }
        let heard = server.heard();
        assert_eq!((heard.connections, heard.messages.len()), (2, 2));
    }
}

#[tokio::test]
async fn an_attempt_says_whether_the_fan_may_have_been_told() {
    use Attempt::{Hopeless, NotSent, Unclear};
    let cases: &'static [(&'static str, Act, Attempt)] = &[
        ("connect", Act::Reply("421 too many connections"), NotSent),
        ("connect", Act::Reply("554 not you"), NotSent),
        ("connect", Act::Drop, NotSent),
        ("EHLO", Act::Reply("550 who are you"), NotSent),
        ("MAIL", Act::Reply("550 not from you"), NotSent),
        ("MAIL", Act::Reply("451 later"), NotSent),
        ("MAIL", Act::Drop, NotSent),
        ("RCPT", Act::Reply("421 closing"), NotSent),
        ("RCPT", Act::Reply("451 greylisted"), NotSent),
        ("RCPT", Act::Reply("550 no such fan"), Hopeless),
        ("RCPT", Act::Drop, NotSent),
        ("RCPT", Act::Reply("nonsense"), NotSent),
        ("DATA", Act::Reply("451 later"), NotSent),
        ("DATA", Act::Reply("554 no"), Hopeless),
        ("DATA", Act::Reply("250 not what was asked"), NotSent),
        ("DATA", Act::Drop, NotSent),
        (".", Act::Reply("451 disk full"), NotSent),
        (".", Act::Reply("554 spam"), Hopeless),
        (".", Act::Drop, Unclear),
        (".", Act::Reply("nonsense"), Unclear),
        (".", Act::Reply("354 not what was asked"), Unclear),
    ];
    for (at, act, attempt) in cases {
        let script: &'static [_] = Box::leak(Box::new([(*at, *act)]));
        let server = FakeMailServer::start(script).await;
        let mailer = mailer(&server, PATIENT);
        assert_eq!(send(&mailer).await, *attempt, "{at} {act:?}");
        assert_eq!(
            server.heard().messages.len(),
            usize::from(*at == "."),
            "{at} {act:?}"
        );
        // A connection that went wrong is not used again.
        assert_eq!(send(&mailer).await, *attempt, "{at} {act:?}, again");
        assert_eq!(server.heard().connections, 2, "{at} {act:?}");
    }
}

#[tokio::test]
async fn nobody_listening_is_not_sent() {
    let server = FakeMailServer::start(&[]).await;
    let mailer = mailer(&server, PATIENT);
    drop(server);
    tokio::task::yield_now().await;
    assert_eq!(send(&mailer).await, Attempt::NotSent);
    let fault = mailer.reach().await.unwrap_err();
    assert!(
        fault.starts_with("reach the mail server 127.0.0.1:"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_server_that_hangs_is_left_in_time() {
    const SHORT: Duration = Duration::from_millis(100);
    // Only the limit of the step that hangs is short, so that a slow machine changes nothing.
    let cases: &'static [(&'static str, TimeLimits, Attempt)] = &[
        (
            "connect",
            TimeLimits {
                connect: SHORT,
                ..PATIENT
            },
            Attempt::NotSent,
        ),
        (
            "MAIL",
            TimeLimits {
                command: SHORT,
                ..PATIENT
            },
            Attempt::NotSent,
        ),
        (
            "RCPT",
            TimeLimits {
                command: SHORT,
                ..PATIENT
            },
            Attempt::NotSent,
        ),
        (
            "DATA",
            TimeLimits {
                command: SHORT,
                ..PATIENT
            },
            Attempt::NotSent,
        ),
        (
            ".",
            TimeLimits {
                content: SHORT,
                ..PATIENT
            },
            Attempt::Unclear,
        ),
    ];
    for (at, limits, attempt) in cases {
        let script: &'static [_] = Box::leak(Box::new([(*at, Act::Hang)]));
        let server = FakeMailServer::start(script).await;
        let mailer = mailer(&server, *limits);
        let begun = Instant::now();
        assert_eq!(send(&mailer).await, *attempt, "{at}");
        assert!(begun.elapsed() < PATIENT.command, "{at}");
        assert_eq!(mailer.reach().await.is_err(), *at == "connect");
    }
}

#[tokio::test]
async fn an_attempt_that_is_given_up_half_way_leaves_no_reply_for_the_next() {
    let server = FakeMailServer::start(&[(".", Act::Hang)]).await;
    let mailer = mailer(&server, PATIENT);
    let content_sent = async {
        while server.heard().messages.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        attempt = send(&mailer) => panic!("{attempt:?} without a reply"),
        () = content_sent => {}
    }
    assert!(matches!(&mailer, Mailer::Smtp(smtp) if smtp.take_idle().is_none()));
}

#[tokio::test]
async fn an_address_that_is_none_is_hopeless_and_never_shown_to_the_server() {
    let server = FakeMailServer::start(&[]).await;
    let mailer = mailer(&server, PATIENT);
    for address in [
        "",
        "minji",
        "@",
        "a@b@",
        "a b@example.org",
        "a@example.org>\r\nRCPT TO:<b@example.org",
        "\"a\r\nDATA\"@example.org",
    ] {
        let message = Message {
            to_email: address.to_owned(),
            ..message(Reason::YourTurn, Locale::En)
        };
        assert_eq!(
            mailer.send(&message, NOW).await,
            Attempt::Hopeless,
            "{address:?}"
        );
    }
    assert_eq!(server.heard().commands, [""; 0]);
    let message = Message {
        to_email: "민지@example.org".to_owned(),
        ..message(Reason::YourTurn, Locale::Ko)
    };
    assert_eq!(
        mailer.send(&message, NOW).await,
        Attempt::Hopeless,
        "the fake takes only ASCII"
    );
}

#[tokio::test]
async fn a_login_is_used_and_a_wrong_one_is_not_the_fans_fault() {
    let cases: &'static [(Act, Attempt)] = &[
        (Act::Reply("235 come in"), Attempt::Accepted),
        (Act::Reply("535 wrong"), Attempt::NotSent),
    ];
    for (act, attempt) in cases {
        let script: &'static [_] = Box::leak(Box::new([("AUTH", *act)]));
        let server = FakeMailServer::start(script).await;
        let url = format!("smtp://ana:p%40ss%2Fw%C3%B6rd@{}", server.address);
        let mailer = Mailer::from_url_within(Some(&url), "tickets@example.org", PATIENT).unwrap();
        assert_eq!(mailer.reach().await.is_ok(), *attempt == Attempt::Accepted);
        assert_eq!(send(&mailer).await, *attempt);
        let login = format!("AUTH PLAIN {}", STANDARD.encode("\0ana\0p@ss/wörd"));
        assert_eq!(server.heard().commands[1], login);
        assert!(!format!("{mailer:?}").contains("ss"), "{mailer:?}");
    }
}

#[tokio::test]
async fn without_the_encryption_that_was_asked_for_nothing_is_sent() {
    for form in ["smtp://ana:secret@{}?tls=starttls", "smtps://ana:secret@{}"] {
        let server = FakeMailServer::start(&[("AUTH", Act::Reply("235 come in"))]).await;
        let url = form.replace("{}", &server.address.to_string());
        let mailer = Mailer::from_url_within(Some(&url), "tickets@example.org", PATIENT).unwrap();
        assert_eq!(send(&mailer).await, Attempt::NotSent, "{form}");
        let heard = server.heard();
        assert_eq!(heard.connections, 1, "{form}");
        let said = |verb: &str| heard.commands.iter().any(|line| line.starts_with(verb));
        assert_eq!(said("EHLO"), form.starts_with("smtp:"), "{form}");
        assert!(!said("AUTH") && !said("MAIL"), "{form}");
    }
}

#[tokio::test]
async fn without_a_mail_server_the_log_takes_all() {
    for url in [None, Some("")] {
        let mailer = Mailer::from_url(url, "").unwrap();
        assert_eq!(mailer.channel(), Channel::Log);
        assert_eq!(send(&mailer).await, Attempt::Accepted);
        assert_eq!(mailer.reach().await, Ok(()));
        assert_eq!(mailer.unsafe_setting(), None);
    }
}

// Configuration.

#[tokio::test]
async fn a_wrong_url_is_named_with_its_remedy_and_without_its_password() {
    let cases = [
        ("mail.example.org", "is no URL"),
        ("smtp://", "names no host"),
        ("smtp:///", "names no host"),
        ("hunter2://mail.example.org", "begins with neither"),
        ("http://u:hunter2@mail.example.org", "begins with neither"),
        ("smtp://u:hunter2@mail.example.org:99999", "has a port"),
        ("smtp://u:hunter2@mail.example.org:0", "has port 0"),
        (
            "smtp://u:hunter2@mail.example.org/inbox",
            "has something after",
        ),
        ("smtp://u:1#hunter2@mail.example.org", "has something after"),
        ("smtp://u:1/hunter2@mail.example.org", "has something after"),
        (
            "smtp://u:1?hunter2@mail.example.org",
            "has an unknown setting",
        ),
        ("smtp://u:h?unter2@mail.example.org", "has a port"),
        (
            "smtp://u:hunter2@mail.example.org?tls=hunter2",
            "has an unknown tls",
        ),
        (
            "smtps://u:hunter2@mail.example.org?tls=none",
            "has tls, and",
        ),
        ("smtp://hunter2@mail.example.org", "has a user without"),
        ("smtp://:hunter2@mail.example.org", "has a user without"),
        (
            "smtp://u:hunter2%FF@mail.example.org",
            "has a user or password that is not",
        ),
    ];
    for (url, what) in cases {
        let fault = Mailer::from_url(Some(url), "tickets@example.org").unwrap_err();
        let shown = fault.to_string();
        assert!(
            shown.starts_with(&format!("notify.smtp_url {what}")),
            "{url}: {shown}"
        );
        assert!(
            !shown.contains("hunter2") && !shown.contains("unter2"),
            "{shown}"
        );
        assert!(!fault.mend.is_empty());
    }
    let fault = Mailer::from_url(Some("smtp://localhost:1025"), "tickets").unwrap_err();
    assert_eq!(fault.key, "notify.from");
}

#[tokio::test]
async fn a_right_url_is_taken_and_an_unsafe_one_named() {
    for (url, unsafe_setting) in [
        (
            "smtp://user:password@mail.example.org:587?tls=starttls",
            false,
        ),
        ("smtps://user:password@mail.example.org", false),
        ("smtps://mail.example.org:2465/", false),
        ("smtp://localhost:1025", false),
        ("smtp://[::1]:1025?tls=none", false),
        ("smtp://mail.example.org", true),
    ] {
        let mailer = Mailer::from_url(Some(url), "Boxoffice <tickets@example.org>").unwrap();
        assert_eq!(mailer.unsafe_setting().is_some(), unsafe_setting, "{url}");
    }
}
