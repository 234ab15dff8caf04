//! What `ureq` runs on here: our resolver, our connections, and buffers that are as long as what is
//! in them.

use std::io::{ErrorKind, Read, Write};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use super::connection::{self, Connection, Deadline, Security};

/// The longest head of an answer.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// The length of a request's head without what its URL and headers hold, and then some: method,
/// version and the separators of as many headers as `ureq` takes.
const OVERHEAD: usize = 1024;

/// How much is read at once.
const CHUNK: usize = 4096;

/// The addresses of a URL's host.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) deadline: Deadline,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let mut found = self.empty();
        for address in connection::addresses(host(uri)?, port, self.deadline)? {
            found.push(address);
        }
        Ok(found)
    }
}

/// A URL's host, without brackets.
fn host(uri: &Uri) -> Result<&str, Error> {
    let host = uri.host().ok_or(Error::HostNotFound)?;
    Ok(host.trim_start_matches('[').trim_end_matches(']'))
}

/// Makes the connection of a request.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) deadline: Deadline,
    /// The length of what the head of the request holds.
    pub(super) head: usize,
}

impl Connector<()> for Dialer {
    type Out = Wire;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Wire>, Error> {
        let security = if details.needs_tls() {
            Security::Tls
        } else {
            Security::Plain
        };
        let host = host(details.uri)?;
        Ok(Some(Wire {
            connection: Connection::open(host, &details.addrs, security, self.deadline)?,
            buffers: Growing {
                output: vec![0; self.head.saturating_add(OVERHEAD)],
                ..Growing::default()
            },
        }))
    }
}

/// A connection with its buffers; it keeps its own deadline.
#[derive(Debug)]
pub(super) struct Wire {
    connection: Connection,
    buffers: Growing,
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _timeout: NextTimeout) -> Result<(), Error> {
        let output = self.buffers.output.get(..amount).unwrap_or_default();
        self.connection.write_all(output)?;
        Ok(self.connection.flush()?)
    }

    fn await_input(&mut self, _timeout: NextTimeout) -> Result<bool, Error> {
        let length = loop {
            match self.connection.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.buffers.input_appended(length);
        Ok(length > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        matches!(self.connection, Connection::Tls(_))
    }
}

/// Buffers of which the input grows while nothing of it is consumed; `ureq` gives up when it is
/// longer than a head may be.
#[derive(Debug, Default)]
struct Growing {
    output: Vec<u8>,
    input: Vec<u8>,
    /// Where in the input the unconsumed bytes start and end.
    start: usize,
    end: usize,
    /// Whether the last look at the input has consumed something.
    has_progressed: bool,
}

impl Growing {
    /// Makes room for a chunk behind the unconsumed bytes.
    fn make_room(&mut self) {
        self.input.drain(..self.start.min(self.input.len()));
        self.end = self.end.saturating_sub(self.start);
        self.start = 0;
        self.input.resize(self.end.saturating_add(CHUNK), 0);
    }
}

impl Buffers for Growing {
    fn output(&mut self) -> &mut [u8] {
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.make_room();
        self.input.get_mut(self.end..).unwrap_or_default()
    }

    fn input_appended(&mut self, amount: usize) {
        self.end = self.end.saturating_add(amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.start = self.start.saturating_add(amount).min(self.end);
        self.has_progressed = amount > 0;
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.make_room();
        let room = self.input.get_mut(self.end..).unwrap_or_default();
        (room, &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        !self.input().is_empty() && self.has_progressed
    }
}
