//! A small blocking HTTP/1.1 client: one connection a request, nothing hidden.
//!
//! It exists because the suite must send what a well-behaved client cannot (half a head, a length without a body)
//! and must read event streams frame by frame. Every read is bounded by [`READ_MAX`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest an answer may take to arrive.
pub(crate) const READ_MAX: Duration = Duration::from_secs(30);

/// A request before it is sent.
#[derive(Clone)]
pub(crate) struct Call {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Call {
    /// A request to `path`, which begins with `/` and is sent as it is.
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn pass(self, pass: &str) -> Self {
        self.header("Boxoffice-Pass", pass)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.bytes(body.to_string().into_bytes())
    }

    /// A body that claims to be JSON, whatever it is.
    pub(crate) fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = Some(body);
        self.header("Content-Type", "application/json")
    }

    /// The request line and the headers, with the empty line that ends them.
    pub(crate) fn head(&self, address: &str) -> String {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {address}\r\n",
            self.method, self.path
        );
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let wants_length = matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
        let says_length = self.headers.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("content-length")
                || name.eq_ignore_ascii_case("transfer-encoding")
        });
        if !says_length && (self.body.is_some() || wants_length) {
            head += &format!(
                "Content-Length: {}\r\n",
                self.body.as_ref().map_or(0, Vec::len)
            );
        }
        head + "\r\n"
    }

    /// Sends the request on a connection of its own and reads the whole answer.
    ///
    /// # Errors
    /// When no connection can be made or no whole answer came within [`READ_MAX`].
    pub(crate) fn send(&self, address: &str) -> io::Result<Answer> {
        let mut socket = connect(address)?;
        let head = self.clone().header("Connection", "close").head(address);
        socket.write_all(head.as_bytes())?;
        if let Some(body) = &self.body {
            // A server may refuse and close before it has read all of it; its answer is what counts.
            let _refused_early = socket.write_all(body);
        }
        read_answer(socket, self.method == "HEAD")
    }

    /// Opens an event stream. A refusal is an answer: look at [`Stream::status`].
    ///
    /// # Errors
    /// When no connection can be made or no head of an answer came within [`READ_MAX`].
    pub(crate) fn stream(&self, address: &str) -> io::Result<Stream> {
        let mut socket = connect(address)?;
        let call = self.clone().header("Accept", "text/event-stream");
        socket.write_all(call.head(address).as_bytes())?;
        let mut reader = BufReader::new(socket.try_clone()?);
        let (status, headers) = read_head(&mut reader)?;
        let chunked = is_chunked(&headers);
        socket.set_read_timeout(None)?;
        let (sender, frames) = channel();
        std::thread::spawn(move || {
            let mut body: Box<dyn BufRead> = if chunked {
                Box::new(BufReader::new(Chunks::new(reader)))
            } else {
                Box::new(reader)
            };
            while let Some(frame) = read_frame(&mut body) {
                if sender.send(frame).is_err() {
                    break;
                }
            }
        });
        Ok(Stream {
            status,
            headers,
            frames,
            socket,
        })
    }
}

/// A connection with bounded reads, for tests that write bytes of their own.
///
/// # Errors
/// When nothing listens there.
pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(READ_MAX))?;
    socket.set_write_timeout(Some(READ_MAX))?;
    Ok(socket)
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The header's value; names are compared without case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("the body is no JSON ({error}): {self}"),
        }
    }

    /// The body as JSON, after checking the status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        if self.body.is_empty() {
            Value::Null
        } else {
            self.value()
        }
    }

    /// The same where the contract leaves room.
    #[track_caller]
    pub(crate) fn expect_any(&self, statuses: &[u16]) -> Value {
        assert!(
            statuses.contains(&self.status),
            "not one of {statuses:?}: {self}"
        );
        if self.body.is_empty() {
            Value::Null
        } else {
            self.value()
        }
    }

    /// Checks everything that a problem promises (RFC 9457 and our members), then hands it back.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.any_problem(status);
        assert_eq!(problem["code"], code, "{self}");
        problem
    }

    /// A problem whose code the contract does not name.
    #[track_caller]
    pub(crate) fn any_problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        let kind = self.header("content-type").unwrap_or_default();
        assert!(
            kind.starts_with("application/problem+json"),
            "content type {kind:?} of {self}"
        );
        let problem = self.value();
        for member in ["type", "title", "detail", "code", "request_id"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "the problem has no `{member}`: {self}");
        }
        assert_eq!(problem["status"], status, "{self}");
        let code = problem["code"].as_str().unwrap_or_default();
        let kebab = code
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(kebab, "`code` is not kebab-case: {self}");
        if matches!(status, 429 | 503) {
            assert!(
                self.header("retry-after").is_some(),
                "no Retry-After: {self}"
            );
        }
        problem
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(2_000).collect();
        write!(f, "{} {:?} {text}", self.status, self.headers)
    }
}

/// One event of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) id: Option<String>,
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Frame {
    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        match serde_json::from_str(&self.data) {
            Ok(value) => value,
            Err(error) => panic!("the event's data is no JSON ({error}): {self:?}"),
        }
    }
}

/// An open event stream; dropping it closes the connection.
pub(crate) struct Stream {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    frames: Receiver<Frame>,
    socket: TcpStream,
}

impl Stream {
    /// The next event, if one comes in time.
    pub(crate) fn next(&self, within: Duration) -> Option<Frame> {
        self.frames.recv_timeout(within).ok()
    }

    /// The first event of this kind that `fits`; others are passed over. Panics when none comes in time.
    #[track_caller]
    pub(crate) fn find(
        &self,
        event: &str,
        within: Duration,
        fits: impl Fn(&Value) -> bool,
    ) -> Frame {
        let end = Instant::now() + within;
        let mut seen = Vec::new();
        while let Some(frame) = self.next(end.saturating_duration_since(Instant::now())) {
            if frame.event == event && fits(&frame.value()) {
                return frame;
            }
            seen.push(frame);
        }
        panic!(
            "no such `{event}` within {within:?}; status {}, seen: {seen:?}",
            self.status
        );
    }

    /// Every event that comes within this time.
    pub(crate) fn all(&self, within: Duration) -> Vec<Frame> {
        let end = Instant::now() + within;
        std::iter::from_fn(|| self.next(end.saturating_duration_since(Instant::now()))).collect()
    }

    /// Whether the server ends the stream in time.
    pub(crate) fn ends(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        loop {
            match self
                .frames
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(_more) => (),
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _already_closed = self.socket.shutdown(Shutdown::Both);
    }
}

/// Reads one answer to its end.
///
/// # Errors
/// When the connection ends, breaks or stalls before the answer is whole.
pub(crate) fn read_answer(socket: TcpStream, is_head: bool) -> io::Result<Answer> {
    let mut reader = BufReader::new(socket);
    let (status, headers) = read_head(&mut reader)?;
    let mut body = Vec::new();
    let length = find_header(&headers, "content-length").and_then(|text| text.parse::<u64>().ok());
    if is_head || matches!(status, 204 | 304) {
        // These have no body, whatever their headers say.
    } else if is_chunked(&headers) {
        Chunks::new(reader).read_to_end(&mut body)?;
    } else if let Some(length) = length {
        reader.take(length).read_to_end(&mut body)?;
        if body.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    } else {
        reader.read_to_end(&mut body)?;
    }
    Ok(Answer {
        status,
        headers,
        body,
    })
}

type Headers = Vec<(String, String)>;

fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Headers)> {
    loop {
        let line = read_line(reader)?;
        let status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status: u16 =
            status.ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(reader)?;
            match line.split_once(':') {
                Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
                None => break,
            }
        }
        // `100 Continue` announces the real answer.
        if status != 100 {
            return Ok((status, headers));
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn find_header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

fn is_chunked(headers: &Headers) -> bool {
    find_header(headers, "transfer-encoding")
        .is_some_and(|text| text.eq_ignore_ascii_case("chunked"))
}

/// `None` at the end of the stream. Comments and `retry:` are passed over.
fn read_frame(reader: &mut impl BufRead) -> Option<Frame> {
    let mut frame = Frame {
        id: None,
        event: "message".to_owned(),
        data: String::new(),
    };
    let mut has_data = false;
    loop {
        let line = read_line(reader).ok()?;
        if line.is_empty() {
            if has_data {
                return Some(frame);
            }
            frame = Frame {
                id: None,
                event: "message".to_owned(),
                data: String::new(),
            };
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => frame.id = Some(value.to_owned()),
            "event" => frame.event = value.to_owned(),
            "data" => {
                if has_data {
                    frame.data.push('\n');
                }
                frame.data.push_str(value);
                has_data = true;
            }
            _ => (),
        }
    }
}

/// Takes the chunked encoding off.
struct Chunks<R> {
    reader: R,
    /// Bytes of the current chunk that are still to come; `None` after the last chunk.
    left: Option<u64>,
}

impl<R: BufRead> Chunks<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            left: Some(0),
        }
    }
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(mut left) = self.left else {
            return Ok(0);
        };
        if left == 0 {
            let mut size = read_line(&mut self.reader)?;
            if size.is_empty() {
                size = read_line(&mut self.reader)?;
            }
            let digits = size.split(';').next().unwrap_or_default().trim();
            left = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
            if left == 0 {
                self.left = None;
                return Ok(0);
            }
        }
        let wanted = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.reader.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = Some(left - count as u64);
        Ok(count)
    }
}
