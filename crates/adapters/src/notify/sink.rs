//! A fake mail server for tests: it speaks just enough SMTP to take messages and keeps what it was told, and misbehaves at
//! a chosen point of the conversation. It never delivers anything.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the fake does instead of the usual reply.
#[derive(Copy, Clone, Debug)]
pub(super) enum Act {
    /// Answers this line.
    Reply(&'static str),
    /// Answers this line and closes the connection.
    ReplyAndDrop(&'static str),
    /// Closes the connection.
    Drop,
    /// Says nothing any more.
    Hang,
}

/// What the fake was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Connections that were made to it.
    pub(super) connections: usize,
    /// Every command line.
    pub(super) commands: Vec<String>,
    /// The content of every message that was sent to its end, with the dots unstuffed.
    pub(super) messages: Vec<String>,
}

pub(super) struct FakeMailServer {
    pub(super) address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

impl Drop for FakeMailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeMailServer {
    /// Listens on a free port of the loopback address. `script` names where it misbehaves: `connect`, `EHLO`, `AUTH`, `MAIL`, `RCPT`, `DATA`
    /// or `.` (the end of the content). A script with `AUTH` makes it offer to log in.
    pub(super) async fn start(script: &'static [(&'static str, Act)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let task = tokio::spawn({
            let heard = Arc::clone(&heard);
            async move {
                let mut conversations = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    heard.lock().connections += 1;
                    conversations.spawn(converse(stream, script, Arc::clone(&heard)));
                }
            }
        });
        Self {
            address,
            heard,
            task,
        }
    }

    pub(super) fn heard(&self) -> Heard {
        self.heard.lock().clone()
    }
}

/// Answers as the script says, else with `usual`; none when the conversation is over.
async fn answer(
    stream: &mut BufReader<TcpStream>,
    script: &[(&str, Act)],
    at: &str,
    usual: &str,
) -> Option<()> {
    let act = script
        .iter()
        .find(|(when, _)| *when == at)
        .map_or(Act::Reply(""), |(_, act)| *act);
    let reply = match act {
        Act::Reply("") => usual,
        Act::Reply(reply) | Act::ReplyAndDrop(reply) => reply,
        Act::Drop => return None,
        Act::Hang => std::future::pending().await,
    };
    stream
        .write_all(format!("{reply}\r\n").as_bytes())
        .await
        .ok()?;
    match act {
        Act::Reply(_) => Some(()),
        Act::ReplyAndDrop(_) | Act::Drop | Act::Hang => None,
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let length = stream.read_line(&mut line).await.ok()?;
    (length > 0).then(|| line.trim_end_matches("\r\n").to_owned())
}

async fn converse(
    stream: TcpStream,
    script: &'static [(&'static str, Act)],
    heard: Arc<Mutex<Heard>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    answer(&mut stream, script, "connect", "220 fake ESMTP").await?;
    let offers_login = script.iter().any(|(when, _)| *when == "AUTH");
    let features = if offers_login {
        "250-fake\r\n250 AUTH PLAIN"
    } else {
        "250 fake"
    };
    loop {
        let command = line(&mut stream).await?;
        let verb = command.split(' ').next().unwrap_or_default().to_owned();
        heard.lock().commands.push(command);
        match verb.as_str() {
            "EHLO" => answer(&mut stream, script, "EHLO", features).await?,
            "AUTH" => answer(&mut stream, script, "AUTH", "235 come in").await?,
            "DATA" => {
                answer(&mut stream, script, "DATA", "354 go on").await?;
                let mut content = String::new();
                loop {
                    let line = line(&mut stream).await?;
                    if line == "." {
                        break;
                    }
                    content.push_str(line.strip_prefix('.').unwrap_or(&line));
                    content.push_str("\r\n");
                }
                heard.lock().messages.push(content);
                answer(&mut stream, script, ".", "250 taken").await?;
            }
            verb => answer(&mut stream, script, verb, "250 fine").await?,
        }
    }
}
