//! `grpc` probes: `grpc.health.v1.Health/Check`, as pkg/probe/grpc of the kubelet asks it.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

use super::connection::{self, Connection, Deadline, Security, join_host_port};
use super::http2::{Content, Exchange};
use super::{VERSION, Verdict, hpack};

/// The first pause before a connection is tried again, and by how much it grows (gRPC's connection
/// back-off: one second, 1.6 times).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const GROWTH: (u32, u32) = (8, 5);

/// The longest answer that is read.
const MAX_ANSWER: usize = 16 * 1024;

const DEADLINE_EXCEEDED: u32 = 4;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// The names of gRPC's status codes.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The values of `HealthCheckResponse.ServingStatus`.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u64 = 1;

/// What is asked of whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) service: &'a str,
    pub(super) tls: bool,
    pub(super) timeout_ms: Option<u64>,
}

/// A call that has failed.
struct RpcError {
    code: u32,
    message: String,
}

impl RpcError {
    fn internal(message: &str) -> Self {
        Self {
            code: INTERNAL,
            message: message.to_owned(),
        }
    }
}

impl From<io::Error> for RpcError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut => Self {
                code: DEADLINE_EXCEEDED,
                message: "context deadline exceeded".to_owned(),
            },
            ErrorKind::UnexpectedEof => Self {
                code: UNAVAILABLE,
                message: "error reading from server: EOF".to_owned(),
            },
            _ => Self {
                code: UNAVAILABLE,
                message: error.to_string(),
            },
        }
    }
}

/// Asks a server how it is.
pub(super) fn probe(check: Check<'_>, deadline: Deadline) -> Verdict {
    let address = join_host_port(check.host, check.port);
    let within = in_go_duration(check.timeout_ms.unwrap_or_default());
    let answer = match connect(check, &address, deadline) {
        Ok(mut exchange) => receive(&mut exchange).and_then(|message| status(&message)),
        Err(error) => {
            let why = match error.kind() {
                ErrorKind::TimedOut => "context deadline exceeded".to_owned(),
                ErrorKind::UnexpectedEof => "EOF".to_owned(),
                _ => error.to_string(),
            };
            return Verdict::failure(format!(
                "timeout: failed to connect service \"{address}\" within {within}: {why}"
            ));
        }
    };
    match answer {
        Ok(SERVING) => Verdict::success(),
        Ok(status) => Verdict::failure(format!(
            "service unhealthy (responded with \"{}\")",
            named(&STATUSES, status)
        )),
        Err(error) if error.code == UNIMPLEMENTED => Verdict::failure(format!(
            "error: this server does not implement the grpc health protocol \
             (grpc.health.v1.Health): {}",
            error.message
        )),
        Err(error) if error.code == DEADLINE_EXCEEDED => Verdict::failure(format!(
            "timeout: health rpc did not complete within {within}"
        )),
        Err(error) => Verdict::failure(format!(
            "error: health rpc probe failed: rpc error: code = {} desc = {}",
            named(&CODES, error.code.into()),
            error.message
        )),
    }
}

/// Connects and asks; tries again while there is time (`WithBlock`), as servers may just be
/// starting. The last attempt's error is told instead of waiting for the rest of the time.
fn connect(check: Check<'_>, address: &str, deadline: Deadline) -> io::Result<Exchange> {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match attempt(check, address, deadline) {
            Ok(exchange) => return Ok(exchange),
            Err(error) => error,
        };
        if deadline.remaining()?.is_none_or(|left| left <= pause) {
            return Err(error);
        }
        thread::sleep(pause);
        pause = pause.saturating_mul(GROWTH.0) / GROWTH.1;
    }
}

fn attempt(check: Check<'_>, address: &str, deadline: Deadline) -> io::Result<Exchange> {
    let (security, scheme) = if check.tls {
        (Security::TlsHttp2, "https")
    } else {
        (Security::Plain, "http")
    };
    let agent = format!("kube-probe/{VERSION}");
    let mut headers = vec![
        (":method", "POST"),
        (":scheme", scheme),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", address),
        ("content-type", "application/grpc"),
        ("user-agent", &agent),
        ("te", "trailers"),
    ];
    // At most eight digits, and servers stop working for nobody.
    let timeout = check
        .timeout_ms
        .filter(|limit| *limit < 100_000_000)
        .map(|limit| format!("{limit}m"));
    if let Some(timeout) = &timeout {
        headers.push(("grpc-timeout", timeout));
    }
    let addresses = connection::addresses(check.host, check.port, deadline)?;
    let connection = Connection::open(check.host, &addresses, security, deadline)?;
    Exchange::start(connection, &headers, &request(check.service))
}

/// A message of gRPC with a `HealthCheckRequest`, whose first field is the service.
fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(0x80 | u8::try_from(length & 0x7f).unwrap_or_default());
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or_default());
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.append(&mut message);
    framed
}

/// Reads an answer to its end: its body, or its error.
fn receive(exchange: &mut Exchange) -> Result<Vec<u8>, RpcError> {
    let mut body = Vec::new();
    loop {
        let part = exchange.next()?;
        let headers = match part.content {
            Content::Data(data) => {
                body.extend_from_slice(&data);
                if body.len() > MAX_ANSWER {
                    return Err(RpcError::internal("grpc: received message larger than max"));
                }
                if part.is_last {
                    return Err(RpcError::internal(
                        "server closed the stream without sending trailers",
                    ));
                }
                continue;
            }
            Content::Headers(headers) => headers,
        };
        match value(&headers, ":status").and_then(|code| code.parse::<u16>().ok()) {
            Some(100..200) if !part.is_last => continue,
            None | Some(200) => {}
            Some(code) => return Err(from_http(code)),
        }
        if !part.is_last {
            continue;
        }
        let code = value(&headers, "grpc-status").and_then(|code| code.parse().ok());
        return match code {
            Some(0) => Ok(body),
            Some(code) => Err(RpcError {
                code,
                message: value(&headers, "grpc-message")
                    .map(|message| percent_decoded(&message))
                    .unwrap_or_default(),
            }),
            None => Err(RpcError::internal("malformed header: missing grpc-status")),
        };
    }
}

fn value(headers: &[hpack::Header], name: &str) -> Option<String> {
    let (_, value) = headers
        .iter()
        .find(|(one, _)| one.as_slice() == name.as_bytes())?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// What an HTTP status means to gRPC (its doc/http-grpc-status-mapping.md).
fn from_http(status: u16) -> RpcError {
    let code = match status {
        400 => INTERNAL,
        401 => 16,
        403 => 7,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => 2,
    };
    RpcError {
        code,
        message: format!("unexpected HTTP status code received from server: {status}"),
    }
}

/// `grpc-message` is escaped like a URL.
fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| !digits.starts_with('+'));
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
        } else {
            bytes.push(b'%');
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status in a message of gRPC with a `HealthCheckResponse`, whose first field it is.
fn status(framed: &[u8]) -> Result<u64, RpcError> {
    let malformed = || RpcError::internal("grpc: failed to unmarshal the received message");
    let (head, message) = framed.split_first_chunk::<5>().ok_or_else(malformed)?;
    let [compressed, length @ ..] = *head;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| malformed())?;
    if compressed != 0 || message.len() != length {
        return Err(malformed());
    }
    let mut rest = message;
    let mut status = 0;
    while !rest.is_empty() {
        let key = varint(&mut rest).ok_or_else(malformed)?;
        let skipped = match key & 7 {
            0 => {
                let value = varint(&mut rest).ok_or_else(malformed)?;
                if key >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => varint(&mut rest).ok_or_else(malformed)?,
            5 => 4,
            _ => return Err(malformed()),
        };
        rest = usize::try_from(skipped)
            .ok()
            .and_then(|skipped| rest.get(skipped..))
            .ok_or_else(malformed)?;
    }
    Ok(status)
}

/// Seven bits a byte, the lowest first; ten bytes at most.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A number's name, or the number.
fn named(names: &[&str], number: u64) -> String {
    usize::try_from(number)
        .ok()
        .and_then(|at| names.get(at))
        .map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// As Go prints a `time.Duration`.
fn in_go_duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let fraction = milliseconds % 1000;
    if seconds == 0 && fraction > 0 {
        return format!("{fraction}ms");
    }
    let fraction = match fraction {
        0 => String::new(),
        fraction => format!(".{fraction:03}").trim_end_matches('0').to_owned(),
    };
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let seconds = seconds % 60;
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::super::tests::{accept_tls, frame, headers, serve};
    use super::*;
    use crate::stage::prober::ProbeVerdict;

    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;

    fn settings() -> Vec<u8> {
        frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])
    }

    /// An answer with a status of health.
    fn healthy(status: u8) -> Vec<u8> {
        [
            headers(END_HEADERS, &[(":status", "200")]),
            frame(0, 0, 1, &[0, 0, 0, 0, 2, 8, status]),
            headers(END_HEADERS | END_STREAM, &[("grpc-status", "0")]),
        ]
        .concat()
    }

    /// A request's frames: kind and payload.
    fn request_of(stream: &mut impl Read) -> Vec<(u8, Vec<u8>)> {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut frames = Vec::new();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).unwrap();
            let length = u16::from_be_bytes([head[1], head[2]]);
            let mut payload = vec![0; length.into()];
            stream.read_exact(&mut payload).unwrap();
            frames.push((head[3], payload));
            if head[3] == 0 && head[4] & END_STREAM != 0 {
                return frames;
            }
        }
    }

    fn answering(answer: Vec<u8>) -> u16 {
        serve(move |mut stream| {
            request_of(&mut stream);
            stream.write_all(&answer).unwrap();
            io::copy(&mut stream, &mut io::sink()).ok();
        })
    }

    fn check(port: u16, service: &str, tls: bool, timeout_ms: u64) -> Verdict {
        let check = Check {
            host: "127.0.0.1",
            port,
            service,
            tls,
            timeout_ms: Some(timeout_ms),
        };
        probe(check, Deadline::after(Some(timeout_ms)))
    }

    fn answered(answer: &[Vec<u8>]) -> Verdict {
        let answer = [&[settings()], answer].concat().concat();
        check(answering(answer), "", false, 60_000)
    }

    #[test]
    fn a_request_is_the_kubelets() {
        let (sender, receiver) = mpsc::channel();
        let port = serve(move |mut stream| {
            sender.send(request_of(&mut stream)).unwrap();
            stream.write_all(&settings()).unwrap();
            stream.write_all(&healthy(1)).unwrap();
            io::copy(&mut stream, &mut io::sink()).unwrap();
        });
        let service = "s".repeat(200);
        assert_eq!(check(port, &service, false, 60_000), Verdict::success());
        let frames = receiver.recv().unwrap();
        let kinds: Vec<u8> = frames.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [4, 1, 0]);
        let fields: Vec<(String, String)> = hpack::decode(&frames[1].1)
            .unwrap()
            .into_iter()
            .map(|(name, value)| {
                (
                    String::from_utf8(name).unwrap(),
                    String::from_utf8(value).unwrap(),
                )
            })
            .collect();
        let authority = format!("127.0.0.1:{port}");
        let expected = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/grpc.health.v1.Health/Check"),
            (":authority", &authority),
            ("content-type", "application/grpc"),
            ("user-agent", "kube-probe/1.37"),
            ("te", "trailers"),
            ("grpc-timeout", "60000m"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields, expected);
        let body = [&[0, 0, 0, 0, 203, 0x0a, 200, 1], service.as_bytes()].concat();
        assert_eq!(frames[2].1, body);
    }

    #[test]
    fn the_status_of_the_service_decides() {
        assert_eq!(answered(&[healthy(1)]), Verdict::success());
        for (status, name) in [
            (0, "UNKNOWN"),
            (2, "NOT_SERVING"),
            (3, "SERVICE_UNKNOWN"),
            (9, "9"),
        ] {
            assert_eq!(
                answered(&[healthy(status)]),
                Verdict::failure(format!("service unhealthy (responded with \"{name}\")"))
            );
        }
        // A default value is not sent.
        let empty = [
            headers(END_HEADERS, &[(":status", "200")]),
            frame(0, 0, 1, &[0, 0, 0, 0, 0]),
            headers(END_HEADERS | END_STREAM, &[("grpc-status", "0")]),
        ];
        assert_eq!(
            answered(&empty),
            Verdict::failure("service unhealthy (responded with \"UNKNOWN\")")
        );
    }

    #[test]
    fn errors_are_told_in_the_kubelets_words() {
        let status = |code: &str, message: &str| {
            answered(&[headers(
                END_HEADERS | END_STREAM,
                &[
                    (":status", "200"),
                    ("grpc-status", code),
                    ("grpc-message", message),
                ],
            )])
        };
        assert_eq!(
            status("12", "unknown service%20grpc%"),
            Verdict::failure(
                "error: this server does not implement the grpc health protocol \
                 (grpc.health.v1.Health): unknown service grpc%"
            )
        );
        assert_eq!(
            status("5", "unknown service"),
            Verdict::failure(
                "error: health rpc probe failed: \
                 rpc error: code = NotFound desc = unknown service"
            )
        );
        assert_eq!(
            status("4", "late"),
            Verdict::failure("timeout: health rpc did not complete within 1m0s")
        );
        assert_eq!(
            answered(&[headers(END_HEADERS | END_STREAM, &[(":status", "503")])]),
            Verdict::failure(
                "error: health rpc probe failed: rpc error: code = Unavailable \
                 desc = unexpected HTTP status code received from server: 503"
            )
        );
        assert_eq!(
            answered(&[frame(3, 0, 1, &[0, 0, 0, 7])]),
            Verdict::failure(
                "error: health rpc probe failed: rpc error: code = Unavailable \
                 desc = stream terminated by RST_STREAM with error code: REFUSED_STREAM"
            )
        );
        let cut = serve(|mut stream| {
            request_of(&mut stream);
            stream.write_all(&settings()).unwrap();
            // The acknowledgement, so that nothing unread resets the connection.
            stream.read_exact(&mut [0; 9]).unwrap();
        });
        assert_eq!(
            check(cut, "", false, 60_000),
            Verdict::failure(
                "error: health rpc probe failed: rpc error: code = Unavailable \
                 desc = error reading from server: EOF"
            )
        );
    }

    #[test]
    fn what_comes_between_is_answered_or_ignored() {
        let split = {
            let mut block = Vec::new();
            hpack::put(&mut block, "grpc-status", "0");
            let (first, second) = block.split_at(5);
            // Padding and priority around the first half.
            let first = [&[2, 0, 0, 0, 0, 9], first, &[0, 0]].concat();
            [
                frame(1, END_STREAM | 0x8 | 0x20, 1, &first),
                frame(9, END_HEADERS, 1, second),
            ]
            .concat()
        };
        let answer = [
            settings(),
            frame(4, 1, 0, &[]),
            frame(8, 0, 0, &[0, 0, 1, 0]),
            frame(0xfa, 0, 3, b"unheard of"),
            headers(END_HEADERS, &[(":status", "103")]),
            headers(END_HEADERS, &[(":status", "200")]),
            frame(6, 0, 0, b"12345678"),
        ]
        .concat();
        let (sender, receiver) = mpsc::channel();
        let sender = Mutex::new(sender);
        let port = serve(move |mut stream| {
            request_of(&mut stream);
            stream.write_all(&answer).unwrap();
            let mut acknowledged = [0; 26];
            stream.read_exact(&mut acknowledged).unwrap();
            sender.lock().unwrap().send(acknowledged.to_vec()).unwrap();
            stream
                .write_all(&frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]))
                .unwrap();
            stream
                .write_all(&frame(0, 0x8, 1, &[1, 0, 0, 0, 0, 2, 8, 1, 0]))
                .unwrap();
            stream.write_all(&split).unwrap();
        });
        assert_eq!(check(port, "", false, 60_000), Verdict::success());
        let expected = [frame(4, 1, 0, &[]), frame(6, 1, 0, b"12345678")].concat();
        assert_eq!(receiver.recv().unwrap(), expected);
    }

    #[test]
    fn a_hostile_answer_is_a_failure() {
        for answer in [
            frame(1, END_HEADERS, 1, &[0xbe]),
            frame(1, 0x8 | END_HEADERS, 1, &[5, 0]),
            frame(9, END_HEADERS, 1, &[]),
            frame(5, END_HEADERS, 1, &[0, 0, 0, 2]),
            frame(7, 0, 0, &[0]),
            frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2]),
            frame(6, 0, 0, &[]),
            frame(3, 0, 1, &[]),
            vec![0xff; 9],
            headers(END_HEADERS | END_STREAM, &[(":status", "200")]),
            frame(0, END_STREAM, 1, &[]),
            [
                frame(0, 0, 1, &[0, 0xff, 0xff, 0xff, 0xff]),
                headers(END_HEADERS | END_STREAM, &[("grpc-status", "0")]),
            ]
            .concat(),
            [
                frame(0, 0, 1, &[0, 0, 0, 0, 3, 0x0a, 0xff, 1]),
                headers(END_HEADERS | END_STREAM, &[("grpc-status", "0")]),
            ]
            .concat(),
        ] {
            let verdict = answered(std::slice::from_ref(&answer));
            assert_eq!(verdict.result, ProbeVerdict::Failure, "{answer:?}");
            assert!(
                verdict.output.starts_with("error: health rpc probe failed"),
                "{verdict:?}"
            );
        }
        let forever = |start: Vec<u8>, more: Vec<u8>| {
            let port = serve(move |mut stream| {
                request_of(&mut stream);
                let mut sent = stream.write_all(&[settings(), start.clone()].concat());
                while sent.is_ok() {
                    sent = stream.write_all(&more);
                }
            });
            check(port, "", false, 60_000).result
        };
        let nothing = Vec::new;
        assert_eq!(forever(nothing(), settings()), ProbeVerdict::Failure);
        assert_eq!(
            forever(nothing(), frame(6, 0, 0, &[0; 8])),
            ProbeVerdict::Failure
        );
        assert_eq!(
            forever(nothing(), frame(0, 0, 1, &[0; 9000])),
            ProbeVerdict::Failure
        );
        assert_eq!(
            forever(frame(1, 0, 1, &[]), frame(9, 0, 1, &[0; 9000])),
            ProbeVerdict::Failure
        );
    }

    #[test]
    fn a_server_that_is_not_there_or_silent_is_a_time_out() {
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        assert_eq!(
            check(closed, "", false, 1000),
            Verdict::failure(format!(
                "timeout: failed to connect service \"127.0.0.1:{closed}\" within 1s: \
                 dial tcp 127.0.0.1:{closed}: connect: connection refused"
            ))
        );
        let silent = serve(|mut stream| {
            io::copy(&mut stream, &mut io::sink()).ok();
        });
        assert_eq!(
            check(silent, "", false, 50),
            Verdict::failure(format!(
                "timeout: failed to connect service \"127.0.0.1:{silent}\" within 50ms: \
                 context deadline exceeded"
            ))
        );
        assert_eq!(
            check(answering(settings()), "", false, 1000),
            Verdict::failure("timeout: health rpc did not complete within 1s")
        );
    }

    #[test]
    fn a_server_that_starts_late_is_tried_again() {
        let tries = Mutex::new(0);
        let port = serve(move |mut stream| {
            let mut tries = tries.lock().unwrap();
            *tries += 1;
            if *tries == 1 {
                return;
            }
            request_of(&mut stream);
            stream.write_all(&settings()).unwrap();
            stream.write_all(&healthy(1)).unwrap();
            io::copy(&mut stream, &mut io::sink()).unwrap();
        });
        assert_eq!(check(port, "", false, 60_000), Verdict::success());
    }

    #[test]
    fn tls_takes_any_certificate_and_asks_for_http2() {
        let port = serve(|stream| {
            let mut stream = accept_tls(stream, &[b"h2"]);
            request_of(&mut stream);
            assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
            stream.write_all(&settings()).unwrap();
            stream.write_all(&healthy(1)).unwrap();
            io::copy(&mut stream, &mut io::sink()).unwrap();
        });
        assert_eq!(check(port, "a", true, 60_000), Verdict::success());
    }

    #[test]
    fn durations_are_gos() {
        for (milliseconds, text) in [
            (0, "0s"),
            (50, "50ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (60_000, "1m0s"),
            (90_250, "1m30.25s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(in_go_duration(milliseconds), text);
        }
    }
}
