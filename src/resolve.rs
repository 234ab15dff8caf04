//! Host names without the C library's resolver, which a static binary must not use: literals,
//! `/etc/hosts`, then a question to the servers of `/etc/resolv.conf`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long one server may take, and how often all are asked (resolv.conf(5)).
const TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 2;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// All addresses of a name, IPv4 first; the servers get no longer than until the deadline.
///
/// # Errors
/// `NotFound` when there is no such name, `TimedOut` when no server has answered in time, and as
/// the sockets say.
pub fn resolve(host: &str, deadline: Option<Instant>) -> io::Result<Vec<IpAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Ok(vec![address]);
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let known = in_hosts(&hosts, host);
    if !known.is_empty() {
        return Ok(known);
    }
    // RFC 6761: whatever the files say.
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let config = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers: Vec<IpAddr> = config
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no name server is configured");
    for _ in 0..ATTEMPTS {
        for server in &servers {
            let server = SocketAddr::new(*server, 53);
            match ask(server, host, TYPE_A, deadline) {
                Ok(mut addresses) => {
                    addresses.extend(ask(server, host, TYPE_AAAA, deadline).unwrap_or_default());
                    if addresses.is_empty() {
                        return Err(io::Error::new(io::ErrorKind::NotFound, "no such host"));
                    }
                    return Ok(addresses);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

fn in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    hosts
        .lines()
        .filter_map(|line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|word| word.eq_ignore_ascii_case(name))
                .then_some(address)
        })
        .collect()
}

/// What one server may still take.
fn limit(deadline: Option<Instant>) -> io::Result<Duration> {
    let Some(deadline) = deadline else {
        return Ok(TIMEOUT);
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left.min(TIMEOUT))
}

fn ask(
    server: SocketAddr,
    name: &str,
    kind: u16,
    deadline: Option<Instant>,
) -> io::Result<Vec<IpAddr>> {
    let id = random_id()?;
    let question = question(id, name, kind)?;
    let unspecified: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(unspecified)?;
    socket.set_read_timeout(Some(limit(deadline)?))?;
    // Only this server's answers arrive at a connected socket.
    socket.connect(server)?;
    socket.send(&question)?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer)?;
    let answer = buffer.get(..length).unwrap_or_default();
    let is_cut = answer.get(2).is_some_and(|flags| flags & 0x02 != 0);
    if !is_cut {
        return parse(answer, id, kind);
    }
    let mut stream = TcpStream::connect_timeout(&server, limit(deadline)?)?;
    stream.set_read_timeout(Some(limit(deadline)?))?;
    let size = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&size.to_be_bytes())?;
    stream.write_all(&question)?;
    let mut size = [0; 2];
    stream.read_exact(&mut size)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(size))];
    stream.read_exact(&mut answer)?;
    parse(&answer, id, kind)
}

fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

/// A question with recursion desired (RFC 1035, 4.1).
fn question(id: u16, name: &str, kind: u16) -> io::Result<Vec<u8>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "not a host name");
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|l| (1..=63).contains(l));
        message.push(length.ok_or_else(bad)?);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    if message.len() > 12 + 255 {
        return Err(bad());
    }
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    Ok(message)
}

/// The addresses in an answer.
fn parse(answer: &[u8], id: u16, kind: u16) -> io::Result<Vec<IpAddr>> {
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the name server's answer is malformed",
        )
    };
    let word = |at: usize| -> Option<u16> {
        let bytes = answer.get(at..at.checked_add(2)?)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    };
    let flags = word(2).ok_or_else(bad)?;
    if word(0) != Some(id) || flags & 0x8000 == 0 {
        return Err(bad());
    }
    match flags & 0x000f {
        0 => {}
        3 => return Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
        _ => return Err(io::Error::other("the name server cannot answer")),
    }
    let mut at = 12;
    for _ in 0..word(4).ok_or_else(bad)? {
        at = skip_name(answer, at).ok_or_else(bad)?.saturating_add(4);
    }
    let mut addresses = Vec::new();
    for _ in 0..word(6).ok_or_else(bad)? {
        at = skip_name(answer, at).ok_or_else(bad)?;
        let found = word(at).ok_or_else(bad)?;
        let length = usize::from(word(at.saturating_add(8)).ok_or_else(bad)?);
        let start = at.saturating_add(10);
        let data = answer
            .get(start..start.saturating_add(length))
            .ok_or_else(bad)?;
        if found == kind {
            if let Ok(octets) = <[u8; 4]>::try_from(data) {
                addresses.push(IpAddr::from(octets));
            } else if let Ok(octets) = <[u8; 16]>::try_from(data) {
                addresses.push(IpAddr::from(octets));
            }
        }
        at = start.saturating_add(length);
    }
    Ok(addresses)
}

/// Past a name; one that is compressed ends with its pointer.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return at.checked_add(1),
            0xc0..=0xff => return at.checked_add(2),
            _ => at = at.checked_add(usize::from(length))?.checked_add(1)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_hosts_need_no_server() {
        assert_eq!(
            resolve("127.0.0.1", None).unwrap(),
            [IpAddr::from([127, 0, 0, 1])]
        );
        assert_eq!(
            resolve("[::1]", None).unwrap(),
            ["::1".parse::<IpAddr>().unwrap()]
        );
        assert!(!resolve("localhost", None).unwrap().is_empty());
        assert_eq!(
            in_hosts("1.2.3.4 a b # c\n", "B"),
            [IpAddr::from([1, 2, 3, 4])]
        );
        assert!(in_hosts("1.2.3.4 a b # c\n", "c").is_empty());
    }

    #[test]
    fn an_answer_is_read_and_a_forged_or_torn_one_is_not() {
        let mut answer = question(7, "a.b", TYPE_A).unwrap();
        answer[2] = 0x81;
        answer[3] = 0x80;
        answer[7] = 1;
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 9, 8, 7, 6]);
        assert_eq!(
            parse(&answer, 7, TYPE_A).unwrap(),
            [IpAddr::from([9, 8, 7, 6])]
        );
        assert!(parse(&answer, 8, TYPE_A).is_err());
        for length in 0..answer.len() {
            assert!(parse(&answer[..length], 7, TYPE_A).is_err(), "{length}");
        }
        answer[3] = 0x83;
        assert_eq!(
            parse(&answer, 7, TYPE_A).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
