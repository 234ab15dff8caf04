//! A scope of the user's systemd: the way out of a cgroup that is not the user's, like that of a
//! login, into one beneath which podrun may make its own. Only systemd may move a process there.
//!
//! ```text
//!   podrun                          the user's bus (D-Bus specification, systemd's org.freedesktop.systemd1)
//!     │ AUTH EXTERNAL, BEGIN          │
//!     │ Hello                         │   all at once: it is read in this order
//!     │ AddMatch JobRemoved           │
//!     ├ StartTransientUnit ──────────▶│
//!     │                 OK ───────────┤
//!     │      answers, one is the job ─┤
//!     │◀──────── JobRemoved, done ────┤   now this process is in the scope
//! ```

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// What the manager may take. It answers in some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than any message that is waited for.
const LONGEST: usize = 64 * 1024;

/// `dbus-protocol.h`
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Moves this process into a scope of its own, which lasts as long as it and what it has started.
///
/// # Errors
/// As `connect(2)` where there is no such bus, `TimedOut`, and what the bus or the manager say.
pub fn enter_scope(bus: &Path) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // The first holds for `connect(2)`, too.
    for direction in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, direction, Some(PATIENCE))?;
    }
    connect(&socket, &SocketAddrUnix::new(bus)?)?;
    let name = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let uid = rustix::process::geteuid().as_raw();
    let mut stream = UnixStream::from(socket);
    stream.write_all(&everything(uid, &format!("podrun-{}.scope", name.trim())))?;
    follow(BufReader::new(stream))
}

/// All that is said to the bus.
fn everything(uid: u32, scope: &str) -> Vec<u8> {
    // SASL: a null byte with the credentials, and the user's number in the digits' hex codes.
    let mut bytes = b"\0AUTH EXTERNAL ".to_vec();
    for digit in uid.to_string().bytes() {
        bytes.extend_from_slice(format!("{digit:02x}").as_bytes());
    }
    bytes.extend_from_slice(b"\r\nBEGIN\r\n");
    let bus = [
        "org.freedesktop.DBus",
        "/org/freedesktop/DBus",
        "org.freedesktop.DBus",
    ];
    bytes.extend_from_slice(&call(1, bus, "Hello", "", &Body::default()));
    let mut rule = Body::default();
    rule.string("type='signal',sender='org.freedesktop.systemd1',member='JobRemoved'");
    bytes.extend_from_slice(&call(2, bus, "AddMatch", "s", &rule));
    let manager = [
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
    ];
    let unit = transient_scope(scope);
    let signature = "ssa(sv)a(sa(sv))";
    bytes.extend_from_slice(&call(
        START,
        manager,
        "StartTransientUnit",
        signature,
        &unit,
    ));
    bytes
}

/// The serial of what the answer is waited for.
const START: u32 = 3;

fn transient_scope(name: &str) -> Body {
    let mut body = Body::default();
    body.string(name);
    body.string("fail");
    body.array(|properties| {
        properties.property("Description", "s", |value| value.string("Pods of podrun"));
        // Who asks, in whatever pid namespace it is.
        properties.property("PIDs", "au", |value| {
            value.number(4);
            value.number(0);
        });
        // What is made below is not the manager's.
        properties.property("Delegate", "b", |value| value.number(1));
        properties.property("CollectMode", "s", |value| {
            value.string("inactive-or-failed");
        });
    });
    // No other units.
    body.array(|_| {});
    body
}

/// Reads what the bus says until the job is over.
fn follow(mut bus: impl BufRead) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut line = Vec::new();
    bus.by_ref().take(512).read_until(b'\n', &mut line)?;
    if !line.starts_with(b"OK ") {
        return Err(invalid("the bus does not know this user"));
    }
    let mut job = None;
    while Instant::now() < deadline {
        let message = Message::read(&mut bus).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })?;
        match message.kind {
            // Whatever it was about, what follows needs it.
            ERROR => return Err(io::Error::other(message.body().string()?.to_owned())),
            METHOD_RETURN if message.reply_serial == START => {
                job = Some(message.body().string()?.to_owned());
            }
            SIGNAL if message.member == "JobRemoved" => {
                let mut body = message.body();
                body.number()?;
                let is_ours = Some(body.string()?) == job.as_deref();
                body.string()?;
                match body.string()? {
                    _ if !is_ours => {}
                    "done" => return Ok(()),
                    result => return Err(io::Error::other(format!("the scope's job: {result}"))),
                }
            }
            _ => {}
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// A method call to `[DESTINATION, PATH, INTERFACE]`.
fn call(serial: u32, whom: [&str; 3], member: &str, signature: &str, body: &Body) -> Vec<u8> {
    let [destination, path, interface] = whom;
    let mut message = Body(vec![b'l', METHOD_CALL, 0, 1]);
    message.number(u32::try_from(body.0.len()).unwrap_or(u32::MAX));
    message.number(serial);
    message.array(|fields| {
        for (code, kind, value) in [
            (PATH, "o", path),
            (INTERFACE, "s", interface),
            (MEMBER, "s", member),
            (DESTINATION, "s", destination),
        ] {
            fields.align(8);
            fields.0.push(code);
            fields.signature(kind);
            fields.string(value);
        }
        if !signature.is_empty() {
            fields.align(8);
            fields.0.push(SIGNATURE);
            fields.signature("g");
            fields.signature(signature);
        }
    });
    message.align(8);
    message.0.extend_from_slice(&body.0);
    message.0
}

/// Values in the wire's little-endian form, aligned to their own beginning.
#[derive(Debug, Default)]
struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A string or an object's path.
    fn string(&mut self, text: &str) {
        self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// An array of structures. Its length is without what aligns the first.
    fn array(&mut self, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.0.len() - 4;
        self.align(8);
        let begin = self.0.len();
        elements(self);
        let length = u32::try_from(self.0.len() - begin).unwrap_or(u32::MAX);
        if let Some(field) = self.0.get_mut(length_at..length_at + 4) {
            field.copy_from_slice(&length.to_le_bytes());
        }
    }

    fn property(&mut self, name: &str, kind: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.string(name);
        self.signature(kind);
        value(self);
    }
}

/// What has come from the bus.
#[derive(Debug)]
struct Message {
    kind: u8,
    is_little: bool,
    reply_serial: u32,
    member: String,
    body: Vec<u8>,
}

impl Message {
    fn read(bus: &mut impl Read) -> io::Result<Self> {
        let mut start = [0; 16];
        bus.read_exact(&mut start)?;
        let [order, kind, ..] = start;
        let is_little = order == b'l';
        let mut lengths = Reader::new(start.get(4..).unwrap_or_default(), is_little);
        let body_length = lengths.number()? as usize;
        lengths.number()?;
        let fields_length = lengths.number()? as usize;
        if fields_length > LONGEST || body_length > LONGEST {
            return Err(invalid("a message of the bus is too long"));
        }
        let mut fields = vec![0; fields_length.next_multiple_of(8)];
        bus.read_exact(&mut fields)?;
        fields.truncate(fields_length);
        let mut body = vec![0; body_length];
        bus.read_exact(&mut body)?;
        let mut message = Self {
            kind,
            is_little,
            reply_serial: 0,
            member: String::new(),
            body,
        };
        let mut fields = Reader::new(&fields, is_little);
        while !fields.is_at_end() {
            fields.align(8);
            let code = fields.byte()?;
            match (code, fields.signature()?) {
                (MEMBER, "s") => fields.string()?.clone_into(&mut message.member),
                (REPLY_SERIAL, "u") => message.reply_serial = fields.number()?,
                (_, "s" | "o") => {
                    fields.string()?;
                }
                (_, "g") => {
                    fields.signature()?;
                }
                (_, "u") => {
                    fields.number()?;
                }
                _ => return Err(invalid("a message of the bus has an unknown field")),
            }
        }
        Ok(message)
    }

    fn body(&self) -> Reader<'_> {
        Reader::new(&self.body, self.is_little)
    }
}

/// Reads what [`Body`] writes, in the order of the sender's bytes.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    is_little: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], is_little: bool) -> Self {
        Self {
            bytes,
            at: 0,
            is_little,
        }
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let end = self.at.saturating_add(length);
        let taken = self.bytes.get(self.at..end);
        self.at = end;
        taken.ok_or_else(|| invalid("a message of the bus is too short"))
    }

    fn byte(&mut self) -> io::Result<u8> {
        self.take(1).map(|byte| byte.first().copied().unwrap_or(0))
    }

    fn number(&mut self) -> io::Result<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().unwrap_or_default();
        Ok(if self.is_little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    }

    fn text(&mut self, length: usize) -> io::Result<&'a str> {
        let bytes = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(bytes).map_err(|_| invalid("a message of the bus is no text"))
    }

    fn string(&mut self) -> io::Result<&'a str> {
        let length = self.number()?;
        self.text(length as usize)
    }

    fn signature(&mut self) -> io::Result<&'a str> {
        let length = self.byte()?;
        self.text(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of the bus, in either order of bytes.
    fn said(kind: u8, member: &str, reply_serial: u32, texts: &[&str], is_little: bool) -> Vec<u8> {
        let mut body = Body::default();
        if kind == SIGNAL {
            body.number(7);
        }
        for text in texts {
            body.string(text);
        }
        let mut message = Body(vec![b'l', kind, 0, 1]);
        message.number(u32::try_from(body.0.len()).unwrap());
        message.number(9);
        message.array(|fields| {
            fields.align(8);
            fields.0.push(REPLY_SERIAL);
            fields.signature("u");
            fields.number(reply_serial);
            fields.align(8);
            fields.0.push(MEMBER);
            fields.signature("s");
            fields.string(member);
        });
        message.align(8);
        message.0.extend_from_slice(&body.0);
        if !is_little {
            swap(&mut message.0, texts, member, kind);
        }
        message.0
    }

    /// Turns the numbers of such a message around.
    fn swap(bytes: &mut [u8], texts: &[&str], member: &str, kind: u8) {
        bytes[0] = b'B';
        // The lengths and the serial, the serial of the question, the member's length.
        let mut numbers = vec![4, 8, 12, 20, 28];
        let mut at = (32 + member.len() + 1).next_multiple_of(8);
        if kind == SIGNAL {
            numbers.push(at);
            at += 4;
        }
        for text in texts {
            numbers.push(at);
            at = (at + 4 + text.len() + 1).next_multiple_of(4);
        }
        for number in numbers {
            bytes[number..number + 4].reverse();
        }
    }

    fn ends(messages: &[Vec<u8>]) -> Result<(), String> {
        let mut bytes = b"OK 0123\r\n".to_vec();
        bytes.extend(messages.iter().flatten());
        follow(bytes.as_slice()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_scope_is_entered_when_its_own_job_is_done() {
        for is_little in [true, false] {
            let answer = said(METHOD_RETURN, "", START, &["/job/1"], is_little);
            let removed = |job: &str, result: &str| {
                let texts = [job, "podrun-x.scope", result];
                said(SIGNAL, "JobRemoved", 0, &texts, is_little)
            };
            let hello = said(METHOD_RETURN, "", 1, &[":1.5"], is_little);
            let others = [hello, answer.clone(), removed("/job/0", "done")];
            assert_eq!(
                ends(&others),
                Err("failed to fill whole buffer".to_owned()),
                "others"
            );
            let mut all = others.to_vec();
            all.push(removed("/job/1", "done"));
            assert_eq!(ends(&all), Ok(()));
            assert_eq!(
                ends(&[answer, removed("/job/1", "failed")]),
                Err("the scope's job: failed".to_owned())
            );
        }
    }

    #[test]
    fn an_error_is_in_the_managers_words() {
        let refused = said(ERROR, "", START, &["Access denied"], true);
        assert_eq!(ends(&[refused]), Err("Access denied".to_owned()));
        let stranger = follow(b"REJECTED EXTERNAL\r\n".as_slice()).unwrap_err();
        assert_eq!(stranger.to_string(), "the bus does not know this user");
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_an_error_and_nothing_else() {
        let whole = said(METHOD_RETURN, "", START, &["/job/1"], true);
        for length in 0..whole.len() {
            assert!(ends(&[whole[..length].to_vec()]).is_err(), "{length}");
        }
        for index in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bent = whole.clone();
                bent[index] = byte;
                assert!(ends(&[bent]).is_err(), "{index}: {byte}");
            }
        }
        let mut long = whole;
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            ends(&[long]),
            Err("a message of the bus is too long".to_owned())
        );
    }

    #[test]
    fn a_call_is_what_the_specification_says() {
        let bus = ["a.b", "/a", "a.c"];
        let mut body = Body::default();
        body.string("xyz");
        #[rustfmt::skip]
        let expected = [
            b'l', 1, 0, 1,  8, 0, 0, 0,  5, 0, 0, 0,  75, 0, 0, 0,
            1, 1, b'o', 0,  2, 0, 0, 0,  b'/', b'a', 0, 0,  0, 0, 0, 0,
            2, 1, b's', 0,  3, 0, 0, 0,  b'a', b'.', b'c', 0,  0, 0, 0, 0,
            3, 1, b's', 0,  2, 0, 0, 0,  b'D', b'o', 0, 0,  0, 0, 0, 0,
            6, 1, b's', 0,  3, 0, 0, 0,  b'a', b'.', b'b', 0,  0, 0, 0, 0,
            8, 1, b'g', 0,  1, b's', 0, 0,
            3, 0, 0, 0,  b'x', b'y', b'z', 0,
        ];
        let mut expected = expected.to_vec();
        // From the first field to the end of the last.
        expected[12] = 64 + 7;
        assert_eq!(call(5, bus, "Do", "s", &body), expected);
    }
}
