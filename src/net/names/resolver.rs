//! The resolver: answers over given sockets, and asks the host's resolvers over its own.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{EventData, EventFlags};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::answer::{Answer, Forward, Transport, Verdict, answer};
use super::client::Client;
use super::host::HostServers;
use super::pending::{Asker, Due, Pending};
use super::upstream::{Attempt, Progress};
use super::zone::Zone;

/// The most questions that are asked elsewhere at once; what comes on top fails at once.
const MAX_PENDING: usize = 1024;

/// The most clients with a stream; the one that is idle the longest makes room for a new one.
const MAX_CLIENTS: usize = 128;

/// Room for a datagram with a query; one question and its extensions need less.
const QUERY: usize = 4096;

/// Events taken, and datagrams and connections accepted, in one round.
const ROUND: usize = 64;

/// How long no connection is accepted after that has failed, for want of descriptors say.
const PAUSE: Duration = Duration::from_secs(1);

const DATAGRAMS: u64 = 0;
const CONNECTIONS: u64 = 1;

/// Whose socket has an event.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Client,
    /// The question with this number.
    Question(u64),
}

/// The resolver of a network.
#[derive(Debug)]
pub struct Resolver {
    epoll: OwnedFd,
    datagrams: UdpSocket,
    connections: TcpListener,
    zone: Zone,
    host: HostServers,
    owners: HashMap<u64, Owner>,
    clients: HashMap<u64, Client>,
    pending: HashMap<u64, Pending>,
    /// Tokens of sockets and numbers of questions.
    next: u64,
    accept_at: Option<Instant>,
}

impl Resolver {
    /// A resolver that answers on these two sockets, which may be in another network namespace;
    /// the host's resolvers are asked from the caller's. Both are made non-blocking.
    ///
    /// # Errors
    /// As `epoll_create1(2)`, `epoll_ctl(2)` and `ioctl(2)` with FIONBIO.
    pub fn new(
        datagrams: UdpSocket,
        connections: TcpListener,
        host: HostServers,
        zone: Zone,
    ) -> io::Result<Self> {
        datagrams.set_nonblocking(true)?;
        connections.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64(DATAGRAMS);
        epoll::add(&epoll, &datagrams, data, EventFlags::IN)?;
        let data = EventData::new_u64(CONNECTIONS);
        epoll::add(&epoll, &connections, data, EventFlags::IN)?;
        Ok(Self {
            epoll,
            datagrams,
            connections,
            zone,
            host,
            owners: HashMap::new(),
            clients: HashMap::new(),
            pending: HashMap::new(),
            next: CONNECTIONS,
            accept_at: None,
        })
    }

    /// Answers from this zone from now on.
    pub fn set_zone(&mut self, zone: Zone) {
        self.zone = zone;
    }

    /// When [`Self::ready`] is to be called though no descriptor is ready.
    pub fn deadline(&self) -> Option<Instant> {
        let questions = self.pending.values().map(Pending::deadline);
        let clients = self.clients.values().filter_map(Client::deadline);
        questions.chain(clients).chain(self.accept_at).min()
    }

    /// Does all that can be done without waiting: when the descriptor is ready or the deadline
    /// is there.
    ///
    /// # Errors
    /// As `epoll_wait(2)`; errors of single sockets end what they serve only.
    pub fn ready(&mut self, now: Instant) -> io::Result<()> {
        let mut events = Vec::with_capacity(ROUND);
        let at_once = Timespec::default();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&at_once)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in events {
            match event.data.u64() {
                DATAGRAMS => self.take_datagrams(now),
                CONNECTIONS => self.accept(now),
                token => match self.owners.get(&token) {
                    Some(Owner::Client) => self.serve(token, event.flags, now),
                    Some(Owner::Question(number)) => self.go_on(*number, token, now),
                    None => {}
                },
            }
        }
        self.look_at_clock(now);
        Ok(())
    }

    fn token(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn take_datagrams(&mut self, now: Instant) {
        let mut buffer = [0; QUERY];
        for _ in 0..ROUND {
            let Ok((length, from)) = self.datagrams.recv_from(&mut buffer) else {
                return;
            };
            let query = buffer.get(..length).unwrap_or_default();
            let reply = match answer(&self.zone, query, Transport::Udp) {
                Answer::Reply(reply) => Some(reply),
                Answer::Forward(forward) => self.begin(forward, Asker::Datagram(from), now),
                Answer::Drop => None,
            };
            if let Some(reply) = reply {
                self.send(&reply, from);
            }
        }
    }

    /// Sends a datagram; one that finds no room is lost, as any may be.
    fn send(&self, reply: &[u8], to: SocketAddr) {
        if let Err(error) = self.datagrams.send_to(reply, to) {
            log::debug!("answer to {to}: {error}");
        }
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..ROUND {
            let error = match self.connections.accept() {
                Ok((stream, _)) => match self.welcome(stream, now) {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::WouldBlock => return,
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                _ => {
                    log::debug!("accepting a connection for names: {error}");
                    self.watch_connections(EventFlags::empty());
                    self.accept_at = Some(now.checked_add(PAUSE).unwrap_or(now));
                    return;
                }
            }
        }
    }

    fn watch_connections(&self, flags: EventFlags) {
        let data = EventData::new_u64(CONNECTIONS);
        if let Err(errno) = epoll::modify(&self.epoll, &self.connections, data, flags) {
            log::debug!("watching for connections: {errno}");
        }
    }

    fn welcome(&mut self, stream: std::net::TcpStream, now: Instant) -> io::Result<()> {
        if self.clients.len() >= MAX_CLIENTS {
            let idle = self.clients.iter().filter_map(|(token, client)| {
                let deadline = client.deadline()?;
                Some((deadline, *token))
            });
            match idle.min() {
                Some((_, token)) => self.forget(token),
                // All wait for answers: the new one is refused.
                None => return Ok(()),
            }
        }
        stream.set_nonblocking(true)?;
        // Answers are whole messages: none waits for the one before to be acknowledged.
        stream.set_nodelay(true)?;
        let token = self.token();
        let client = Client::new(stream, now);
        let data = EventData::new_u64(token);
        epoll::add(&self.epoll, &client, data, client.interest())?;
        self.owners.insert(token, Owner::Client);
        self.clients.insert(token, client);
        Ok(())
    }

    fn forget(&mut self, token: u64) {
        self.owners.remove(&token);
        self.clients.remove(&token);
    }

    /// Goes on with a client whose stream is ready.
    fn serve(&mut self, token: u64, flags: EventFlags, now: Instant) {
        // Both ways are closed: nobody is there to be answered.
        if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            self.forget(token);
            return;
        }
        self.continue_with(token, now);
    }

    fn continue_with(&mut self, token: u64, now: Instant) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let mut open = client.send().is_ok() && client.receive().is_ok();
        // Sending makes room for answers to more of what was received.
        while self.take_questions(token, now) {
            let Some(client) = self.clients.get_mut(&token) else {
                return;
            };
            open = open && client.send().is_ok();
        }
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        open = open && !client.is_done();
        let data = EventData::new_u64(token);
        if !open || epoll::modify(&self.epoll, &*client, data, client.interest()).is_err() {
            self.forget(token);
        }
    }

    /// Takes the questions a client has sent, as far as it may have answers in line; whether
    /// there was any.
    fn take_questions(&mut self, token: u64, now: Instant) -> bool {
        let mut any = false;
        while let Some(query) = self.clients.get_mut(&token).and_then(Client::next) {
            any = true;
            let reply = match answer(&self.zone, &query, Transport::Tcp) {
                Answer::Reply(reply) => Some(reply),
                Answer::Forward(forward) => self.begin(forward, Asker::Stream(token), now),
                Answer::Drop => None,
            };
            if let (Some(reply), Some(client)) = (reply, self.clients.get_mut(&token)) {
                client.answer(&reply, now);
            }
        }
        any
    }

    /// Begins to ask the host's resolvers; the answer is at hand only where that fails.
    fn begin(&mut self, forward: Forward, asker: Asker, now: Instant) -> Option<Vec<u8>> {
        if self.pending.len() >= MAX_PENDING {
            return Some(forward.failure());
        }
        let servers = self.host.now().to_vec();
        let number = self.token();
        let mut pending = Pending::new(forward, asker, servers, now);
        let attempt = pending.ask_next(now);
        self.pending.insert(number, pending);
        if !attempt.is_some_and(|attempt| self.watch(number, attempt)) {
            return Some(self.pending.remove(&number)?.last_word());
        }
        if let Asker::Stream(token) = asker
            && let Some(client) = self.clients.get_mut(&token)
        {
            client.wait();
        }
        None
    }

    /// Watches an attempt's socket; whether that works.
    fn watch(&mut self, number: u64, attempt: Attempt) -> bool {
        let token = self.token();
        let Some(pending) = self.pending.get_mut(&number) else {
            return false;
        };
        let data = EventData::new_u64(token);
        if epoll::add(&self.epoll, &attempt, data, interest(&attempt)).is_err() {
            return false;
        }
        self.owners.insert(token, Owner::Question(number));
        pending.add(token, attempt);
        true
    }

    /// Goes on with an attempt whose socket is ready.
    fn go_on(&mut self, number: u64, token: u64, now: Instant) {
        let Some(pending) = self.pending.get_mut(&number) else {
            return;
        };
        let Some((attempt, forward)) = pending.attempt(token) else {
            return;
        };
        let progress = attempt.go_on(forward);
        if let Err(error) = &progress {
            log::debug!("name server {}: {error}", attempt.server);
        }
        let (server, transport) = (attempt.server, attempt.transport());
        let mut more = None;
        match progress {
            Ok(Progress::Waiting) => {
                let data = EventData::new_u64(token);
                if epoll::modify(&self.epoll, &*attempt, data, interest(attempt)).is_ok() {
                    return;
                }
            }
            Ok(Progress::Answered(Verdict::Answer, message)) => {
                let reply = pending.forward.reply(&message);
                self.finish(number, Some(reply), now);
                return;
            }
            Ok(Progress::Answered(verdict, message)) => {
                let reply = pending.forward.reply(&message);
                pending.keep(reply);
                if verdict == Verdict::Cut && transport == Transport::Udp {
                    more = pending.ask_in_stream(server);
                }
            }
            Err(_) => {}
        }
        // This attempt is over without a good answer.
        pending.remove(token);
        self.owners.remove(&token);
        if more.is_none() && pending.has_untried() {
            more = pending.ask_next(now);
        }
        let watched = more.is_some_and(|attempt| self.watch(number, attempt));
        let waiting = |pending: &Pending| pending.is_waiting();
        if !watched && !self.pending.get(&number).is_some_and(waiting) {
            self.finish(number, None, now);
        }
    }

    /// Answers the asker, with what was the best answer if not with this one.
    fn finish(&mut self, number: u64, reply: Option<Vec<u8>>, now: Instant) {
        let Some(mut pending) = self.pending.remove(&number) else {
            return;
        };
        for token in pending.tokens() {
            self.owners.remove(&token);
        }
        let reply = reply.unwrap_or_else(|| pending.last_word());
        match pending.asker {
            Asker::Datagram(address) => self.send(&reply, address),
            Asker::Stream(token) => {
                if let Some(client) = self.clients.get_mut(&token) {
                    client.wait_no_more();
                    client.answer(&reply, now);
                }
                self.continue_with(token, now);
            }
        }
    }

    fn look_at_clock(&mut self, now: Instant) {
        if self.accept_at.is_some_and(|at| now >= at) {
            self.accept_at = None;
            self.watch_connections(EventFlags::IN);
        }
        let due: Vec<(u64, Due)> = self
            .pending
            .iter()
            .map(|(number, pending)| (*number, pending.due(now)))
            .filter(|(_, due)| *due != Due::Nothing)
            .collect();
        for (number, due) in due {
            if due == Due::End {
                self.finish(number, None, now);
            } else if let Some(pending) = self.pending.get_mut(&number) {
                // Servers that were asked before may answer even if none can be asked now.
                if let Some(attempt) = pending.ask_next(now) {
                    self.watch(number, attempt);
                }
            }
        }
        let idle: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, client)| client.deadline().is_some_and(|at| now >= at))
            .map(|(token, _)| *token)
            .collect();
        for token in idle {
            self.forget(token);
        }
    }
}

impl AsFd for Resolver {
    /// Readable when [`Self::ready`] has something to do; an epoll set can watch it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// What to watch an attempt's socket for.
fn interest(attempt: &Attempt) -> EventFlags {
    if attempt.is_writing() {
        EventFlags::IN | EventFlags::OUT
    } else {
        EventFlags::IN
    }
}

#[cfg(test)]
mod tests;
