//! A question on its way through the host's resolvers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::answer::{Forward, Transport};
use super::upstream::Attempt;

/// How long one server is waited for before the next is asked as well.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a question may take; the C library's stub resolver waits as long.
const LIMIT: Duration = Duration::from_secs(5);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// One with this address, by a datagram.
    Datagram(SocketAddr),
    /// The client with this token.
    Stream(u64),
}

/// A question that is asked elsewhere. Servers that were slow may still answer while others are
/// asked already.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) forward: Forward,
    pub(super) asker: Asker,
    /// The servers at the time of the question, at least one.
    servers: Vec<SocketAddr>,
    /// How many attempts were begun at servers in turn.
    begun: usize,
    /// Attempts under way, by the tokens of their sockets.
    attempts: Vec<(u64, Attempt)>,
    /// The answer should no better one come.
    second_best: Option<Vec<u8>>,
    retry_at: Instant,
    expires_at: Instant,
}

/// What a look at the clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Retry,
    End,
}

impl Pending {
    pub(super) fn new(
        forward: Forward,
        asker: Asker,
        servers: Vec<SocketAddr>,
        now: Instant,
    ) -> Self {
        Self {
            forward,
            asker,
            servers,
            begun: 0,
            attempts: Vec::new(),
            second_best: None,
            retry_at: now,
            expires_at: now.checked_add(LIMIT).unwrap_or(now),
        }
    }

    /// Asks the next server that can be asked, the first again after the last. None where each
    /// was asked and none is left to answer.
    pub(super) fn ask_next(&mut self, now: Instant) -> Option<Attempt> {
        self.retry_at = now.checked_add(PATIENCE).unwrap_or(now);
        for _ in 0..self.servers.len() {
            let at = self.begun.checked_rem(self.servers.len())?;
            let server = *self.servers.get(at)?;
            self.begun = self.begun.saturating_add(1);
            match Attempt::start(&self.forward, server, self.forward.transport()) {
                Ok(attempt) => return Some(attempt),
                Err(error) => log::debug!("name server {server}: {error}"),
            }
        }
        None
    }

    /// Asks a server again in a stream, as its answer is too long for a datagram.
    pub(super) fn ask_in_stream(&self, server: SocketAddr) -> Option<Attempt> {
        Attempt::start(&self.forward, server, Transport::Tcp).ok()
    }

    /// Whether a server was not asked yet.
    pub(super) fn has_untried(&self) -> bool {
        self.begun < self.servers.len()
    }

    pub(super) fn add(&mut self, token: u64, attempt: Attempt) {
        self.attempts.push((token, attempt));
    }

    /// An attempt with the question it is about.
    pub(super) fn attempt(&mut self, token: u64) -> Option<(&mut Attempt, &Forward)> {
        let found = self.attempts.iter_mut().find(|(own, _)| *own == token);
        found.map(|(_, attempt)| (attempt, &self.forward))
    }

    /// Takes an attempt out, which closes its socket when it is dropped.
    pub(super) fn remove(&mut self, token: u64) {
        self.attempts.retain(|(own, _)| *own != token);
    }

    /// Whether an answer may come still.
    pub(super) fn is_waiting(&self) -> bool {
        !self.attempts.is_empty()
    }

    /// The tokens of its sockets.
    pub(super) fn tokens(&self) -> impl Iterator<Item = u64> {
        self.attempts.iter().map(|(token, _)| *token)
    }

    /// Keeps an answer for the case that no better one comes.
    pub(super) fn keep(&mut self, reply: Vec<u8>) {
        self.second_best = Some(reply);
    }

    /// The answer when no good one came.
    pub(super) fn last_word(&mut self) -> Vec<u8> {
        self.second_best
            .take()
            .unwrap_or_else(|| self.forward.failure())
    }

    pub(super) fn due(&self, now: Instant) -> Due {
        if now >= self.expires_at {
            Due::End
        } else if now >= self.retry_at {
            Due::Retry
        } else {
            Due::Nothing
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.retry_at.min(self.expires_at)
    }
}
