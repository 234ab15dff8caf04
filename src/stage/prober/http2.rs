//! As much of HTTP/2 (RFC 9113) as one request needs that is small and whose answer is.

use std::io::{self, BufReader, ErrorKind, Read, Write};

use super::connection::Connection;
use super::hpack;

/// What a client says first (3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest payload of a frame, which a client may leave at this (4.2).
const MAX_PAYLOAD: usize = 16 * 1024;

/// The most bytes of the headers of an answer.
const MAX_HEADERS: usize = 64 * 1024;

/// The most frames of an answer; a server that says nothing with them is given up.
const MAX_FRAMES: u32 = 1000;

/// The only stream there is.
const STREAM: u32 = 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// On `DATA` and `HEADERS`; on `SETTINGS` and `PING` the same bit is `ACK`.
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// No dynamic table for headers, and no pushed streams (6.5.2).
const OUR_SETTINGS: [u8; 12] = [0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];

/// The names of the error codes (7).
const ERRORS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// A connection with one request on it.
#[derive(Debug)]
pub(super) struct Exchange {
    connection: BufReader<Connection>,
    frames: u32,
}

/// A part of the answer.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) content: Content,
    /// Whether it is the last.
    pub(super) is_last: bool,
}

/// What a part is.
#[derive(Debug)]
pub(super) enum Content {
    /// Headers or trailers.
    Headers(Vec<hpack::Header>),
    /// Some of the body.
    Data(Vec<u8>),
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload without padding (6.1) and priority (6.2).
    fn content(&self) -> io::Result<&[u8]> {
        let mut content = self.payload.as_slice();
        if self.has(PADDED) {
            let (length, rest) = content.split_first().ok_or_else(malformed)?;
            let kept = rest.len().checked_sub((*length).into());
            content = kept
                .and_then(|kept| rest.get(..kept))
                .ok_or_else(malformed)?;
        }
        if self.kind == HEADERS && self.has(PRIORITY) {
            content = content.get(5..).ok_or_else(malformed)?;
        }
        Ok(content)
    }
}

fn malformed() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "malformed HTTP/2 frame")
}

fn error_name(code: u32) -> String {
    usize::try_from(code)
        .ok()
        .and_then(|at| ERRORS.get(at))
        .map_or_else(
            || format!("unknown error code {code}"),
            |name| (*name).to_owned(),
        )
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or_default();
    out.extend_from_slice(length.to_be_bytes().get(1..).unwrap_or_default());
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

impl Exchange {
    /// Sends a request and waits for what a server says first. The request need not wait for that
    /// (3.4), so it takes one packet and no round trip.
    ///
    /// # Errors
    /// As the connection's; and when the server does not speak HTTP/2.
    pub(super) fn start(
        mut connection: Connection,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Self> {
        let mut block = Vec::new();
        for (name, value) in headers {
            hpack::put(&mut block, name, value);
        }
        let mut out = PREFACE.to_vec();
        put_frame(&mut out, SETTINGS, 0, 0, &OUR_SETTINGS);
        let end = if body.is_empty() { END_STREAM } else { 0 };
        put_frame(&mut out, HEADERS, END_HEADERS | end, STREAM, &block);
        let mut parts = body.chunks(MAX_PAYLOAD).peekable();
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() {
                END_STREAM
            } else {
                0
            };
            put_frame(&mut out, DATA, flags, STREAM, part);
        }
        connection.write_all(&out)?;
        connection.flush()?;
        let mut exchange = Self {
            connection: BufReader::with_capacity(1024, connection),
            frames: 0,
        };
        let first = exchange.frame()?;
        if first.kind != SETTINGS || first.has(ACK) {
            return Err(malformed());
        }
        exchange.send(SETTINGS, ACK, &[])?;
        Ok(exchange)
    }

    /// The next part of the answer. What else a server says is answered as it must be.
    ///
    /// # Errors
    /// As the connection's; and when the server gives the request up.
    pub(super) fn next(&mut self) -> io::Result<Part> {
        loop {
            let frame = self.frame()?;
            match (frame.kind, frame.stream) {
                (SETTINGS, 0) if !frame.has(ACK) => self.send(SETTINGS, ACK, &[])?,
                (PING, 0) if !frame.has(ACK) => {
                    let echo = frame.payload.get(..8).ok_or_else(malformed)?;
                    self.send(PING, ACK, echo)?;
                }
                (GOAWAY, 0) => check_goaway(&frame.payload)?,
                (RST_STREAM, STREAM) => {
                    let code = number(&frame.payload, 0).ok_or_else(malformed)?;
                    return Err(io::Error::other(format!(
                        "stream terminated by RST_STREAM with error code: {}",
                        error_name(code)
                    )));
                }
                (HEADERS, STREAM) => {
                    let is_last = frame.has(END_STREAM);
                    let block = self.whole_block(&frame)?;
                    let headers = hpack::decode(&block).ok_or_else(|| {
                        io::Error::new(ErrorKind::InvalidData, "malformed HTTP/2 headers")
                    })?;
                    return Ok(Part {
                        content: Content::Headers(headers),
                        is_last,
                    });
                }
                (DATA, STREAM) => {
                    return Ok(Part {
                        content: Content::Data(frame.content()?.to_vec()),
                        is_last: frame.has(END_STREAM),
                    });
                }
                (PUSH_PROMISE | CONTINUATION, _) => return Err(malformed()),
                // Windows, priorities, answers to nothing and whatever is yet to come (5.5).
                _ => {}
            }
        }
    }

    /// A block of headers with its continuations, which nothing comes between (6.10).
    fn whole_block(&mut self, first: &Frame) -> io::Result<Vec<u8>> {
        let mut block = first.content()?.to_vec();
        let mut is_whole = first.has(END_HEADERS);
        while !is_whole {
            let frame = self.frame()?;
            if (frame.kind, frame.stream) != (CONTINUATION, STREAM) || block.len() > MAX_HEADERS {
                return Err(malformed());
            }
            block.extend_from_slice(&frame.payload);
            is_whole = frame.has(END_HEADERS);
        }
        Ok(block)
    }

    fn frame(&mut self) -> io::Result<Frame> {
        self.frames = self.frames.saturating_add(1);
        if self.frames > MAX_FRAMES {
            return Err(io::Error::other("the server sends too much"));
        }
        let mut head = [0; 9];
        self.connection.read_exact(&mut head)?;
        let [high, middle, low, kind, flags, ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let length = usize::try_from(length).map_err(|_| malformed())?;
        if length > MAX_PAYLOAD {
            return Err(malformed());
        }
        let mut payload = vec![0; length];
        self.connection.read_exact(&mut payload)?;
        Ok(Frame {
            kind,
            flags,
            stream: number(&head, 5).ok_or_else(malformed)? & 0x7fff_ffff,
            payload,
        })
    }

    fn send(&mut self, kind: u8, flags: u8, payload: &[u8]) -> io::Result<()> {
        let mut out = Vec::new();
        put_frame(&mut out, kind, flags, 0, payload);
        let connection = self.connection.get_mut();
        connection.write_all(&out)?;
        connection.flush()
    }
}

/// A server that goes away finishes the streams up to the one it names (6.8).
fn check_goaway(payload: &[u8]) -> io::Result<()> {
    let (Some(last), Some(code)) = (number(payload, 0), number(payload, 4)) else {
        return Err(malformed());
    };
    if code == 0 && last & 0x7fff_ffff >= STREAM {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the server goes away with {}",
        error_name(code)
    )))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}
