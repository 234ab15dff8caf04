//! Against servers on this machine's loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, mpsc};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::plan::HttpGet;

/// A limit that no test reaches which does not mean to.
const LONG: Option<u64> = Some(60_000);

/// A server that deals with each connection in a thread; its port.
pub(super) fn serve(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = Arc::new(handle);
    thread::Builder::new()
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let handle = Arc::clone(&handle);
                thread::Builder::new()
                    .spawn(move || handle(stream))
                    .unwrap();
            }
        })
        .unwrap();
    port
}

/// A connection's first flight of TLS done, with a certificate that is self-signed, expired and
/// somebody else's.
pub(super) fn accept_tls(
    stream: TcpStream,
    protocols: &[&[u8]],
) -> StreamOwned<ServerConnection, TcpStream> {
    let certificate =
        CertificateDer::from_pem_slice(include_bytes!("fixtures/certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("fixtures/key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
    StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream)
}

/// The head of a request.
fn head(stream: &mut impl Read) -> String {
    let mut lines = String::new();
    let mut reader = BufReader::new(stream);
    while !lines.ends_with("\r\n\r\n") && reader.read_line(&mut lines).unwrap_or(0) > 0 {}
    lines
}

/// A frame of HTTP/2.
pub(super) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![0, length[0], length[1], kind, flags, 0, 0, 0, stream];
    out.extend_from_slice(payload);
    out
}

/// The headers of the only stream.
pub(super) fn headers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        hpack::put(&mut block, name, value);
    }
    frame(1, flags, 1, &block)
}

/// A server that reads a request and answers the same to each.
fn answering(answer: &'static str) -> u16 {
    serve(move |mut stream| {
        head(&mut stream);
        stream.write_all(answer.as_bytes()).ok();
    })
}

pub(super) fn get(port: u16, path: &str) -> HttpGet {
    HttpGet {
        host: "127.0.0.1".to_owned(),
        port,
        path: path.to_owned(),
        tls: false,
        http2: false,
        headers: Vec::new(),
    }
}

fn probe_within(get: HttpGet, timeout_ms: Option<u64>) -> Verdict {
    perform(&ProbeRequest {
        id: 1,
        handler: Handler::HttpGet(get),
        timeout_ms,
        is_hook: false,
    })
}

pub(super) fn probe(get: HttpGet) -> Verdict {
    probe_within(get, LONG)
}

fn hook(get: HttpGet) -> Verdict {
    perform(&ProbeRequest {
        id: 1,
        handler: Handler::HttpGet(get),
        timeout_ms: None,
        is_hook: true,
    })
}

/// A port that nothing listens on.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What a server has been asked.
fn heard(headers: &[(&str, &str)], is_hook: bool) -> String {
    let (sender, receiver) = mpsc::channel();
    let port = serve(move |mut stream| {
        sender.send(head(&mut stream)).unwrap();
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap();
    });
    let get = HttpGet {
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..get(port, "/a?b")
    };
    let verdict = if is_hook { hook(get) } else { probe(get) };
    assert_eq!(verdict, Verdict::success());
    receiver
        .recv()
        .unwrap()
        .to_ascii_lowercase()
        .replace(&port.to_string(), "PORT")
}

#[test]
fn a_request_is_the_kubelets() {
    let request = heard(&[], false);
    assert!(request.starts_with("get /a?b http/1.1\r\n"), "{request}");
    let mut lines: Vec<&str> = request.trim_end().split("\r\n").skip(1).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept: */*",
            "connection: close",
            "host: 127.0.0.1:PORT",
            "user-agent: kube-probe/1.37",
        ]
    );
    assert!(heard(&[], true).contains("user-agent: kube-lifecycle/1.37\r\n"));
}

#[test]
fn headers_override_the_defaults_and_empty_ones_remove_them() {
    let request = heard(
        &[
            ("Host", "example.com"),
            ("User-Agent", "me"),
            ("accept", ""),
            ("X-Empty", ""),
            ("X-Two", "1"),
            ("X-Two", "2"),
            ("Content-Length", "7"),
        ],
        false,
    );
    let mut lines: Vec<&str> = request.trim_end().split("\r\n").skip(1).collect();
    lines.sort_unstable();
    assert_eq!(
        lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>(),
        [
            "connection: close",
            "host: example.com",
            "user-agent: me",
            "x-empty:",
            "x-two: 1",
            "x-two: 2",
        ]
    );
}

#[test]
fn a_status_decides() {
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Verdict::success(),
        ),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", Verdict::success()),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Verdict::success(),
        ),
        (
            "HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\nsecret",
            Verdict::failure("HTTP probe failed with statuscode: 500"),
        ),
        (
            "HTTP/1.1 404 Not Found\r\n\r\n",
            Verdict::failure("HTTP probe failed with statuscode: 404"),
        ),
        (
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            Verdict::warning("Probe terminated redirects"),
        ),
        (
            "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
            Verdict::warning("Probe terminated redirects"),
        ),
    ] {
        assert_eq!(probe(get(answering(answer), "/")), expected, "{answer}");
        assert_eq!(hook(get(answering(answer), "/")), Verdict::success());
    }
}

#[test]
fn a_head_may_be_long() {
    let port = serve(|mut stream| {
        assert!(head(&mut stream).len() > 60_000);
        let filler = "f".repeat(60_000);
        let answer = format!("HTTP/1.1 200 OK\r\nX-Filler: {filler}\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let get = HttpGet {
        headers: vec![("X-Long".to_owned(), "l".repeat(60_000))],
        ..get(port, "/")
    };
    assert_eq!(probe(get), Verdict::success());
}

#[test]
fn redirects_are_followed_on_the_same_host_only() {
    let port = serve(|mut stream| {
        let request = head(&mut stream);
        let answer = if request.starts_with("GET /start ") {
            "HTTP/1.1 302 Found\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n"
        } else if request.starts_with("GET /end ") {
            "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
        } else if request.starts_with("GET /away ") {
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2/\r\nContent-Length: 2\r\n\r\nno"
        } else {
            "HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n"
        };
        stream.write_all(answer.as_bytes()).unwrap();
    });
    assert_eq!(
        probe(get(port, "/start")),
        Verdict::failure("HTTP probe failed with statuscode: 503")
    );
    assert_eq!(
        probe(get(port, "/away")),
        Verdict::warning("Probe terminated redirects")
    );
    assert_eq!(hook(get(port, "/away")), Verdict::success());
    assert_eq!(
        probe(get(port, "/loop")),
        Verdict::failure(format!(
            "Get \"http://127.0.0.1:{port}/loop\": stopped after 10 redirects"
        ))
    );
}

#[test]
fn a_server_that_is_slow_fails_with_its_head_and_says_nothing_with_its_body() {
    let silent = serve(|mut stream| {
        head(&mut stream);
        io::copy(&mut stream, &mut io::sink()).ok();
    });
    assert_eq!(
        probe_within(get(silent, "/"), Some(50)),
        Verdict::failure(format!(
            "Get \"http://127.0.0.1:{silent}/\": context deadline exceeded \
             (Client.Timeout exceeded while awaiting headers)"
        ))
    );
    let stuck = serve(|mut stream| {
        head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
            .unwrap();
        io::copy(&mut stream, &mut io::sink()).ok();
    });
    assert_eq!(
        probe_within(get(stuck, "/"), Some(1000)),
        Verdict::unknown(
            "context deadline exceeded \
             (Client.Timeout or context cancellation while reading body)"
        )
    );
}

#[test]
fn transport_errors_read_as_gos() {
    let closed = closed_port();
    assert_eq!(
        probe(get(closed, "/healthz")),
        Verdict::failure(format!(
            "Get \"http://127.0.0.1:{closed}/healthz\": \
             dial tcp 127.0.0.1:{closed}: connect: connection refused"
        ))
    );
    assert_eq!(hook(get(closed, "/")).result, ProbeVerdict::Failure);
    let port = answering("");
    assert_eq!(
        probe(get(port, "/")),
        Verdict::failure(format!("Get \"http://127.0.0.1:{port}/\": EOF"))
    );
    let port = answering("SSH-2.0-OpenSSH\r\n");
    let garbage = probe(get(port, "/"));
    assert_eq!(garbage.result, ProbeVerdict::Failure);
    assert!(
        garbage
            .output
            .contains("net/http: HTTP/1.x transport connection broken"),
        "{garbage:?}"
    );
    // Closed with a request unread, which resets the connection.
    let port = serve(drop);
    let output = probe(get(port, "/")).output;
    assert!(
        output.ends_with("read: connection reset by peer")
            || output.ends_with("write: broken pipe")
            || output.ends_with(": EOF"),
        "{output}"
    );
}

#[test]
fn what_a_server_sends_without_end_is_not_read_to_its_end() {
    fn forever(stream: &mut TcpStream, start: &str, more: &str) {
        head(stream);
        let more = more.repeat(1024);
        let mut sent = stream.write_all(start.as_bytes());
        while sent.is_ok() {
            sent = stream.write_all(more.as_bytes());
        }
    }
    let body = serve(|mut stream| forever(&mut stream, "HTTP/1.1 200 OK\r\n\r\n", "x"));
    assert_eq!(probe(get(body, "/")), Verdict::success());
    let headers = serve(|mut stream| forever(&mut stream, "HTTP/1.1 200 OK\r\n", "x: y\r\n"));
    assert_eq!(hook(get(headers, "/")).result, ProbeVerdict::Failure);
    let line = serve(|mut stream| forever(&mut stream, "HTTP/1.1 200 OK\r\nx: ", "x"));
    assert_eq!(hook(get(line, "/")).result, ProbeVerdict::Failure);
    let continues = serve(|mut stream| forever(&mut stream, "", "HTTP/1.1 100 Continue\r\n\r\n"));
    assert_eq!(hook(get(continues, "/")).result, ProbeVerdict::Failure);
    let chunks = serve(|mut stream| {
        let start = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;";
        forever(&mut stream, start, "x");
    });
    assert_eq!(probe(get(chunks, "/")).result, ProbeVerdict::Unknown);
}

#[test]
fn any_certificate_will_do() {
    let port = serve(|stream| {
        let mut stream = accept_tls(stream, &[]);
        head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        // The probe says goodbye too.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    });
    for host in ["127.0.0.1", "localhost"] {
        let get = HttpGet {
            tls: true,
            host: host.to_owned(),
            ..get(port, "/")
        };
        assert_eq!(probe(get), Verdict::success());
    }
}

#[test]
fn a_hook_in_tls_that_is_answered_in_plain_http_is_made_again_without_tls() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let server_requests = Arc::clone(&requests);
    let port = serve(move |mut stream| {
        let mut first = [0];
        stream.peek(&mut first).unwrap();
        if first == *b"G" {
            let request = head(&mut stream).to_ascii_lowercase();
            server_requests.lock().unwrap().push(request);
        } else {
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        }
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let get = HttpGet {
        tls: true,
        headers: vec![
            ("Authorization".to_owned(), "secret".to_owned()),
            ("X-Kept".to_owned(), "1".to_owned()),
        ],
        ..get(port, "/")
    };
    assert_eq!(
        probe(get.clone()),
        Verdict::failure(format!(
            "Get \"https://127.0.0.1:{port}/\": http: server gave HTTP response to HTTPS client"
        ))
    );
    assert_eq!(
        hook(get),
        Verdict::warning(
            "request to HTTPS lifecycle hook got HTTP response, retry with HTTP succeeded"
        )
    );
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].contains("x-kept: 1"), "{requests:?}");
    assert!(!requests[0].contains("authorization"), "{requests:?}");
}

fn tcp_probe(port: u16) -> Verdict {
    perform(&ProbeRequest {
        id: 1,
        handler: Handler::TcpSocket {
            host: "127.0.0.1".to_owned(),
            port,
        },
        timeout_ms: LONG,
        is_hook: false,
    })
}

#[test]
fn a_connection_is_enough_for_tcp() {
    assert_eq!(tcp_probe(serve(drop)), Verdict::success());
    let closed = closed_port();
    assert_eq!(
        tcp_probe(closed),
        Verdict::failure(format!(
            "dial tcp 127.0.0.1:{closed}: connect: connection refused"
        ))
    );
}

/// A prober in a thread: its socket, and its lifeline's other end.
fn running() -> (OwnedFd, OwnedFd, thread::JoinHandle<io::Result<()>>) {
    let (ours, theirs) = seqpacket::pair().unwrap();
    let (lifeline, held) = rustix::pipe::pipe().unwrap();
    let prober = thread::Builder::new()
        .spawn(move || run(theirs, lifeline.as_fd()))
        .unwrap();
    (ours, held, prober)
}

fn send(socket: &OwnedFd, request: &ProbeRequest) {
    let bytes = wire::encode(request).unwrap();
    seqpacket::send(socket, &bytes, &[], SendFlags::empty()).unwrap();
}

fn receive(socket: &OwnedFd) -> ProbeReply {
    let mut buffer = vec![0; seqpacket::MAX_MESSAGE];
    let (length, _) = seqpacket::receive(socket, &mut buffer, RecvFlags::empty()).unwrap();
    wire::decode(&buffer[..length]).unwrap()
}

#[test]
fn requests_are_answered_beside_each_other_until_the_socket_ends() {
    let (socket, _held, prober) = running();
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let port = serve(move |mut stream| {
        if head(&mut stream).starts_with("GET /slow ") {
            gate.lock().unwrap().recv().ok();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    });
    let request = |id, path: &str| ProbeRequest {
        id,
        handler: Handler::HttpGet(get(port, path)),
        timeout_ms: LONG,
        is_hook: false,
    };
    send(&socket, &request(1, "/slow"));
    for id in 2..300 {
        send(&socket, &request(id, "/"));
    }
    let mut answered: Vec<u64> = (2..300).map(|_| receive(&socket).id).collect();
    answered.sort_unstable();
    assert_eq!(answered, (2..300).collect::<Vec<_>>());
    release.send(()).unwrap();
    assert_eq!(
        receive(&socket),
        ProbeReply {
            id: 1,
            verdict: ProbeVerdict::Success,
            output: String::new(),
        }
    );
    drop(socket);
    prober.join().unwrap().unwrap();
}

#[test]
fn the_end_of_the_lifeline_ends_the_prober() {
    let (socket, held, prober) = running();
    drop(held);
    prober.join().unwrap().unwrap();
    drop(socket);
}

#[test]
fn a_long_failure_text_is_cut_between_characters() {
    let (socket, _held, _prober) = running();
    let request = ProbeRequest {
        id: 7,
        handler: Handler::TcpSocket {
            host: "\u{e9}".repeat(MAX_PROBE_OUTPUT),
            port: 1,
        },
        timeout_ms: LONG,
        is_hook: false,
    };
    send(&socket, &request);
    let reply = receive(&socket);
    assert_eq!(reply.verdict, ProbeVerdict::Failure);
    assert!(reply.output.len() <= MAX_PROBE_OUTPUT);
    assert!(
        reply.output.starts_with("dial tcp: lookup \u{e9}"),
        "{reply:?}"
    );
}
