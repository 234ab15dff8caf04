//! A connection to a server that may be hostile: every wait ends at the deadline, what is received
//! is bounded, and errors read as those of Go's `net` do, which users know from the kubelet.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::resolve;

/// The most bytes one exchange receives: headers, certificates and the part of the body that is
/// read fit in it many times over, and no server can keep a processor busy.
const MAX_RECEIVED: usize = 512 * 1024;

/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// When an exchange must have ended. Its passing, and nothing else, is an error of the kind
/// `TimedOut`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// So many milliseconds from now; never without a number.
    pub(super) fn after(milliseconds: Option<u64>) -> Self {
        Self(
            milliseconds.and_then(|limit| Instant::now().checked_add(Duration::from_millis(limit))),
        )
    }

    /// What is left; none without a limit.
    pub(super) fn remaining(self) -> io::Result<Option<Duration>> {
        let Some(at) = self.0 else {
            return Ok(None);
        };
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out());
        }
        Ok(Some(left))
    }
}

fn timed_out() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "i/o timeout")
}

/// A host as it stands in an address with a port; `net.JoinHostPort`.
pub(super) fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The addresses of a host.
pub(super) fn addresses(host: &str, port: u16, deadline: Deadline) -> io::Result<Vec<SocketAddr>> {
    let found = resolve::resolve(host, deadline.0).map_err(|error| match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => io::Error::new(
            ErrorKind::TimedOut,
            format!("dial tcp: lookup {host}: i/o timeout"),
        ),
        kind => io::Error::new(
            kind,
            format!("dial tcp: lookup {host}: {}", in_go_words(&error)),
        ),
    })?;
    Ok(found
        .into_iter()
        .take(MAX_ADDRESSES)
        .map(|address| SocketAddr::new(address, port))
        .collect())
}

/// Connects to the first address that accepts. Each gets its part of the time that is left, as
/// with Go's `partialDeadline`.
pub(super) fn dial(
    addresses: &[SocketAddr],
    deadline: Deadline,
) -> io::Result<(TcpStream, SocketAddr)> {
    let mut failed = io::Error::new(ErrorKind::NotFound, "dial tcp: missing address");
    let mut untried = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let connected = deadline.remaining().and_then(|left| match left {
            Some(left) => TcpStream::connect_timeout(address, left / untried.max(1)),
            None => TcpStream::connect(address),
        });
        untried = untried.saturating_sub(1);
        failed = match connected {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) if is_time_out(&error) => io::Error::new(
                ErrorKind::TimedOut,
                format!("dial tcp {address}: i/o timeout"),
            ),
            Err(error) => worded(&error, &format!("dial tcp {address}: connect")),
        };
    }
    Err(failed)
}

/// Whether it is a limit of ours that has passed, and not TCP's own patience (`ETIMEDOUT`).
fn is_time_out(error: &io::Error) -> bool {
    match error.kind() {
        ErrorKind::WouldBlock => true,
        ErrorKind::TimedOut => error.raw_os_error().is_none(),
        _ => false,
    }
}

/// The kernel's words as Go writes them: in lower case, without a number.
fn in_go_words(error: &io::Error) -> String {
    let text = error.to_string();
    let Some(number) = error.raw_os_error() else {
        return text;
    };
    let text = text.replace(&format!(" (os error {number})"), "");
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

/// An error with what was tried.
fn worded(error: &io::Error, what: &str) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::TimedOut => ErrorKind::Other,
        kind => kind,
    };
    io::Error::new(kind, format!("{what}: {}", in_go_words(error)))
}

/// A TCP connection with its deadline.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// The server's address, which the kernel forgets when the connection is reset.
    peer: SocketAddr,
    deadline: Deadline,
    received: usize,
    /// The first bytes the server has sent.
    start: Vec<u8>,
}

/// What an HTTP answer starts with; `tls.RecordHeaderError` is read the same way by `net/http`.
const HTTP_START: &[u8] = b"HTTP/";

impl Socket {
    fn error(&self, error: &io::Error, verb: &str) -> io::Error {
        if is_time_out(error) {
            return timed_out();
        }
        match self.stream.local_addr() {
            Ok(ours) => worded(error, &format!("{verb} tcp {ours}->{}: {verb}", self.peer)),
            Err(_) => worded(error, &format!("{verb} tcp {}: {verb}", self.peer)),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.received > MAX_RECEIVED {
            return Err(io::Error::other("the server sends too much"));
        }
        self.stream.set_read_timeout(self.deadline.remaining()?)?;
        let length = match self.stream.read(buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(self.error(&error, "read")),
        };
        self.received = self.received.saturating_add(length);
        let missing = HTTP_START.len().saturating_sub(self.start.len());
        let new = buffer.get(..length.min(missing)).unwrap_or_default();
        self.start.extend_from_slice(new);
        Ok(length)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.deadline.remaining()?)?;
        match self.stream.write(bytes) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                Err(self.error(&error, "write"))
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is spoken above TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// Nothing.
    Plain,
    /// TLS without a protocol negotiated, as for HTTP/1.1.
    Tls,
    /// TLS for HTTP/2 (RFC 9113, 3.2).
    TlsHttp2,
}

/// A connection, with TLS or without.
#[derive(Debug)]
pub(super) enum Connection {
    /// Without.
    Plain(Socket),
    /// With.
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Connection {
    /// Connects, and shakes hands where TLS is wanted.
    ///
    /// # Errors
    /// [`HttpAnswered`] inside of the error when the server does not speak TLS but HTTP.
    pub(super) fn open(
        host: &str,
        addresses: &[SocketAddr],
        security: Security,
        deadline: Deadline,
    ) -> io::Result<Self> {
        let (stream, peer) = dial(addresses, deadline)?;
        stream.set_nodelay(true)?;
        let mut socket = Socket {
            stream,
            peer,
            deadline,
            received: 0,
            start: Vec::new(),
        };
        if security == Security::Plain {
            return Ok(Self::Plain(socket));
        }
        // Names that are none of DNS get no SNI, like addresses.
        let name = ServerName::try_from(host.to_owned())
            .unwrap_or_else(|_| ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED)));
        let mut tls = ClientConnection::new(tls_config(security)?, name)
            .map_err(|error| io::Error::other(error.to_string()))?;
        while tls.is_handshaking() {
            match tls.complete_io(&mut socket) {
                Ok(_) => {}
                Err(error)
                    if error.kind() == ErrorKind::InvalidData && socket.start == HTTP_START =>
                {
                    return Err(io::Error::new(ErrorKind::InvalidData, HttpAnswered));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(tls, socket))))
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Drop for Connection {
    /// Says goodbye in TLS, without which a server logs a broken connection.
    fn drop(&mut self) {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            stream.flush().ok();
        }
    }
}

/// A server that was asked in TLS has answered in HTTP.
#[derive(Debug)]
pub(super) struct HttpAnswered;

impl fmt::Display for HttpAnswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("http: server gave HTTP response to HTTPS client")
    }
}

impl std::error::Error for HttpAnswered {}

/// Built when the first probe needs it.
fn tls_config(security: Security) -> io::Result<Arc<ClientConfig>> {
    static PLAIN: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    static HTTP2: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let place = match security {
        Security::TlsHttp2 => &HTTP2,
        Security::Plain | Security::Tls => &PLAIN,
    };
    if let Some(config) = place.get() {
        return Ok(Arc::clone(config));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    if security == Security::TlsHttp2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    Ok(Arc::clone(place.get_or_init(|| Arc::new(config))))
}

/// Probes do not verify servers (`InsecureSkipVerify` of pkg/probe/http): they carry no secret and
/// ask whether the server answers, not who it is.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    /// All that a server may have a key for; none of them is checked.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PKCS1_SHA1,
            SignatureScheme::ECDSA_SHA1_Legacy,
        ]
    }
}
