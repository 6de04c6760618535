//! What notices say, in Korean and English: calm, exact, short.
//!
//! Keeps true: everything that a person typed is brought to one line of bounded length and escaped in HTML; times name
//! their zone; no sentence needs to know how a title ends, so that Korean particles are right.

use boxoffice_core::booking::Why;
use boxoffice_core::notice::Reason;
use boxoffice_core::time::SECOND_US;
use boxoffice_core::{Money, Timestamp};
use jiff::civil::Weekday;
use jiff::tz::{TimeZone, offset};

use super::{Locale, Message};

/// A notice, written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// For readers of plain text.
    pub text: String,
    /// The same as an HTML page.
    pub html: String,
    /// One sentence, for streams and push.
    pub short: String,
}

/// A notice's parts, in the order in which they are read.
struct Letter {
    subject: String,
    heading: &'static str,
    before: Vec<String>,
    seats: Vec<String>,
    after: Vec<String>,
    link: String,
}

/// Characters of a line that a person typed; the rest is cut off.
const LINE_CHARS_MAX: usize = 200;
/// A turn that lasts this long or longer is given with its day.
const SAME_DAY_S: u64 = 12 * 3_600;

/// Writes `message` as of `now`, from which the time that is left is counted.
#[must_use]
pub fn render(message: &Message, now: Timestamp) -> Rendered {
    let letter = match message.locale {
        Locale::Ko => korean(message, now),
        Locale::En => english(message, now),
    };
    let url = one_line(&message.url);
    Rendered {
        text: text(&letter, &url),
        html: html(&letter, &url, message.locale),
        subject: letter.subject,
        short: short_text(
            message.reason,
            &message.title,
            message.locale,
            message.useful_until,
            message.why,
            now,
        ),
    }
}

/// A notice in one sentence, for streams and push. `useful_until` is used for [`Reason::YourTurn`] alone, `why` for
/// [`Reason::BookingRefused`] alone.
#[must_use]
pub fn short_text(
    reason: Reason,
    title: &str,
    locale: Locale,
    useful_until: Option<Timestamp>,
    why: Option<Why>,
    now: Timestamp,
) -> String {
    let title = one_line(title);
    let because = why.map_or(String::new(), |why| {
        format!(": {}", sentence_of(why, locale).trim_end_matches('.'))
    });
    match (locale, reason) {
        (Locale::En, Reason::YourTurn) => format!(
            "It is your turn for {title}: enter {}.",
            deadline(useful_until, locale, now)
        ),
        (Locale::En, Reason::BookingConfirmed) => format!("Your booking for {title} is confirmed."),
        (Locale::En, Reason::BookingRefused) => {
            format!("Your booking for {title} was not completed{because}.")
        }
        (Locale::En, Reason::BookingCancelled) => {
            format!("Your booking for {title} is cancelled; what you paid is on its way back.")
        }
        (Locale::Ko, Reason::YourTurn) => format!(
            "{title} 입장 차례입니다: {} 입장해 주세요.",
            deadline(useful_until, locale, now)
        ),
        (Locale::Ko, Reason::BookingConfirmed) => format!("{title} 예매가 완료되었습니다."),
        (Locale::Ko, Reason::BookingRefused) => {
            format!("{title} 예매가 완료되지 않았습니다{because}.")
        }
        (Locale::Ko, Reason::BookingCancelled) => {
            format!("{title} 예매가 취소되었으며, 결제하신 금액은 환불됩니다.")
        }
    }
}

/// A reason's name in logs.
pub(super) fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::YourTurn => "your-turn",
        Reason::BookingConfirmed => "booking-confirmed",
        Reason::BookingRefused => "booking-refused",
        Reason::BookingCancelled => "booking-cancelled",
    }
}

fn english(message: &Message, now: Timestamp) -> Letter {
    let locale = Locale::En;
    let title = one_line(&message.title);
    let show = show(&title, message.starts_at, locale);
    let seats = message.seats.iter().map(|seat| one_line(seat)).collect();
    let total = message.total.map(|total| money(total, locale));
    match message.reason {
        Reason::YourTurn => Letter {
            subject: format!("It is your turn: {title}"),
            heading: "It is your turn",
            before: vec![
                show,
                format!(
                    "Enter {}. After that your turn goes to the next fan.",
                    deadline(message.useful_until, locale, now)
                ),
            ],
            seats: vec![],
            after: vec![],
            link: format!("Enter the sale of {title}"),
        },
        Reason::BookingConfirmed => Letter {
            subject: format!("Your tickets: {title}"),
            heading: "Your booking is confirmed",
            before: vec![show],
            seats,
            after: total
                .map(|total| format!("Total: {total}"))
                .into_iter()
                .collect(),
            link: format!("See your tickets for {title}"),
        },
        Reason::BookingRefused => Letter {
            subject: format!("Booking not completed: {title}"),
            heading: "Your booking was not completed",
            before: [
                Some(show),
                message.why.map(|why| capital(sentence_of(why, locale))),
            ]
            .into_iter()
            .flatten()
            .collect(),
            seats: vec![],
            after: vec![
                way_on(message.why, locale).to_owned(),
                "If any money was taken, it is on its way back to you.".to_owned(),
            ],
            link: format!("Back to the sale of {title}"),
        },
        Reason::BookingCancelled => Letter {
            subject: format!("Booking cancelled: {title}"),
            heading: "Your booking is cancelled",
            before: vec![show, "These tickets are no longer valid:".to_owned()],
            seats,
            after: total
                .map(|total| format!("{total} is on its way back, the way you paid."))
                .into_iter()
                .collect(),
            link: format!("See {title}"),
        },
    }
}

fn korean(message: &Message, now: Timestamp) -> Letter {
    let locale = Locale::Ko;
    let title = one_line(&message.title);
    let show = show(&title, message.starts_at, locale);
    let seats = message.seats.iter().map(|seat| one_line(seat)).collect();
    let total = message.total.map(|total| money(total, locale));
    match message.reason {
        Reason::YourTurn => Letter {
            subject: format!("입장하실 차례입니다: {title}"),
            heading: "입장하실 차례입니다",
            before: vec![
                show,
                format!(
                    "{} 입장해 주세요. 시간이 지나면 순서가 다음 분께 넘어갑니다.",
                    deadline(message.useful_until, locale, now)
                ),
            ],
            seats: vec![],
            after: vec![],
            link: format!("예매 입장하기: {title}"),
        },
        Reason::BookingConfirmed => Letter {
            subject: format!("예매 완료: {title}"),
            heading: "예매가 완료되었습니다",
            before: vec![show],
            seats,
            after: total
                .map(|total| format!("합계: {total}"))
                .into_iter()
                .collect(),
            link: format!("내 티켓 보기: {title}"),
        },
        Reason::BookingRefused => Letter {
            subject: format!("예매가 완료되지 않았습니다: {title}"),
            heading: "예매가 완료되지 않았습니다",
            before: [
                Some(show),
                message.why.map(|why| sentence_of(why, locale).to_owned()),
            ]
            .into_iter()
            .flatten()
            .collect(),
            seats: vec![],
            after: vec![
                way_on(message.why, locale).to_owned(),
                "결제된 금액이 있으면 환불됩니다.".to_owned(),
            ],
            link: format!("예매로 돌아가기: {title}"),
        },
        Reason::BookingCancelled => Letter {
            subject: format!("예매 취소: {title}"),
            heading: "예매가 취소되었습니다",
            before: vec![show, "아래 티켓은 더 이상 사용할 수 없습니다.".to_owned()],
            seats,
            after: total
                .map(|total| format!("환불 금액: {total}. 결제하신 수단으로 돌려드립니다."))
                .into_iter()
                .collect(),
            link: format!("행사 보기: {title}"),
        },
    }
}

/// Why a booking was refused, as a sentence; in English without its capital.
fn sentence_of(why: Why, locale: Locale) -> &'static str {
    match (locale, why) {
        (Locale::En, Why::PaymentDeclined) => "the payment was declined.",
        (Locale::En, Why::PaymentFailed) => "the payment was not made in full and in time.",
        (Locale::En, Why::HoldExpired) => "the seats were no longer kept for you.",
        (Locale::Ko, Why::PaymentDeclined) => "결제가 승인되지 않았습니다.",
        (Locale::Ko, Why::PaymentFailed) => "결제가 제때 전액 완료되지 않았습니다.",
        (Locale::Ko, Why::HoldExpired) => "좌석 선점 시간이 지났습니다.",
    }
}

/// What a fan whose booking was refused can do. The hold stays while its time lasts.
fn way_on(why: Option<Why>, locale: Locale) -> &'static str {
    match (locale, why) {
        (Locale::En, Some(Why::HoldExpired)) => "You can choose seats again.",
        (Locale::En, Some(Why::PaymentDeclined | Why::PaymentFailed) | None) => {
            "While your seats are still kept for you, you can pay again; after that, choose seats again."
        }
        (Locale::Ko, Some(Why::HoldExpired)) => "좌석을 다시 선택하실 수 있습니다.",
        (Locale::Ko, Some(Why::PaymentDeclined | Why::PaymentFailed) | None) => {
            "좌석 선점 시간이 남아 있으면 다시 결제하실 수 있고, 지났으면 좌석을 다시 선택해 주세요."
        }
    }
}

fn show(title: &str, starts_at: Timestamp, locale: Locale) -> String {
    match day_and_time(starts_at, locale) {
        Some(starts_at) => format!("{title} · {starts_at}"),
        None => title.to_owned(),
    }
}

/// By when to enter: how long from `now`, and the time of day, which stays right however late it is read.
fn deadline(until: Option<Timestamp>, locale: Locale, now: Timestamp) -> String {
    let left_s = until.map_or(0, |until| until.since_us(now)) / SECOND_US.unsigned_abs();
    let within = duration(left_s, locale);
    let at = until.and_then(|until| match left_s {
        0..60 => None, // Without its seconds the time of day would be over by now.
        60..SAME_DAY_S => time_of_day(until, locale),
        SAME_DAY_S.. => day_and_time(until, locale),
    });
    match (left_s, at, locale) {
        (0, _, Locale::En) => "now".to_owned(),
        (0, _, Locale::Ko) => "지금".to_owned(),
        (_, Some(at), Locale::En) => format!("within {within}, by {at}"),
        (_, Some(at), Locale::Ko) => format!("{within} 안에, {at}까지"),
        (_, None, Locale::En) => format!("within {within}"),
        (_, None, Locale::Ko) => format!("{within} 안에"),
    }
}

/// A duration in its largest unit of which there are two or more, cut off, so that it never promises too much; ten minutes
/// less the seconds that a notice takes to be written are ten minutes.
fn duration(left_s: u64, locale: Locale) -> String {
    const GRACE_S: u64 = 5;
    let (count, english, korean) = match left_s + GRACE_S {
        7_200.. => ((left_s + GRACE_S) / 3_600, "hour", "시간"),
        60.. => ((left_s + GRACE_S) / 60, "minute", "분"),
        _ => (left_s, "second", "초"),
    };
    match locale {
        Locale::En if count == 1 => format!("{count} {english}"),
        Locale::En => format!("{count} {english}s"),
        Locale::Ko => format!("{count}{korean}"),
    }
}

/// An instant in the locale's zone: Korea has one and no summer time; English readers get UTC.
fn zoned(at: Timestamp, locale: Locale) -> Option<jiff::Zoned> {
    let zone = match locale {
        Locale::Ko => TimeZone::fixed(offset(9)),
        Locale::En => TimeZone::UTC,
    };
    let at = jiff::Timestamp::from_microsecond(at.0).ok()?;
    Some(at.to_zoned(zone))
}

fn time_of_day(at: Timestamp, locale: Locale) -> Option<String> {
    let at = zoned(at, locale)?;
    Some(match locale {
        Locale::Ko => format!("한국 시간 {}", at.strftime("%H:%M")),
        Locale::En => at.strftime("%H:%M UTC").to_string(),
    })
}

fn day_and_time(at: Timestamp, locale: Locale) -> Option<String> {
    let at = zoned(at, locale)?;
    let weekday = match at.weekday() {
        Weekday::Monday => "월",
        Weekday::Tuesday => "화",
        Weekday::Wednesday => "수",
        Weekday::Thursday => "목",
        Weekday::Friday => "금",
        Weekday::Saturday => "토",
        Weekday::Sunday => "일",
    };
    Some(match locale {
        Locale::Ko => format!(
            "{}({weekday}) {} (한국 시간)",
            at.strftime("%Y년 %-m월 %-d일"),
            at.strftime("%H:%M")
        ),
        Locale::En => at.strftime("%A %-d %B %Y, %H:%M UTC").to_string(),
    })
}

/// An amount as people write it: won by their sign, all others by their code.
fn money(money: Money, locale: Locale) -> String {
    let decimals = match money.currency.as_str() {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX"
        | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    };
    let unit = 10_u64.pow(decimals);
    let (whole, part) = (
        money.amount_minor.unsigned_abs() / unit,
        money.amount_minor.unsigned_abs() % unit,
    );
    let mut amount = whole.to_string();
    // Behind each third digit from the right; what stands before a comma is not moved by those further right.
    for at in (1..amount.len())
        .rev()
        .filter(|at| (amount.len() - at).is_multiple_of(3))
        .collect::<Vec<_>>()
    {
        amount.insert(at, ',');
    }
    if decimals > 0 {
        amount.push_str(&format!(".{part:0width$}", width = decimals as usize));
    }
    let sign = if money.amount_minor < 0 { "-" } else { "" };
    match (money.currency.as_str(), locale) {
        ("KRW", Locale::Ko) => format!("{sign}{amount}원"),
        ("KRW", Locale::En) => format!("{sign}₩{amount}"),
        (code, Locale::Ko | Locale::En) => format!("{code} {sign}{amount}"),
    }
}

/// What a person typed as one line: no control characters, nothing that turns the direction of what follows, bounded.
pub(super) fn one_line(typed: &str) -> String {
    let visible: String = typed
        .chars()
        .filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LINE_CHARS_MAX)
        .collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn capital(sentence: &str) -> String {
    let (first, rest) = sentence.split_at(1);
    format!("{}{rest}", first.to_ascii_uppercase())
}

fn text(letter: &Letter, url: &str) -> String {
    let mut parts = vec![letter.heading.to_owned()];
    parts.extend(letter.before.iter().cloned());
    if !letter.seats.is_empty() {
        let seats: Vec<String> = letter
            .seats
            .iter()
            .map(|seat| format!("- {seat}"))
            .collect();
        parts.push(seats.join("\n"));
    }
    parts.extend(letter.after.iter().cloned());
    parts.push(format!("{}:\n{url}", letter.link));
    parts.join("\n\n") + "\n"
}

/// A page without colours of its own but the link's, so that it reads as well in the dark.
fn html(letter: &Letter, url: &str, locale: Locale) -> String {
    let paragraphs = |lines: &[String]| -> String {
        lines
            .iter()
            .map(|line| format!("<p style=\"margin:0 0 16px\">{}</p>\n", escaped(line)))
            .collect()
    };
    let seats: String = letter
        .seats
        .iter()
        .map(|seat| format!("<li>{}</li>\n", escaped(seat)))
        .collect();
    let seats = if seats.is_empty() {
        seats
    } else {
        format!("<ul style=\"margin:0 0 16px;padding-left:20px\">\n{seats}</ul>\n")
    };
    format!(
        "<!doctype html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{subject}</title>\n</head>\n\
         <body style=\"margin:0;padding:24px;font:16px/1.5 system-ui,sans-serif;word-break:keep-all;overflow-wrap:anywhere\">\n\
         <div lang=\"{lang}\" style=\"max-width:36em;margin:0 auto\">\n\
         <h1 style=\"margin:0 0 16px;font-size:22px;line-height:1.3\">{heading}</h1>\n\
         {before}{seats}{after}\
         <p style=\"margin:24px 0 0\"><a href=\"{url}\" style=\"display:inline-block;padding:12px 20px;\
         border-radius:6px;background:#1d4ed8;color:#ffffff;text-decoration:none\">{link}</a></p>\n\
         </div>\n</body>\n</html>\n",
        lang = locale.tag(),
        subject = escaped(&letter.subject),
        heading = escaped(letter.heading),
        before = paragraphs(&letter.before),
        after = paragraphs(&letter.after),
        url = escaped(url),
        link = escaped(&letter.link),
    )
}

fn escaped(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut html, c| {
            match c {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#39;"),
                _ => html.push(c),
            }
            html
        })
}

#[cfg(test)]
mod tests {
    use boxoffice_core::Currency;

    use super::*;

    #[test]
    fn money_has_the_decimals_of_its_currency() {
        let cases = [
            (132_000, "KRW", "₩132,000", "132,000원"),
            (0, "KRW", "₩0", "0원"),
            (999, "KRW", "₩999", "999원"),
            (1_000_000_000, "KRW", "₩1,000,000,000", "1,000,000,000원"),
            (-1_500, "KRW", "-₩1,500", "-1,500원"),
            (1_200, "JPY", "JPY 1,200", "JPY 1,200"),
            (123_405, "USD", "USD 1,234.05", "USD 1,234.05"),
            (7, "EUR", "EUR 0.07", "EUR 0.07"),
            (1_234_567, "KWD", "KWD 1,234.567", "KWD 1,234.567"),
        ];
        for (amount_minor, code, english, korean) in cases {
            let currency: Currency = code.parse().unwrap();
            let amount = Money {
                amount_minor,
                currency,
            };
            assert_eq!(money(amount, Locale::En), english);
            assert_eq!(money(amount, Locale::Ko), korean);
        }
    }

    #[test]
    fn time_left_is_never_promised_too_long_and_needs_no_zone() {
        let now = Timestamp(1_773_484_800 * SECOND_US); // 2026-03-14T10:40:00Z, a Saturday
        let cases = [
            (
                600,
                "within 10 minutes, by 10:50 UTC",
                "10분 안에, 한국 시간 19:50까지",
            ),
            (
                597,
                "within 10 minutes, by 10:49 UTC",
                "10분 안에, 한국 시간 19:49까지",
            ),
            (
                590,
                "within 9 minutes, by 10:49 UTC",
                "9분 안에, 한국 시간 19:49까지",
            ),
            (
                60,
                "within 1 minute, by 10:41 UTC",
                "1분 안에, 한국 시간 19:41까지",
            ),
            (45, "within 45 seconds", "45초 안에"),
            (
                7_200,
                "within 2 hours, by 12:40 UTC",
                "2시간 안에, 한국 시간 21:40까지",
            ),
            (
                86_400,
                "within 24 hours, by Sunday 15 March 2026, 10:40 UTC",
                "24시간 안에, 2026년 3월 15일(일) 19:40 (한국 시간)까지",
            ),
            (0, "now", "지금"),
        ];
        for (left_s, english, korean) in cases {
            let until = Some(now.plus_s(left_s));
            assert_eq!(deadline(until, Locale::En, now), english);
            assert_eq!(deadline(until, Locale::Ko, now), korean);
        }
        for until in [None, Some(Timestamp(0))] {
            assert_eq!(deadline(until, Locale::En, now), "now", "{until:?}");
        }
        let never = deadline(Some(Timestamp::MAX), Locale::En, now);
        assert!(
            never.starts_with("within ") && !never.contains("by"),
            "{never}"
        );
    }

    #[test]
    fn what_a_person_typed_becomes_one_bounded_line() {
        assert_eq!(one_line(" a\r\nBcc: b\u{2028}\t c\0 "), "a Bcc: b c");
        assert_eq!(one_line("safe \u{202e}gpj.exe\u{2066}"), "safe gpj.exe");
        assert_eq!(one_line("봄날의 콘서트 👩‍👩‍👧"), "봄날의 콘서트 👩‍👩‍👧");
        assert_eq!(one_line(&"x".repeat(9_999)).len(), LINE_CHARS_MAX);
    }
}
