//! The smallest HTTP/1.1 client that the public API needs: keep-alive, `Content-Length`, chunked bodies, no TLS.
//!
//! It shares two cores with the server it measures, so it spends one write and one read per call and reuses its
//! buffers. What it keeps true: an answer is handed out only when it has arrived whole, and a connection is used
//! again only when both sides agreed to keep it and nothing of an earlier answer is left in it.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Largest head of an answer, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Largest body of an answer, bytes; the seating plan of a stadium has a few million.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Size of a fresh input buffer, bytes; most answers fit into it whole.
const INPUT_BYTES: usize = 4 * 1024;

/// Where the server listens.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The address that connections are opened to.
    pub(crate) address: SocketAddr,
    /// The `Host` header: name and port as given in the URL.
    pub(crate) host: String,
}

impl Target {
    /// Reads `http://host:port`.
    ///
    /// # Errors
    /// A sentence for a person when the URL is of another kind or its host has no address.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| format!("{url}: only http:// is spoken here"))?;
        let host = rest.trim_end_matches('/');
        if host.is_empty() || host.contains('/') {
            return Err(format!("{url}: expected http://host:port"));
        }
        let with_port = if host
            .rsplit(':')
            .next()
            .is_some_and(|port| port.parse::<u16>().is_ok())
        {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let address = with_port
            .to_socket_addrs()
            .map_err(|error| format!("{url}: {error}"))?
            .next()
            .ok_or_else(|| format!("{url}: no address"))?;
        Ok(Self {
            address,
            host: host.to_owned(),
        })
    }
}

/// One request, in pieces that are copied into the connection's buffer.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// `GET`, `POST`, …
    pub(crate) method: &'static str,
    /// The path with its query.
    pub(crate) path: &'a str,
    /// Complete header lines, each ended by CR LF; may be empty.
    pub(crate) headers: &'a [&'a str],
    /// A JSON body.
    pub(crate) body: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// A request without a body.
    pub(crate) fn get(path: &'a str, headers: &'a [&'a str]) -> Self {
        Self {
            method: "GET",
            path,
            headers,
            body: None,
        }
    }

    /// A request with a JSON body.
    pub(crate) fn post(path: &'a str, headers: &'a [&'a str], body: &'a [u8]) -> Self {
        Self {
            method: "POST",
            path,
            headers,
            body: Some(body),
        }
    }

    fn write_to(&self, host: &str, authorization: &str, out: &mut Vec<u8>) {
        out.clear();
        for piece in [
            self.method,
            " ",
            self.path,
            " HTTP/1.1\r\nhost: ",
            host,
            "\r\n",
            authorization,
        ] {
            out.extend_from_slice(piece.as_bytes());
        }
        for header in self.headers {
            out.extend_from_slice(header.as_bytes());
        }
        if let Some(body) = self.body {
            out.extend_from_slice(b"content-type: application/json\r\ncontent-length: ");
            push_decimal(body.len(), out);
            out.extend_from_slice(b"\r\n\r\n");
            out.extend_from_slice(body);
        } else {
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn push_decimal(value: usize, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a decimal digit is below ten");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

/// The head of an answer: what of it a client acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The status code.
    pub(crate) status: u16,
    /// `Retry-After`, seconds.
    pub(crate) retry_after_s: Option<u32>,
    /// `ETag`, kept only when present.
    pub(crate) etag: Option<String>,
    framing: Framing,
    keep_alive: bool,
    head_bytes: usize,
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Reads the head at the start of `input`; `None` while its end has not arrived.
fn parse_head(input: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = find_head_end(input) else {
        return if input.len() > HEAD_BYTES_MAX {
            Err(invalid("head of the answer too long"))
        } else {
            Ok(None)
        };
    };
    let mut lines = input[..end].split(|byte| *byte == b'\n');
    let first = lines.next().ok_or_else(|| invalid("empty head"))?;
    if first.len() < 12 || !first.starts_with(b"HTTP/1.") {
        return Err(invalid("not an HTTP/1 answer"));
    }
    let status = decimal(&first[9..12]).ok_or_else(|| invalid("status is not a number"))?;
    let status = u16::try_from(status).map_err(|_| invalid("status out of range"))?;
    let mut head = Head {
        status,
        retry_after_s: None,
        etag: None,
        framing: Framing::Length(0),
        keep_alive: first[7] == b'1',
        head_bytes: end,
    };
    let mut length = None;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                length =
                    Some(decimal(value).ok_or_else(|| invalid("content-length is not a number"))?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(invalid("unknown transfer-encoding"));
                }
                head.framing = Framing::Chunked;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                head.keep_alive = !value.eq_ignore_ascii_case(b"close");
            }
            11 if name.eq_ignore_ascii_case(b"retry-after") => {
                head.retry_after_s = decimal(value).and_then(|value| u32::try_from(value).ok());
            }
            4 if name.eq_ignore_ascii_case(b"etag") => {
                head.etag = std::str::from_utf8(value).ok().map(str::to_owned)
            }
            _ => (),
        }
    }
    if head.status == 204 || head.status == 304 {
        head.framing = Framing::Length(0);
    } else if head.framing != Framing::Chunked {
        head.framing =
            Framing::Length(length.ok_or_else(|| invalid("an answer without a length"))?);
    }
    Ok(Some(head))
}

/// Where the empty line ends, counted from the start.
fn find_head_end(input: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = input[from..].iter().position(|byte| *byte == b'\r') {
        let at = from + found;
        if input[at..].starts_with(b"\r\n\r\n") {
            return Some(at + 4);
        }
        from = at + 1;
    }
    None
}

fn decimal(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Takes the chunk frames off a body that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: ChunkState,
    left: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    Extension,
    Data,
    DataEnd,
    TrailerStart,
    Trailer,
    Done,
}

impl Chunks {
    /// Appends the data in `input` to `out`; how many bytes were read: all of them, or up to the end of the body.
    ///
    /// # Errors
    /// A size that is no number, or one beyond what this client takes.
    pub(crate) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        let mut at = 0;
        while at < input.len() && self.state != ChunkState::Done {
            let byte = input[at];
            match self.state {
                ChunkState::Size => match (byte as char).to_digit(16) {
                    Some(digit) => {
                        self.left = self.left * 16 + digit as usize;
                        if self.left > BODY_BYTES_MAX {
                            return Err(invalid("chunk too large"));
                        }
                        at += 1;
                    }
                    None if matches!(byte, b'\r' | b'\n' | b';' | b' ') => {
                        self.state = ChunkState::Extension
                    }
                    None => return Err(invalid("size of a chunk is not a number")),
                },
                ChunkState::Extension => {
                    at += 1;
                    if byte == b'\n' {
                        self.state = if self.left == 0 {
                            ChunkState::TrailerStart
                        } else {
                            ChunkState::Data
                        };
                    }
                }
                ChunkState::Data => {
                    let take = self.left.min(input.len() - at);
                    out.extend_from_slice(&input[at..at + take]);
                    at += take;
                    self.left -= take;
                    if self.left == 0 {
                        self.state = ChunkState::DataEnd;
                    }
                }
                ChunkState::DataEnd => {
                    at += 1;
                    if byte == b'\n' {
                        self.state = ChunkState::Size;
                    }
                }
                ChunkState::TrailerStart | ChunkState::Trailer => {
                    at += 1;
                    self.state = match (byte, &self.state) {
                        (b'\n', ChunkState::TrailerStart) => ChunkState::Done,
                        (b'\n', _) => ChunkState::TrailerStart,
                        (b'\r', ChunkState::TrailerStart) => ChunkState::TrailerStart,
                        (_, _) => ChunkState::Trailer,
                    };
                }
                ChunkState::Done => (),
            }
        }
        Ok(at)
    }

    /// Whether the last chunk has arrived.
    pub(crate) fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }
}

/// One connection with its buffers.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
    filled: usize,
    chunked_body: Vec<u8>,
    head: Option<Head>,
}

impl Connection {
    /// Opens a connection, from `source` when one is given (another loopback address has ports of its own).
    ///
    /// # Errors
    /// Whatever the system says: refused, no port left, too many files.
    pub(crate) async fn open(target: &Target, source: Option<IpAddr>) -> io::Result<Self> {
        let socket = if target.address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(target.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            output: Vec::with_capacity(1024),
            input: vec![0; INPUT_BYTES],
            filled: 0,
            chunked_body: Vec::new(),
            head: None,
        })
    }

    /// Sends a request and waits for the whole answer, which then lies in `head()` and `body()`.
    ///
    /// # Errors
    /// The connection broke, or what came is not an HTTP/1.1 answer. It must not be used again.
    pub(crate) async fn exchange(
        &mut self,
        host: &str,
        authorization: &str,
        request: &Request<'_>,
    ) -> io::Result<()> {
        self.send(host, authorization, request).await?;
        let mut chunks = Chunks::default();
        let mut decoded_to = 0;
        loop {
            self.fill().await?;
            if self.head.is_none() {
                self.head = parse_head(&self.input[..self.filled])?;
                decoded_to = self.head.as_ref().map_or(0, |head| head.head_bytes);
            }
            let Some(head) = &self.head else { continue };
            match head.framing {
                Framing::Length(length) => {
                    if length > BODY_BYTES_MAX {
                        return Err(invalid("body too large"));
                    }
                    match self.filled.cmp(&(head.head_bytes + length)) {
                        std::cmp::Ordering::Equal => return Ok(()),
                        std::cmp::Ordering::Greater => {
                            return Err(invalid("bytes after the end of the answer"));
                        }
                        std::cmp::Ordering::Less => self.reserve(head.head_bytes + length),
                    }
                }
                Framing::Chunked => {
                    decoded_to += chunks
                        .feed(&self.input[decoded_to..self.filled], &mut self.chunked_body)?;
                    if chunks.is_done() {
                        return if decoded_to == self.filled {
                            Ok(())
                        } else {
                            Err(invalid("bytes after the end"))
                        };
                    }
                    if self.chunked_body.len() > BODY_BYTES_MAX {
                        return Err(invalid("body too large"));
                    }
                }
            }
        }
    }

    /// Sends a request whose answer is a stream; returns when the head is there. The body is read by `stream_read`.
    ///
    /// # Errors
    /// As `exchange`; an answer that is no chunked 200 is an error that names its status.
    pub(crate) async fn exchange_stream(
        &mut self,
        host: &str,
        authorization: &str,
        request: &Request<'_>,
        chunks: &mut Chunks,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.send(host, authorization, request).await?;
        loop {
            self.fill().await?;
            if let Some(head) = parse_head(&self.input[..self.filled])? {
                if head.status != 200 || head.framing != Framing::Chunked {
                    return Err(io::Error::other(format!(
                        "no stream but status {}",
                        head.status
                    )));
                }
                chunks.feed(&self.input[head.head_bytes..self.filled], out)?;
                // Ten thousand streams: what is left of the buffers is what a listener costs here.
                self.output = Vec::new();
                self.input = vec![0; 512];
                return Ok(());
            }
        }
    }

    /// Reads what has arrived on a stream and appends it to `out` without its frames.
    ///
    /// # Errors
    /// The connection broke or the stream ended.
    pub(crate) async fn stream_read(
        &mut self,
        chunks: &mut Chunks,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let count = self.stream.read(&mut self.input).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        chunks.feed(&self.input[..count], out)?;
        if chunks.is_done() {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(())
        }
    }

    async fn send(
        &mut self,
        host: &str,
        authorization: &str,
        request: &Request<'_>,
    ) -> io::Result<()> {
        self.head = None;
        self.filled = 0;
        self.chunked_body.clear();
        request.write_to(host, authorization, &mut self.output);
        self.stream.write_all(&self.output).await
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.filled == self.input.len() {
            self.reserve(self.filled * 2);
        }
        let count = self.stream.read(&mut self.input[self.filled..]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += count;
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) {
        if self.input.len() < bytes {
            self.input.resize(bytes, 0);
        }
    }

    /// The head of the last answer.
    pub(crate) fn head(&self) -> &Head {
        self.head
            .as_ref()
            .expect("asked for only after an exchange that succeeded")
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        let head = self.head();
        match head.framing {
            Framing::Length(length) => &self.input[head.head_bytes..head.head_bytes + length],
            Framing::Chunked => &self.chunked_body,
        }
    }

    /// Whether the server keeps the connection open for the next call.
    pub(crate) fn is_reusable(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.keep_alive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_only_when_it_is_whole() {
        let whole = b"HTTP/1.1 429 Too Many\r\nContent-Length: 3\r\nretry-after:  7\r\nETag: \"a\"\r\nconnection: close\r\n\r\nabc";
        for cut in 0..whole.len() - 3 {
            assert_eq!(parse_head(&whole[..cut]).unwrap(), None, "cut at {cut}");
        }
        let head = parse_head(whole).unwrap().unwrap();
        assert_eq!(
            (head.status, head.retry_after_s, head.keep_alive),
            (429, Some(7), false)
        );
        assert_eq!(
            (head.framing, head.etag.as_deref()),
            (Framing::Length(3), Some("\"a\""))
        );
        assert_eq!(&whole[head.head_bytes..], b"abc");
    }

    #[test]
    fn heads_that_are_none_are_errors() {
        for wrong in [
            &b"SSH-2.0-OpenSSH\r\n\r\n"[..],
            b"HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(
                parse_head(wrong).is_err(),
                "{}",
                String::from_utf8_lossy(wrong)
            );
        }
        assert_eq!(
            parse_head(b"HTTP/1.1 204 No Content\r\n\r\n")
                .unwrap()
                .unwrap()
                .framing,
            Framing::Length(0)
        );
    }

    #[test]
    fn chunks_are_the_same_however_they_are_cut() {
        let wire = b"5\r\nhello\r\n10;x=y\r\n, waiting room!!\r\n0\r\ntrailer: 1\r\n\r\n";
        for cut in 0..wire.len() {
            let (mut chunks, mut out) = (Chunks::default(), Vec::new());
            let first = chunks.feed(&wire[..cut], &mut out).unwrap();
            assert_eq!(first, cut);
            assert!(!chunks.is_done(), "done too early at {cut}");
            chunks.feed(&wire[cut..], &mut out).unwrap();
            assert!(chunks.is_done());
            assert_eq!(out, b"hello, waiting room!!");
        }
        let mut out = Vec::new();
        assert!(Chunks::default().feed(b"zz\r\n", &mut out).is_err());
        assert!(Chunks::default().feed(b"fffffffff\r\n", &mut out).is_err());
    }

    #[test]
    fn a_request_is_written_to_the_letter() {
        let mut out = Vec::new();
        Request::post("/api/v1/bookings", &["prefer: wait=5\r\n"], b"{}").write_to(
            "h:1",
            "authorization: Bearer t\r\n",
            &mut out,
        );
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            "POST /api/v1/bookings HTTP/1.1\r\nhost: h:1\r\nauthorization: Bearer t\r\nprefer: wait=5\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        );
        for value in [0, 7, 10, 65_536, usize::MAX] {
            let mut digits = Vec::new();
            push_decimal(value, &mut digits);
            assert_eq!(String::from_utf8(digits).unwrap(), value.to_string());
        }
    }

    #[test]
    fn only_plain_http_urls_are_targets() {
        assert_eq!(
            Target::parse("http://127.0.0.1:8082/").unwrap().host,
            "127.0.0.1:8082"
        );
        assert_eq!(
            Target::parse("http://127.0.0.1").unwrap().address.port(),
            80
        );
        for wrong in [
            "https://127.0.0.1:1",
            "127.0.0.1:1",
            "http://",
            "http://127.0.0.1:1/api",
        ] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
