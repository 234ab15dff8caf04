//! The resolver between real clients and servers that stand for the host's, all on loopback
//! addresses. Its clock is the tests'.

use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Header, Message, MessageBuilder, Name};
use domain::rdata::A;
use rustix::event::{PollFd, PollFlags, poll};
use tempfile::TempDir;

use super::*;
use crate::net::names::tests::{query, zone};

/// How long anything may take on the real clock before a test has failed.
const LONG: Duration = Duration::from_secs(20);

struct Server {
    datagrams: Option<UdpSocket>,
    connections: Option<TcpListener>,
}

/// A resolver with a client and the host's servers.
struct Rig {
    resolver: Resolver,
    now: Instant,
    client: UdpSocket,
    streams: SocketAddr,
    servers: Vec<Server>,
    dir: TempDir,
}

fn loopback(last: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, last), port).into()
}

fn server_at(address: SocketAddr) -> io::Result<Server> {
    let datagrams = UdpSocket::bind(address)?;
    datagrams.set_nonblocking(true)?;
    let connections = TcpListener::bind(address)?;
    connections.set_nonblocking(true)?;
    Ok(Server {
        datagrams: Some(datagrams),
        connections: Some(connections),
    })
}

/// Servers at 127.0.0.2 and those after it, at one port that is free at all of them.
fn servers(count: u8) -> (Vec<Server>, u16) {
    loop {
        let free = UdpSocket::bind(loopback(2, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let servers: io::Result<Vec<Server>> = (0..count)
            .map(|number| server_at(loopback(2 + number, port)))
            .collect();
        match servers {
            Ok(servers) => return (servers, port),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Names the first servers in the resolv.conf.
fn write_servers(dir: &TempDir, addresses: impl IntoIterator<Item = u8>) {
    let mut lines = String::new();
    for last in addresses {
        writeln!(lines, "nameserver 127.0.0.{last}").unwrap();
    }
    let new = dir.path().join("new");
    let mut file = fs::File::create_new(&new).unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    fs::rename(new, dir.path().join("resolv.conf")).unwrap();
}

fn rig(count: u8) -> Rig {
    let (servers, port) = servers(count);
    let dir = TempDir::new().unwrap();
    write_servers(&dir, 2..2 + count);
    let host = HostServers::new(dir.path().join("resolv.conf"), port);
    let datagrams = UdpSocket::bind(loopback(1, 0)).unwrap();
    let connections = TcpListener::bind(loopback(1, 0)).unwrap();
    let client = UdpSocket::bind(loopback(1, 0)).unwrap();
    client.connect(datagrams.local_addr().unwrap()).unwrap();
    client.set_nonblocking(true).unwrap();
    let streams = connections.local_addr().unwrap();
    Rig {
        resolver: Resolver::new(datagrams, connections, host, zone()).unwrap(),
        now: Instant::now(),
        client,
        streams,
        servers,
        dir,
    }
}

/// What would block is not there yet.
fn there<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

impl Rig {
    /// Lets the resolver work until there is what is looked for.
    fn until<T>(&mut self, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + LONG;
        loop {
            self.resolver.ready(self.now).unwrap();
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < end, "nothing came");
            self.wait();
        }
    }

    /// Until a socket is ready: the resolver's set, or one that a test looks at.
    fn wait(&self) {
        let mut watched = vec![
            PollFd::new(&self.resolver, PollFlags::IN),
            PollFd::new(&self.client, PollFlags::IN),
        ];
        for server in &self.servers {
            let datagrams = server.datagrams.iter();
            watched.extend(datagrams.map(|one| PollFd::new(one, PollFlags::IN)));
            let connections = server.connections.iter();
            watched.extend(connections.map(|one| PollFd::new(one, PollFlags::IN)));
        }
        // What a test's own streams get is seen after a moment.
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 5_000_000,
        };
        poll(&mut watched, Some(&moment)).unwrap();
    }

    /// Nothing but what is at hand already happens before a server or client acts.
    fn settle(&mut self) {
        self.resolver.ready(self.now).unwrap();
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.settle();
    }

    fn send(&self, query: &[u8]) {
        self.client.send(query).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        self.until(|rig| {
            let mut buffer = [0; 4096];
            let length = there(rig.client.recv(&mut buffer))?;
            Some(buffer[..length].to_vec())
        })
    }

    /// Whether the client has got anything.
    fn is_silent(&mut self) -> bool {
        self.settle();
        there(self.client.recv(&mut [0; 4096])).is_none()
    }

    /// The next question that a server gets in a datagram, and from where.
    fn asked(&mut self, server: usize) -> (Vec<u8>, SocketAddr) {
        self.until(|rig| {
            let mut buffer = [0; 4096];
            let socket = rig.servers[server].datagrams.as_ref().unwrap();
            let (length, from) = there(socket.recv_from(&mut buffer))?;
            Some((buffer[..length].to_vec(), from))
        })
    }

    fn was_asked(&mut self, server: usize) -> bool {
        self.settle();
        let socket = self.servers[server].datagrams.as_ref().unwrap();
        there(socket.recv_from(&mut [0; 4096])).is_some()
    }

    fn tell(&self, server: usize, answer: &[u8], to: SocketAddr) {
        let socket = self.servers[server].datagrams.as_ref().unwrap();
        socket.send_to(answer, to).unwrap();
    }

    /// The next stream of the resolver to a server.
    fn accepted(&mut self, server: usize) -> TcpStream {
        let stream = self.until(|rig| {
            let listener = rig.servers[server].connections.as_ref().unwrap();
            there(listener.accept()).map(|(stream, _)| stream)
        });
        stream.set_nonblocking(true).unwrap();
        stream
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.streams).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// The next message in a stream.
    fn read(&mut self, stream: &mut TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.until(|_| {
            loop {
                let missing = match bytes.first_chunk::<2>() {
                    Some(length) => 2 + usize::from(u16::from_be_bytes(*length)) - bytes.len(),
                    None => 2 - bytes.len(),
                };
                if missing == 0 && bytes.len() > 2 {
                    return Some(());
                }
                let mut chunk = vec![0; missing];
                let length = there(stream.read(&mut chunk))?;
                assert_ne!(length, 0, "the stream has ended");
                bytes.extend_from_slice(&chunk[..length]);
            }
        });
        bytes.split_off(2)
    }

    /// Until a stream has been closed by the resolver.
    fn closed(&mut self, stream: &mut TcpStream) {
        self.until(|_| match stream.read(&mut [0; 16]) {
            Ok(0) => Some(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(()),
            other => {
                assert!(there(other).is_none(), "more has come");
                None
            }
        });
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes(), message].concat()
}

/// An answer with this many addresses.
fn answer_to(question: &[u8], code: Rcode, addresses: u8) -> Vec<u8> {
    let question = Message::from_octets(question).unwrap();
    let name: Name<Vec<u8>> =
        domain::base::ToName::to_name(question.sole_question().unwrap().qname());
    let mut answer = MessageBuilder::new_vec()
        .start_answer(&question, code)
        .unwrap();
    for last in 0..addresses {
        answer
            .push((&name, 60, A::from_octets(192, 0, 2, last)))
            .unwrap();
    }
    answer.finish()
}

fn cut(mut answer: Vec<u8>) -> Vec<u8> {
    Header::for_message_slice_mut(&mut answer).set_tc(true);
    answer
}

fn id(message: &[u8]) -> u16 {
    Header::for_message_slice(message).id()
}

fn code(message: &[u8]) -> Rcode {
    Header::for_message_slice(message).rcode()
}

fn is_cut(message: &[u8]) -> bool {
    Header::for_message_slice(message).tc()
}

fn count(message: &[u8]) -> u16 {
    Message::from_octets(message)
        .unwrap()
        .header_counts()
        .ancount()
}

#[test]
fn names_of_the_zone_are_answered_in_datagrams_and_streams() {
    let mut rig = rig(1);
    let asked = query("web.default.svc.cluster.local", Rtype::A);
    rig.send(&asked);
    let reply = rig.receive();
    assert_eq!((count(&reply), id(&reply)), (1, 0x1234));
    let mut stream = rig.connect();
    stream.write_all(&framed(&asked)).unwrap();
    assert_eq!(rig.read(&mut stream), reply);
    assert!(!rig.was_asked(0));
    assert!(rig.resolver.pending.is_empty());
}

#[test]
fn a_new_zone_is_answered_from_at_once() {
    let mut rig = rig(1);
    let asked = query("web.default.svc.cluster.local", Rtype::A);
    rig.resolver.set_zone(Zone::default());
    rig.send(&asked);
    assert_eq!(code(&rig.receive()), Rcode::NXDOMAIN);
    rig.resolver.set_zone(zone());
    rig.send(&asked);
    assert_eq!(code(&rig.receive()), Rcode::NOERROR);
}

#[test]
fn other_names_are_asked_of_the_host_s_servers_from_ports_of_their_own() {
    let mut rig = rig(2);
    assert_eq!(rig.resolver.deadline(), None);
    rig.send(&query("one.example.com", Rtype::A));
    let (first, first_from) = rig.asked(0);
    rig.send(&query("two.example.com", Rtype::A));
    let (second, second_from) = rig.asked(0);
    assert_ne!(first_from, second_from);
    assert!(rig.resolver.deadline() > Some(rig.now));
    // In the other order than they were asked.
    rig.tell(0, &answer_to(&second, Rcode::NOERROR, 2), second_from);
    let reply = rig.receive();
    assert_eq!((count(&reply), id(&reply)), (2, 0x1234));
    rig.tell(0, &answer_to(&first, Rcode::NXDOMAIN, 0), first_from);
    let reply = rig.receive();
    assert_eq!((code(&reply), id(&reply)), (Rcode::NXDOMAIN, 0x1234));
    assert!(!rig.was_asked(1));
    assert!(rig.resolver.pending.is_empty() && rig.resolver.owners.is_empty());
    assert_eq!(rig.resolver.deadline(), None);
}

#[test]
fn identifiers_are_not_the_asker_s_and_differ() {
    let mut rig = rig(1);
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..8 {
        rig.send(&query("example.com", Rtype::A));
        ids.insert(id(&rig.asked(0).0));
    }
    // Eight random numbers of 16 bits: one pair alike in 2000 runs, and never three.
    assert!(ids.len() > 6, "{ids:?}");
}

#[test]
fn what_is_not_the_answer_is_ignored() {
    let mut rig = rig(2);
    rig.send(&query("example.com", Rtype::A));
    let (question, from) = rig.asked(0);
    let good = answer_to(&question, Rcode::NOERROR, 1);
    let mut wrong_id = good.clone();
    wrong_id[1] ^= 1;
    rig.tell(0, &wrong_id, from);
    let mut wrong_name = good.clone();
    wrong_name[14] ^= 1;
    rig.tell(0, &wrong_name, from);
    rig.tell(0, &question, from);
    rig.tell(0, b"", from);
    // All is right but who says it: another server, and the server from another port.
    let forged = answer_to(&question, Rcode::NOERROR, 9);
    rig.tell(1, &forged, from);
    let other_port = UdpSocket::bind(loopback(2, 0)).unwrap();
    other_port.send_to(&forged, from).unwrap();
    assert!(rig.is_silent());
    rig.tell(0, &good, from);
    assert_eq!(count(&rig.receive()), 1);
    assert!(rig.is_silent());
}

#[test]
fn silence_leads_to_the_next_server_and_a_late_answer_still_counts() {
    let mut rig = rig(3);
    rig.send(&query("example.com", Rtype::A));
    let (question, from) = rig.asked(0);
    rig.pass(1);
    assert!(!rig.was_asked(1));
    assert_eq!(
        rig.resolver.deadline(),
        Some(rig.now + Duration::from_secs(1))
    );
    rig.pass(1);
    let (second, second_from) = rig.asked(1);
    assert_ne!(second_from.port(), from.port());
    rig.tell(0, &answer_to(&question, Rcode::NOERROR, 3), from);
    assert_eq!(count(&rig.receive()), 3);
    // The other one's answer has nowhere to go.
    rig.tell(1, &answer_to(&second, Rcode::NOERROR, 1), second_from);
    assert!(rig.is_silent());
    assert!(rig.resolver.owners.is_empty());
}

#[test]
fn a_single_server_is_asked_again_as_datagrams_are_lost() {
    let mut rig = rig(1);
    rig.send(&query("example.com", Rtype::A));
    rig.asked(0);
    rig.pass(2);
    let (question, from) = rig.asked(0);
    rig.tell(0, &answer_to(&question, Rcode::NOERROR, 1), from);
    assert_eq!(count(&rig.receive()), 1);
}

#[test]
fn five_seconds_without_an_answer_are_a_failure() {
    let mut rig = rig(2);
    rig.send(&query("example.com", Rtype::A));
    rig.asked(0);
    for _ in 0..4 {
        rig.pass(1);
        assert!(rig.is_silent());
    }
    rig.pass(1);
    let reply = rig.receive();
    assert_eq!((code(&reply), id(&reply)), (Rcode::SERVFAIL, 0x1234));
    assert!(rig.resolver.pending.is_empty() && rig.resolver.owners.is_empty());
}

#[test]
fn a_server_that_is_not_there_is_passed_over_at_once() {
    let mut rig = rig(2);
    rig.servers[0].datagrams = None;
    rig.send(&query("example.com", Rtype::A));
    let (question, from) = rig.asked(1);
    rig.tell(1, &answer_to(&question, Rcode::NOERROR, 1), from);
    assert_eq!(count(&rig.receive()), 1);
    rig.servers[1].datagrams = None;
    rig.send(&query("example.com", Rtype::A));
    assert_eq!(code(&rig.receive()), Rcode::SERVFAIL);
}

#[test]
fn a_server_that_cannot_answer_is_followed_by_the_next_and_believed_if_it_is_the_last() {
    let mut rig = rig(2);
    rig.send(&query("example.com", Rtype::A));
    let (question, from) = rig.asked(0);
    rig.tell(0, &answer_to(&question, Rcode::SERVFAIL, 0), from);
    let (question, from) = rig.asked(1);
    assert!(rig.is_silent());
    rig.tell(1, &answer_to(&question, Rcode::REFUSED, 0), from);
    assert_eq!(code(&rig.receive()), Rcode::REFUSED);
    assert!(rig.resolver.owners.is_empty());
}

#[test]
fn a_cut_answer_is_asked_for_in_a_stream() {
    let mut rig = rig(2);
    rig.send(&query("example.com", Rtype::A));
    let (question, from) = rig.asked(0);
    rig.tell(0, &cut(answer_to(&question, Rcode::NOERROR, 1)), from);
    let mut stream = rig.accepted(0);
    let question = rig.read(&mut stream);
    let whole = framed(&answer_to(&question, Rcode::NOERROR, 5));
    // Torn, and behind a message that is not meant.
    let mut other = answer_to(&question, Rcode::NOERROR, 7);
    other[0] ^= 1;
    stream.write_all(&framed(&other)).unwrap();
    stream.write_all(&whole[..9]).unwrap();
    assert!(rig.is_silent());
    stream.write_all(&whole[9..]).unwrap();
    let reply = rig.receive();
    assert_eq!((count(&reply), is_cut(&reply)), (5, false));
}

#[test]
fn an_answer_that_is_too_long_for_the_asker_is_cut() {
    let mut rig = rig(1);
    rig.send(&query("example.com", Rtype::A));
    let (question, from) = rig.asked(0);
    rig.tell(0, &cut(answer_to(&question, Rcode::NOERROR, 1)), from);
    let mut stream = rig.accepted(0);
    let question = rig.read(&mut stream);
    let whole = answer_to(&question, Rcode::NOERROR, 200);
    stream.write_all(&framed(&whole)).unwrap();
    let reply = rig.receive();
    assert!(is_cut(&reply) && reply.len() <= 512);
}

#[test]
fn a_cut_answer_is_what_there_is_where_the_server_has_no_streams() {
    let mut rig = rig(1);
    rig.servers[0].connections = None;
    rig.send(&query("example.com", Rtype::A));
    let (question, from) = rig.asked(0);
    rig.tell(0, &cut(answer_to(&question, Rcode::NOERROR, 1)), from);
    assert!(is_cut(&rig.receive()));
}

#[test]
fn a_stream_is_forwarded_by_a_stream_and_has_many_questions() {
    let mut rig = rig(1);
    let mut client = rig.connect();
    let questions = [
        query("one.example.com", Rtype::A),
        query("web.default.svc.cluster.local", Rtype::A),
        query("two.example.com", Rtype::A),
    ];
    let framed_questions: Vec<u8> = questions.iter().flat_map(|one| framed(one)).collect();
    let (head, tail) = framed_questions.split_at(7);
    client.write_all(head).unwrap();
    rig.settle();
    client.write_all(tail).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // Known here, so that it does not wait for the others.
    let reply = rig.read(&mut client);
    assert!(Header::for_message_slice(&reply).aa());
    let mut first = rig.accepted(0);
    let mut second = rig.accepted(0);
    let question = rig.read(&mut second);
    let whole = answer_to(&question, Rcode::NOERROR, 200);
    second.write_all(&framed(&whole)).unwrap();
    let reply = rig.read(&mut client);
    assert_eq!(
        (count(&reply), id(&reply), reply.len()),
        (200, 0x1234, whole.len())
    );
    let question = rig.read(&mut first);
    first
        .write_all(&framed(&answer_to(&question, Rcode::NOERROR, 1)))
        .unwrap();
    assert_eq!(count(&rig.read(&mut client)), 1);
    rig.closed(&mut client);
    assert!(rig.resolver.clients.is_empty() && rig.resolver.owners.is_empty());
}

#[test]
fn a_stream_s_server_that_refuses_or_hangs_up_is_followed_by_the_next() {
    let mut rig = rig(3);
    rig.servers[0].connections = None;
    let mut client = rig.connect();
    client
        .write_all(&framed(&query("example.com", Rtype::A)))
        .unwrap();
    drop(rig.accepted(1));
    let mut stream = rig.accepted(2);
    let question = rig.read(&mut stream);
    stream
        .write_all(&framed(&answer_to(&question, Rcode::NOERROR, 1)))
        .unwrap();
    assert_eq!(count(&rig.read(&mut client)), 1);
}

#[test]
fn an_idle_stream_is_closed_and_one_that_was_answered_later() {
    let mut rig = rig(1);
    let mut idle = rig.connect();
    // A torn question is no activity.
    idle.write_all(&[0]).unwrap();
    let mut waiting = rig.connect();
    rig.until(|rig| (rig.resolver.clients.len() == 2).then_some(()));
    rig.pass(8);
    waiting
        .write_all(&framed(&query("example.com", Rtype::A)))
        .unwrap();
    let mut stream = rig.accepted(0);
    let question = rig.read(&mut stream);
    rig.pass(1);
    assert_eq!(rig.resolver.clients.len(), 2);
    idle.write_all(&[9]).unwrap();
    rig.settle();
    rig.pass(1);
    rig.closed(&mut idle);
    stream
        .write_all(&framed(&answer_to(&question, Rcode::NOERROR, 1)))
        .unwrap();
    assert_eq!(count(&rig.read(&mut waiting)), 1);
    rig.pass(9);
    assert_eq!(rig.resolver.clients.len(), 1);
    rig.pass(1);
    rig.closed(&mut waiting);
    assert_eq!(rig.resolver.deadline(), None);
}

#[test]
fn a_stream_that_is_one_too_many_takes_the_place_of_the_idlest() {
    let mut rig = rig(1);
    // The very first waits for an answer, so that it is not idle.
    let mut waiting = rig.connect();
    waiting
        .write_all(&framed(&query("example.com", Rtype::A)))
        .unwrap();
    let mut server = rig.accepted(0);
    let mut first = rig.connect();
    rig.until(|rig| (rig.resolver.clients.len() == 2).then_some(()));
    rig.pass(1);
    let _others: Vec<TcpStream> = (2..MAX_CLIENTS).map(|_| rig.connect()).collect();
    rig.until(|rig| (rig.resolver.clients.len() == MAX_CLIENTS).then_some(()));
    let mut last = rig.connect();
    rig.closed(&mut first);
    assert_eq!(rig.resolver.clients.len(), MAX_CLIENTS);
    last.write_all(&framed(&query("web.default.svc.cluster.local", Rtype::A)))
        .unwrap();
    assert_eq!(count(&rig.read(&mut last)), 1);
    let question = rig.read(&mut server);
    server
        .write_all(&framed(&answer_to(&question, Rcode::NOERROR, 2)))
        .unwrap();
    assert_eq!(count(&rig.read(&mut waiting)), 2);
}

#[test]
fn one_stream_has_a_bounded_number_of_questions_elsewhere() {
    let mut rig = rig(1);
    let mut client = rig.connect();
    let question = framed(&query("example.com", Rtype::A));
    client.write_all(&question.repeat(70)).unwrap();
    let mut streams: Vec<TcpStream> = (0..64).map(|_| rig.accepted(0)).collect();
    rig.settle();
    assert_eq!(rig.resolver.pending.len(), 64);
    let asked = rig.read(&mut streams[0]);
    streams[0]
        .write_all(&framed(&answer_to(&asked, Rcode::NOERROR, 1)))
        .unwrap();
    assert_eq!(count(&rig.read(&mut client)), 1);
    // Its place is the next one's.
    rig.accepted(0);
    assert_eq!(rig.resolver.pending.len(), 64);
}

#[test]
fn questions_that_had_to_wait_are_answered_without_another_event() {
    let mut rig = rig(1);
    let mut client = rig.connect();
    // Read at once, while their answers are more than may be unsent.
    let question = framed(&query("web.default.svc.cluster.local", Rtype::ANY));
    client.write_all(&question.repeat(1500)).unwrap();
    for _ in 0..1500 {
        assert_eq!(count(&rig.read(&mut client)), 2);
    }
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    let mut rig = rig(1);
    let client = rig.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(&client, 4096).unwrap();
    let question = framed(&query("web.default.svc.cluster.local", Rtype::ANY));
    // More than the sockets of both sides can hold.
    let mut written = 0_usize;
    let end = Instant::now() + LONG;
    let mut stuck = 0;
    while stuck < 50 {
        assert!(Instant::now() < end && written < 1 << 30);
        match there((&client).write(&question.repeat(1000))) {
            Some(bytes) => {
                written += bytes;
                stuck = 0;
            }
            None => stuck += 1,
        }
        rig.settle();
    }
    let unsent = rig.resolver.clients.values().map(Client::unsent).max();
    assert!(unsent < Some(128 * 1024), "{unsent:?}");
}

#[test]
fn too_many_questions_fail_at_once() {
    let mut rig = rig(1);
    for number in 0..1024_u64 {
        let Answer::Forward(forward) =
            answer(&zone(), &query("example.com", Rtype::A), Transport::Udp)
        else {
            panic!("the name is not ours");
        };
        let asker = Asker::Datagram(loopback(1, 1));
        let pending = Pending::new(forward, asker, vec![loopback(2, 1)], rig.now);
        rig.resolver.pending.insert(u64::MAX - number, pending);
    }
    rig.send(&query("example.com", Rtype::A));
    assert_eq!(code(&rig.receive()), Rcode::SERVFAIL);
    assert_eq!(rig.resolver.pending.len(), 1024);
    // Names of ours need no place.
    rig.send(&query("web.default.svc.cluster.local", Rtype::A));
    assert_eq!(code(&rig.receive()), Rcode::NOERROR);
}

#[test]
fn a_changed_resolv_conf_counts_from_the_next_question_on() {
    let mut rig = rig(2);
    write_servers(&rig.dir, [2]);
    rig.send(&query("example.com", Rtype::A));
    rig.asked(0);
    write_servers(&rig.dir, [3]);
    rig.send(&query("example.com", Rtype::A));
    rig.asked(1);
    assert!(!rig.was_asked(0));
}

#[test]
fn garbage_in_either_way_harms_nobody() {
    let mut rig = rig(1);
    let mut client = rig.connect();
    client.write_all(&framed(b"")).unwrap();
    client.write_all(&framed(b"short")).unwrap();
    client.write_all(&framed(&[0xff; 600])).unwrap();
    client
        .write_all(&framed(&query("web.default.svc.cluster.local", Rtype::A)))
        .unwrap();
    assert_eq!(count(&rig.read(&mut client)), 1);
    rig.send(b"");
    rig.send(&[0; 3000]);
    assert_eq!(code(&rig.receive()), Rcode::FORMERR);
    rig.send(&query("web.default.svc.cluster.local", Rtype::A));
    assert_eq!(count(&rig.receive()), 1);
}

#[test]
fn a_client_that_is_gone_leaves_nothing_behind() {
    let mut rig = rig(1);
    let mut client = rig.connect();
    client
        .write_all(&framed(&query("example.com", Rtype::A)))
        .unwrap();
    let mut stream = rig.accepted(0);
    let question = rig.read(&mut stream);
    // Nothing is read of it any more, so that only its end can be noticed.
    client.shutdown(Shutdown::Write).unwrap();
    rig.settle();
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    rig.until(|rig| rig.resolver.clients.is_empty().then_some(()));
    stream
        .write_all(&framed(&answer_to(&question, Rcode::NOERROR, 1)))
        .unwrap();
    rig.until(|rig| rig.resolver.pending.is_empty().then_some(()));
    assert!(rig.resolver.owners.is_empty());
}
