//! From a query to its answer, or to the question for the host's resolvers.

use domain::base::ParsedName;
use domain::base::iana::{Class, OptRcode, Rcode, Rtype};
use domain::base::message_builder::PushError;
use domain::base::{Header, Message};
use domain::rdata::AllRecordData;

pub use super::message::Transport;
use super::message::{self, Fault, OwnName, Query};
use super::zone::{Data, Found, Zone};

/// How many names an alias may lead through before it counts as going round in circles.
const MAX_ALIASES: usize = 8;

/// Bytes of a message's header (RFC 1035, 4.1.1).
const HEADER: usize = 12;

/// What becomes of a query.
#[derive(Debug)]
pub enum Answer {
    /// This message goes back.
    Reply(Vec<u8>),
    /// The host's resolvers know.
    Forward(Forward),
    /// Nothing goes back.
    Drop,
}

/// A query on its way to the host's resolvers.
#[derive(Debug)]
pub struct Forward {
    query: Query,
    /// What an alias of ours has led to, if one has: owners and targets, the last of which is
    /// the name that is asked for.
    aliases: Vec<(OwnName, OwnName)>,
}

/// What another server's message is to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not the answer to it.
    Stranger,
    /// The answer, cut to the size of a datagram.
    Cut,
    /// The server says that it cannot answer.
    Failure,
    /// The answer.
    Answer,
}

/// Answers a query; whatever the bytes are.
pub fn answer(zone: &Zone, bytes: &[u8], transport: Transport) -> Answer {
    let query = match Query::parse(bytes, transport) {
        Ok(query) => query,
        Err(Fault::Silence) => return Answer::Drop,
        Err(Fault::Reply(reply)) => return Answer::Reply(reply),
    };
    // Nobody copies zones from or through here.
    if [Rtype::AXFR, Rtype::IXFR].contains(&query.kind) {
        return sent(query.refuse(Rcode::REFUSED));
    }
    let mut aliases: Vec<(OwnName, OwnName)> = Vec::new();
    loop {
        let owner = aliases.last().map_or(&query.name, |(_, target)| target);
        let labels = Query::labels(owner);
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let (apex, records) = match zone.find(&labels) {
            Found::Elsewhere => return Answer::Forward(Forward { query, aliases }),
            Found::Here { apex, records } => (apex, records),
        };
        if ![Class::IN, Class::ANY].contains(&query.class) {
            return sent(query.refuse(Rcode::REFUSED));
        }
        if let Some([Data::Cname(target)]) = records.as_deref()
            && ![Rtype::CNAME, Rtype::ANY].contains(&query.kind)
        {
            let target = message::name(target).filter(|_| aliases.len() < MAX_ALIASES);
            let Some(target) = target else {
                return sent(query.refuse(Rcode::SERVFAIL));
            };
            aliases.push((owner.clone(), target));
            continue;
        }
        return sent(ours(zone, &query, &aliases, &apex, records.as_deref()));
    }
}

fn sent(reply: Result<Vec<u8>, PushError>) -> Answer {
    reply.map_or(Answer::Drop, Answer::Reply)
}

/// The answer about a name of ours.
fn ours(
    zone: &Zone,
    query: &Query,
    aliases: &[(OwnName, OwnName)],
    apex: &str,
    records: Option<&[Data]>,
) -> Result<Vec<u8>, PushError> {
    let owner = aliases.last().map_or(&query.name, |(_, target)| target);
    let code = match records {
        Some(_) => Rcode::NOERROR,
        None => Rcode::NXDOMAIN,
    };
    let asked: Vec<&Data> = records
        .unwrap_or_default()
        .iter()
        .filter(|data| query.kind == Rtype::ANY || data.kind() == query.kind)
        .collect();
    query.reply(
        OptRcode::from(code),
        |to| {
            to.header_mut().set_aa(true);
            push_aliases(to, aliases)?;
            asked
                .iter()
                .try_for_each(|data| message::push(to, owner, data))
        },
        |to| {
            if asked.is_empty() {
                message::push_soa(to, apex)?;
            }
            Ok(())
        },
        |to| {
            for data in &asked {
                let Data::Srv { target, .. } = data else {
                    continue;
                };
                let Some(target) = message::name(target) else {
                    continue;
                };
                let labels = Query::labels(&target);
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                if let Found::Here {
                    records: Some(addresses),
                    ..
                } = zone.find(&labels)
                {
                    addresses
                        .iter()
                        .try_for_each(|data| message::push_address(to, &target, data))?;
                }
            }
            Ok(())
        },
    )
}

fn push_aliases(
    to: &mut message::Answers,
    aliases: &[(OwnName, OwnName)],
) -> Result<(), PushError> {
    aliases
        .iter()
        .try_for_each(|(owner, target)| message::push_alias(to, owner, target))
}

impl Forward {
    /// How the query came, and how its answer goes back.
    pub fn transport(&self) -> Transport {
        self.query.transport()
    }

    fn name(&self) -> &OwnName {
        self.aliases
            .last()
            .map_or(&self.query.name, |(_, target)| target)
    }

    /// The query for another server; none only where the asker's extensions are too long to be
    /// written again.
    pub fn question(&self, id: u16) -> Option<Vec<u8>> {
        self.query.ask(self.name(), id).ok()
    }

    /// The question of a message as bytes.
    fn question_section(&self, name: &OwnName) -> Vec<u8> {
        let mut section = name.as_slice().to_vec();
        section.extend_from_slice(&self.query.kind.to_int().to_be_bytes());
        section.extend_from_slice(&self.query.class.to_int().to_be_bytes());
        section
    }

    /// Whether a message is the answer to the question with this identifier. Who sent it is the
    /// caller's to know.
    pub fn judge(&self, id: u16, bytes: &[u8]) -> Verdict {
        let Ok(message) = Message::from_octets(bytes) else {
            return Verdict::Stranger;
        };
        let header = message.header();
        if header.id() != id || !header.qr() {
            return Verdict::Stranger;
        }
        let failed = [
            Rcode::FORMERR,
            Rcode::SERVFAIL,
            Rcode::NOTIMP,
            Rcode::REFUSED,
        ]
        .contains(&header.rcode());
        // A server that could not read the question may leave it out.
        if message.header_counts().qdcount() == 0 && failed {
            return Verdict::Failure;
        }
        let question = self.question_section(self.name());
        let same = bytes
            .get(HEADER..)
            .and_then(|sections| sections.get(..question.len()))
            .is_some_and(|section| same_question(section, &question));
        if message.header_counts().qdcount() != 1 || !same {
            Verdict::Stranger
        } else if header.tc() {
            Verdict::Cut
        } else if failed {
            Verdict::Failure
        } else {
            Verdict::Answer
        }
    }

    /// The answer for the asker, made from the other server's.
    pub fn reply(&self, bytes: &[u8]) -> Vec<u8> {
        let Ok(message) = Message::from_octets(bytes) else {
            return self.failure();
        };
        if message.header_counts().qdcount() == 0 {
            let code = message.header().rcode();
            return self.query.refuse(code).unwrap_or_default();
        }
        if !self.aliases.is_empty() {
            return self
                .behind_alias(message)
                .unwrap_or_else(|_| self.failure());
        }
        if bytes.len() > self.query.limit() {
            return self.cut();
        }
        let mut reply = bytes.to_vec();
        if let Some(header) = reply.get_mut(..HEADER) {
            Header::for_message_slice_mut(header).set_id(self.query.id());
        }
        // The asker may look at the case of its letters, which the other server may not have
        // kept.
        let question = self.question_section(&self.query.name);
        if let Some(section) = reply
            .get_mut(HEADER..)
            .and_then(|sections| sections.get_mut(..question.len()))
        {
            section.copy_from_slice(&question);
        }
        reply
    }

    /// The answer when no server has answered.
    pub fn failure(&self) -> Vec<u8> {
        self.query.refuse(Rcode::SERVFAIL).unwrap_or_default()
    }

    /// An answer that only says to ask in a stream.
    fn cut(&self) -> Vec<u8> {
        self.query
            .reply(
                Rcode::NOERROR.into(),
                |_| Err(PushError::LimitExceeded),
                |_| Ok(()),
                |_| Ok(()),
            )
            .unwrap_or_default()
    }

    /// What is known of the name an alias of ours leads to, as an answer about the alias.
    fn behind_alias(&self, message: Message<&[u8]>) -> Result<Vec<u8>, PushError> {
        type Any<'a> = AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;
        let (Ok(answer), Ok(authority)) = (message.answer(), message.authority()) else {
            return Ok(self.failure());
        };
        self.query.reply(
            message.header().rcode().into(),
            |to| {
                if message.header().tc() {
                    return Err(PushError::LimitExceeded);
                }
                push_aliases(to, &self.aliases)?;
                for record in answer.into_records::<Any<'_>>().flatten() {
                    to.push(record)?;
                }
                Ok(())
            },
            |to| {
                for record in authority.into_records::<Any<'_>>().flatten() {
                    to.push(record)?;
                }
                Ok(())
            },
            |_| Ok(()),
        )
    }
}

/// Whether two questions are the same but for the case of letters in the name.
fn same_question(one: &[u8], other: &[u8]) -> bool {
    let split = |section: &[u8]| section.len().saturating_sub(4);
    let (one_name, one_kind) = one.split_at(split(one));
    let (other_name, other_kind) = other.split_at(split(other));
    one_name.eq_ignore_ascii_case(other_name) && one_kind == other_kind
}
