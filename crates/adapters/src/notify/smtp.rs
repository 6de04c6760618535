//! E-mail over SMTP, on connections that are kept for the next message.
//!
//! lettre's own transport is not used: it gives up waiting only while connecting, it does not say whether the content was
//! sent when the connection is lost, and it puts a connection back whose reply nobody waited for. Its connection is.
//!
//! Keeps true: an attempt is [`Attempt::Unclear`] if, and only if, the content was sent and no reply to it was understood;
//! a connection is kept only when its last message was accepted; nothing is sent in the clear where TLS was asked for.

use std::fmt;
use std::time::{Duration, Instant};

use boxoffice_core::notice::Attempt;
use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Message;
use super::settings::{ConfigFault, Encryption, Server, certificates_fault};
use super::text::{Rendered, name, one_line};

/// Connections at once; those who want one more wait.
pub const CONNECTIONS_MAX: usize = 16;
/// A connection that was idle for longer is not used again: most servers wait for minutes, busy ones for less.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Characters of a fan's name in the `To` line.
const NAME_CHARS_MAX: usize = 60;

/// How long a mail server may take.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// To be found, connected to, encrypted and logged in at, all in all.
    pub connect: Duration,
    /// To answer a command.
    pub command: Duration,
    /// To take the content and answer it; the fan may be told twice if it is too short.
    pub content: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            command: Duration::from_secs(10),
            content: Duration::from_secs(60),
        }
    }
}

/// A mail server.
pub struct Smtp {
    host: String,
    port: u16,
    encryption: Encryption,
    credentials: Option<Credentials>,
    /// Present unless `encryption` is none.
    tls: Option<TlsParameters>,
    hello: ClientId,
    sender: Mailbox,
    limits: TimeLimits,
    permits: Semaphore,
    /// Most recently used last.
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("encryption", &self.encryption)
            .finish_non_exhaustive()
    }
}

/// How far an attempt came.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Stage {
    Connect,
    Sender,
    Recipient,
    Data,
    Content,
}

/// What ended an attempt there.
#[derive(Debug)]
enum Cause {
    /// The server said no, with this code.
    Reply(u16),
    TimedOut,
    /// No connection, no reply or an unreadable one; while connecting, a no of the server too.
    Lost(Error),
    /// The server takes only ASCII addresses.
    AsciiOnly,
    /// A reply that does not belong here.
    OutOfTurn,
}

struct Fault {
    stage: Stage,
    cause: Cause,
}

impl Fault {
    /// Hopeless is what the server refuses for good about this fan or this message; what it refuses about us (log-in,
    /// sender) can be mended by the operator, so it is tried again.
    fn attempt(&self) -> Attempt {
        match (self.stage, &self.cause) {
            (Stage::Connect | Stage::Sender, _) => Attempt::NotSent,
            (Stage::Recipient | Stage::Data | Stage::Content, Cause::Reply(500..))
            | (Stage::Recipient, Cause::AsciiOnly) => Attempt::Hopeless,
            (Stage::Recipient | Stage::Data, _) | (Stage::Content, Cause::Reply(_)) => {
                Attempt::NotSent
            }
            (
                Stage::Content,
                Cause::TimedOut | Cause::Lost(_) | Cause::AsciiOnly | Cause::OutOfTurn,
            ) => Attempt::Unclear,
        }
    }

    /// An idle connection that the server has closed meanwhile looks like this; a new one may do better.
    fn stale(&self) -> bool {
        self.stage == Stage::Sender && matches!(self.cause, Cause::Reply(421) | Cause::Lost(_))
    }
}

impl fmt::Display for Fault {
    /// Without the server's words once a recipient was named: they often repeat the address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Connect => "connecting",
            Stage::Sender => "naming the sender",
            Stage::Recipient => "naming the recipient",
            Stage::Data => "announcing the content",
            Stage::Content => "sending the content",
        };
        match &self.cause {
            Cause::Reply(code) => write!(f, "{stage}: the server answered {code}"),
            Cause::TimedOut => write!(f, "{stage}: the server took too long"),
            Cause::Lost(error) if self.stage == Stage::Connect => write!(f, "{stage}: {error}"),
            Cause::Lost(_) => write!(f, "{stage}: the connection was lost"),
            Cause::AsciiOnly => write!(f, "{stage}: the server takes only ASCII addresses"),
            Cause::OutOfTurn => write!(f, "{stage}: the server's answer makes no sense"),
        }
    }
}

/// Waits for a step of the conversation, at most for `limit`.
async fn step<T>(
    stage: Stage,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Fault> {
    let cause = match timeout(limit, work).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => match error.status() {
            Some(code) if stage != Stage::Connect => Cause::Reply(code.into()),
            // While connecting the server's words are worth keeping: they are about us, not about a fan.
            Some(_) | None => Cause::Lost(error),
        },
        Err(_) => Cause::TimedOut,
    };
    Err(Fault { stage, cause })
}

fn expect_code(stage: Stage, response: &Response, first_digit: u16) -> Result<(), Fault> {
    if u16::from(response.code()) / 100 == first_digit {
        Ok(())
    } else {
        Err(Fault {
            stage,
            cause: Cause::OutOfTurn,
        })
    }
}

impl Smtp {
    pub(super) fn new(
        server: Server,
        sender: Mailbox,
        limits: TimeLimits,
    ) -> Result<Self, ConfigFault> {
        let tls = match server.encryption {
            Encryption::None => None,
            Encryption::StartTls | Encryption::Tls => {
                Some(TlsParameters::new(server.host.clone()).map_err(|_| certificates_fault())?)
            }
        };
        Ok(Self {
            host: server.host,
            port: server.port,
            encryption: server.encryption,
            credentials: server.credentials,
            tls,
            hello: ClientId::default(),
            sender,
            limits,
            permits: Semaphore::new(CONNECTIONS_MAX),
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Sends a message, once. A connection that turns out to be closed is replaced by a new one, before anything was sent.
    pub(super) async fn send(&self, message: &Message, rendered: &Rendered) -> Attempt {
        let Some((recipient, content)) = self.compose(message, rendered) else {
            tracing::warn!(
                reason = name(message.reason),
                "failed to send a notice: the address or content makes no e-mail"
            );
            return Attempt::Hopeless;
        };
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        match self.transmit(&recipient, &content).await {
            Ok(()) => Attempt::Accepted,
            Err(fault) => {
                let attempt = fault.attempt();
                tracing::warn!(
                    reason = name(message.reason),
                    host = self.host,
                    attempt = ?attempt,
                    "failed to send a notice: {fault}"
                );
                attempt
            }
        }
    }

    pub(super) async fn reach(&self) -> Result<(), String> {
        let connection = self.open().await.map_err(|fault| {
            format!(
                "reach the mail server {}:{} of notify.smtp_url: {fault}",
                self.host, self.port
            )
        })?;
        self.keep(connection);
        Ok(())
    }

    /// Whether mail crosses a network unencrypted.
    pub(super) fn in_the_clear(&self) -> bool {
        let loopback = self.host == "localhost"
            || self
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        self.encryption == Encryption::None && !loopback
    }

    async fn transmit(&self, recipient: &Address, content: &[u8]) -> Result<(), Fault> {
        if let Some(connection) = self.take_idle() {
            match self.converse(connection, recipient, content).await {
                Err(fault) if fault.stale() => {}
                done => return done,
            }
        }
        self.converse(self.open().await?, recipient, content).await
    }

    /// Sends one message over `connection`, and keeps it for the next if all went well; else it is closed. So it is when
    /// nobody waits for the end of this future.
    async fn converse(
        &self,
        mut connection: AsyncSmtpConnection,
        recipient: &Address,
        content: &[u8],
    ) -> Result<(), Fault> {
        let command = self.limits.command;
        let mut parameters = vec![];
        if !(is_ascii(recipient) && is_ascii(&self.sender.email)) {
            if !connection
                .server_info()
                .supports_feature(Extension::SmtpUtfEight)
            {
                return Err(Fault {
                    stage: Stage::Recipient,
                    cause: Cause::AsciiOnly,
                });
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let mail = Mail::new(Some(self.sender.email.clone()), parameters);
        step(Stage::Sender, command, connection.command(mail)).await?;
        let rcpt = Rcpt::new(recipient.clone(), vec![]);
        step(Stage::Recipient, command, connection.command(rcpt)).await?;
        let go_on = step(Stage::Data, command, connection.command(Data)).await?;
        expect_code(Stage::Data, &go_on, 3)?;
        let limit = self.limits.content;
        let taken = step(Stage::Content, limit, connection.message(content)).await?;
        expect_code(Stage::Content, &taken, 2)?;
        self.keep(connection);
        Ok(())
    }

    async fn open(&self) -> Result<AsyncSmtpConnection, Fault> {
        let work = async {
            let wrapped = match self.encryption {
                Encryption::Tls => self.tls.clone(),
                Encryption::None | Encryption::StartTls => None,
            };
            let server = (self.host.as_str(), self.port);
            // Each of the host's addresses gets a share of the time, or an address that swallows packets would take it all.
            let share = Some(self.limits.connect / 3);
            let mut connection =
                AsyncSmtpConnection::connect_tokio1(server, share, &self.hello, wrapped, None)
                    .await?;
            if let (Encryption::StartTls, Some(tls)) = (self.encryption, &self.tls) {
                // Fails when the server does not offer it.
                connection.starttls(tls.clone(), &self.hello).await?;
            }
            if let Some(credentials) = &self.credentials {
                connection.auth(DEFAULT_MECHANISMS, credentials).await?;
            }
            Ok(connection)
        };
        step(Stage::Connect, self.limits.connect, work).await
    }

    pub(super) fn take_idle(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock();
        let (connection, since) = idle.pop()?;
        if since.elapsed() < IDLE_MAX {
            Some(connection)
        } else {
            idle.clear(); // The others were idle for even longer.
            None
        }
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock();
        if idle.len() < CONNECTIONS_MAX {
            idle.push((connection, Instant::now()));
        }
    }

    /// The recipient and the whole e-mail; none when the address is no address: a line break or bracket makes it none.
    pub(super) fn compose(
        &self,
        message: &Message,
        rendered: &Rendered,
    ) -> Option<(Address, Vec<u8>)> {
        let recipient: Address = message.to_email.parse().ok()?;
        let fan = one_line(&message.to_name);
        let fan: String = fan.chars().take(NAME_CHARS_MAX).collect();
        let to = Mailbox::new(Some(fan).filter(|fan| !fan.is_empty()), recipient.clone());
        let id = uuid::Uuid::now_v7();
        let email = lettre::Message::builder()
            .from(self.sender.clone())
            .to(to)
            .subject(rendered.subject.clone())
            .message_id(Some(format!("<{id}@{}>", self.sender.email.domain())))
            .date_now()
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("Content-Language", message.locale.tag()))
            .multipart(MultiPart::alternative_plain_html(
                rendered.text.clone(),
                rendered.html.clone(),
            ))
            .ok()?;
        Some((recipient, email.formatted()))
    }
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn is_ascii(address: &Address) -> bool {
    address.user().is_ascii() && address.domain().is_ascii()
}
