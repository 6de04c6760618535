//! A fake mail server: it speaks just enough SMTP to take messages, keeps them, and has moods. It delivers nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{free_port, let_pass, until};

/// How the fake answers from now on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Takes every message.
    Takes,
    /// Answers every recipient with this.
    Refuses(&'static str),
    /// Takes the content and never says so.
    HangsAfterContent,
}

/// An e-mail as its reader sees it.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) language: String,
    /// The plain text.
    pub(crate) text: String,
    /// The page.
    pub(crate) html: String,
}

struct State {
    mood: Mood,
    mails: Vec<Mail>,
    /// Recipients that were named, whatever came of it.
    attempts: usize,
}

/// The fake; its threads live as long as the test's process.
pub(crate) struct FakeMailServer {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

impl FakeMailServer {
    pub(crate) fn start(mood: Mood) -> Self {
        Self::start_on(free_port(), mood)
    }

    /// Starts on a port where nobody listens yet.
    pub(crate) fn start_on(port: u16, mood: Mood) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let state = Arc::new(Mutex::new(State {
            mood,
            mails: Vec::new(),
            attempts: 0,
        }));
        let kept = Arc::clone(&state);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&kept);
                // A client that goes away in the middle is no concern of the fake.
                std::thread::spawn(move || drop(converse(socket, &state)));
            }
        });
        Self { port, state }
    }

    /// The value of `notify.smtp_url` that leads to this port.
    pub(crate) fn url(port: u16) -> String {
        format!("smtp://127.0.0.1:{port}")
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.state.lock().expect("no holder panics").mood = mood;
    }

    pub(crate) fn attempts(&self) -> usize {
        self.state.lock().expect("no holder panics").attempts
    }

    /// Everything whose content was here, in order.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.state.lock().expect("no holder panics").mails.clone()
    }

    /// What came for this address.
    pub(crate) fn mails_to(&self, email: &str) -> Vec<Mail> {
        let mut mails = self.mails();
        mails.retain(|mail| mail.to == email);
        mails
    }

    /// Waits until so many have come.
    #[track_caller]
    pub(crate) fn until_mails(&self, count: usize, within: Duration) -> Vec<Mail> {
        until(&format!("{count} mails"), within, || {
            Some(self.mails()).filter(|mails| mails.len() >= count)
        })
    }

    /// Waits until so many have come, then a while longer: there must be no more.
    #[track_caller]
    pub(crate) fn exactly(&self, count: usize, within: Duration) -> Vec<Mail> {
        self.until_mails(count, within);
        let_pass(Duration::from_secs(2));
        let mails = self.mails();
        assert_eq!(mails.len(), count, "{mails:?}");
        mails
    }
}

fn converse(socket: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(socket.try_clone()?).lines();
    let mut socket = socket;
    let mut to = String::new();
    socket.write_all(b"220 fake\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let mood = state.lock().expect("no holder panics").mood;
        let (verb, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
        let reply = match (verb, mood) {
            ("RCPT", mood) => {
                state.lock().expect("no holder panics").attempts += 1;
                to = rest
                    .trim_start_matches("TO:<")
                    .trim_end_matches('>')
                    .to_owned();
                match mood {
                    Mood::Refuses(reply) => reply,
                    Mood::Takes | Mood::HangsAfterContent => "250 fine",
                }
            }
            ("DATA", _) => {
                socket.write_all(b"354 go on\r\n")?;
                let mut content = String::new();
                while let Some(line) = lines.next().transpose()?.filter(|line| line != ".") {
                    content.push_str(line.strip_prefix('.').unwrap_or(&line));
                    content.push_str("\r\n");
                }
                let mail = read(&to, &content);
                state.lock().expect("no holder panics").mails.push(mail);
                if mood == Mood::HangsAfterContent {
                    // Says nothing more until the client goes away.
                    return lines.next().transpose().map(drop);
                }
                "250 taken"
            }
            _ => "250 fine",
        };
        socket.write_all(format!("{reply}\r\n").as_bytes())?;
    }
    Ok(())
}

/// Takes an e-mail apart: a head, then a plain part and a page.
fn read(to: &str, content: &str) -> Mail {
    let (head, body) = parts(content);
    let boundary = header(&head, "content-type")
        .split("boundary=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .map(|boundary| format!("--{boundary}"));
    let boundary = boundary.unwrap_or_else(|| panic!("no parts: {head}"));
    let part = |kind: &str| {
        body.split(&boundary)
            .map(|part| parts(part.trim_start()))
            .find(|(head, _)| header(head, "content-type").starts_with(kind))
            .map(|(head, body)| {
                decoded(&body, &header(&head, "content-transfer-encoding")).replace("\r\n", "\n")
            })
            .unwrap_or_else(|| panic!("no {kind} in {content}"))
    };
    Mail {
        to: to.to_owned(),
        subject: words(&header(&head, "subject")),
        language: header(&head, "content-language"),
        text: part("text/plain"),
        html: part("text/html"),
    }
}

/// Head and body; folded lines of the head are one again.
fn parts(content: &str) -> (String, String) {
    let (head, body) = content.split_once("\r\n\r\n").unwrap_or((content, ""));
    (head.replace("\r\n ", " "), body.to_owned())
}

fn header(head: &str, name: &str) -> String {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

fn decoded(body: &str, encoding: &str) -> String {
    let bytes = match encoding {
        "base64" => base64(body),
        "quoted-printable" => quoted_printable(body),
        "7bit" | "8bit" => body.as_bytes().to_vec(),
        other => panic!("an encoding that the fake does not read: {other:?}"),
    };
    String::from_utf8(bytes).expect("UTF-8")
}

/// A header's text, of which some words may be encoded (RFC 2047, as base64); the space between two of those is none.
fn words(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text.replace("?= =?", "?==?"));
    while let Some((before, encoded)) = rest.split_once("=?utf-8?b?") {
        let (encoded, after) = encoded.split_once("?=").expect("an end of the word");
        plain.push_str(before);
        plain.push_str(&String::from_utf8(base64(encoded)).expect("UTF-8"));
        rest = after.to_owned();
    }
    plain + &rest
}

fn quoted_printable(text: &str) -> Vec<u8> {
    let joined = text.replace("=\r\n", "");
    let mut bytes = Vec::with_capacity(joined.len());
    let mut rest = joined.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'=' {
            let digits: Vec<u8> = rest.by_ref().take(2).collect();
            let digits = std::str::from_utf8(&digits).expect("two digits");
            bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        } else {
            bytes.push(byte);
        }
    }
    bytes
}

fn base64(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    STANDARD.decode(digits).expect("base64")
}
