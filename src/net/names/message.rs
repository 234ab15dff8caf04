//! DNS messages as this resolver reads and writes them (RFC 1035, RFC 6891).

use domain::base::iana::{Class, Opcode, OptRcode, OptionCode, Rcode, Rtype};
use domain::base::message_builder::{
    AdditionalBuilder, AnswerBuilder, AuthorityBuilder, PushError,
};
use domain::base::name::{Name, ToName};
use domain::base::opt::{Opt, OptRecord, UnknownOptData};
use domain::base::{Header, Message, MessageBuilder, StaticCompressor, Ttl};
use domain::dep::octseq::OctetsBuilder;
use domain::rdata::{A, Aaaa, Cname, Ptr, Soa, Srv, Txt};

use super::zone::{DOMAIN, Data};

/// A domain name in memory of its own, in the case it was asked in.
pub(super) type OwnName = Name<Vec<u8>>;

pub(super) type Answers = AnswerBuilder<StaticCompressor<Vec<u8>>>;
type Authority = AuthorityBuilder<StaticCompressor<Vec<u8>>>;
type Additional = AdditionalBuilder<StaticCompressor<Vec<u8>>>;

/// How long an answer may be kept, a negative one as well: readiness changes are seen soon.
const TTL: Ttl = Ttl::from_secs(5);

/// The largest datagram sent or asked for: what needs no fragments with the least MTU of IPv6,
/// 1280 bytes less the headers.
const MAX_DATAGRAM: u16 = 1232;

/// The largest datagram for one who has not said what it takes (RFC 1035, 2.3.4).
const MIN_DATAGRAM: u16 = 512;

/// The largest message with two bytes of length before it (RFC 1035, 4.2.2).
pub(super) const MAX_MESSAGE: usize = 65_535;

/// An OPT record without options (RFC 6891, 6.1.2).
const OPT_SIZE: usize = 11;

/// How a message came and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// In a stream.
    Tcp,
}

/// What the asker said about extensions (EDNS).
#[derive(Debug, Clone)]
struct Edns {
    udp_size: u16,
    dnssec_ok: bool,
    options: Vec<(OptionCode, Vec<u8>)>,
}

/// A query with its one question.
#[derive(Debug, Clone)]
pub(super) struct Query {
    header: Header,
    pub(super) name: OwnName,
    pub(super) kind: Rtype,
    pub(super) class: Class,
    edns: Option<Edns>,
    transport: Transport,
}

/// What a message is that is no query to answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing that may be answered, as an answer could be answered in turn.
    Silence,
    /// A wrong query, and the answer that says so.
    Reply(Vec<u8>),
}

impl Query {
    /// Reads a query.
    pub(super) fn parse(bytes: &[u8], transport: Transport) -> Result<Self, Fault> {
        let message = Message::from_octets(bytes).map_err(|_| Fault::Silence)?;
        let header = message.header();
        if header.qr() {
            return Err(Fault::Silence);
        }
        if header.opcode() != Opcode::QUERY {
            return Err(bare_reply(header, Rcode::NOTIMP));
        }
        // Also for more than one question (RFC 9619).
        let malformed = |_| bare_reply(header, Rcode::FORMERR);
        let question = message.sole_question().map_err(malformed)?;
        let mut query = Self {
            header,
            name: question.qname().to_vec(),
            kind: question.qtype(),
            class: question.qclass(),
            edns: None,
            transport,
        };
        for record in message.additional().map_err(malformed)? {
            let record = record.map_err(malformed)?;
            let Some(record) = record.to_record::<Opt<&[u8]>>().map_err(malformed)? else {
                continue;
            };
            let record = OptRecord::from_record(record);
            let mut edns = Edns {
                udp_size: record.udp_payload_size(),
                dnssec_ok: record.dnssec_ok(),
                options: Vec::new(),
            };
            for option in record.opt().iter::<UnknownOptData<&[u8]>>() {
                let option = option.map_err(malformed)?;
                edns.options
                    .push((option.code(), option.as_slice().to_vec()));
            }
            // RFC 6891, 6.1.1: there is at most one.
            if query.edns.replace(edns).is_some() {
                return Err(bare_reply(header, Rcode::FORMERR));
            }
            if record.version() != 0 {
                let reply = query.reply(OptRcode::BADVERS, |_| Ok(()), |_| Ok(()), |_| Ok(()));
                return Err(reply.map_or(Fault::Silence, Fault::Reply));
            }
        }
        Ok(query)
    }

    /// The labels of the name from the root on, in lower case; a label that is no text can be
    /// none of ours, and neither can what stands for it here.
    pub(super) fn labels(name: &OwnName) -> Vec<String> {
        let mut labels: Vec<String> = name
            .iter()
            .filter(|label| !label.is_root())
            .map(|label| String::from_utf8_lossy(label.as_slice()).to_ascii_lowercase())
            .collect();
        labels.reverse();
        labels
    }

    /// The largest answer the asker takes.
    pub(super) fn limit(&self) -> usize {
        match self.transport {
            Transport::Tcp => MAX_MESSAGE,
            Transport::Udp => usize::from(self.datagram()),
        }
    }

    fn datagram(&self) -> u16 {
        self.edns.as_ref().map_or(MIN_DATAGRAM, |edns| {
            edns.udp_size.clamp(MIN_DATAGRAM, MAX_DATAGRAM)
        })
    }

    /// The identifier the asker gave it.
    pub(super) fn id(&self) -> u16 {
        self.header.id()
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// The question for another name as a query to another server.
    pub(super) fn ask(&self, name: &OwnName, id: u16) -> Result<Vec<u8>, PushError> {
        let mut builder = MessageBuilder::from_target(StaticCompressor::new(Vec::new()))
            .map_err(|_| PushError::ShortBuf)?;
        let header = builder.header_mut();
        header.set_id(id);
        header.set_rd(self.header.rd());
        header.set_ad(self.header.ad());
        header.set_cd(self.header.cd());
        let mut builder = builder.question();
        builder.push((name, self.kind, self.class))?;
        let mut builder = builder.additional();
        if let Some(edns) = &self.edns {
            builder.opt(|opt| {
                opt.set_udp_payload_size(self.datagram());
                opt.set_dnssec_ok(edns.dnssec_ok);
                for (code, data) in &edns.options {
                    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
                    opt.push_raw_option(*code, length, |target| {
                        OctetsBuilder::append_slice(target, data)
                    })?;
                }
                Ok(())
            })?;
        }
        Ok(builder.finish().into_target())
    }

    /// A reply to this query, its three sections written by three functions. An answer or
    /// authority that does not fit the asker's limit is cut and marked so; additional records
    /// that do not fit are left out (RFC 2181, 9).
    pub(super) fn reply(
        &self,
        code: OptRcode,
        answer: impl FnOnce(&mut Answers) -> Result<(), PushError>,
        authority: impl FnOnce(&mut Authority) -> Result<(), PushError>,
        additional: impl FnOnce(&mut Additional) -> Result<(), PushError>,
    ) -> Result<Vec<u8>, PushError> {
        let mut builder = MessageBuilder::from_target(StaticCompressor::new(Vec::new()))
            .map_err(|_| PushError::ShortBuf)?;
        let header = builder.header_mut();
        header.set_id(self.header.id());
        header.set_qr(true);
        header.set_rd(self.header.rd());
        header.set_cd(self.header.cd());
        header.set_ra(true);
        header.set_rcode(code.rcode());
        let reserved = self.edns.as_ref().map_or(0, |_| OPT_SIZE);
        // The builder's limit is the first size that is too large.
        let limit = self.limit().saturating_add(1);
        builder.set_push_limit(limit.saturating_sub(reserved));
        let mut builder = builder.question();
        builder.push((&self.name, self.kind, self.class))?;
        let mut builder = builder.answer();
        let mut fits = answer(&mut builder).is_ok();
        let mut builder = builder.authority();
        fits = fits && authority(&mut builder).is_ok();
        let mut builder = builder.additional();
        if fits {
            additional(&mut builder).ok();
        } else {
            builder.header_mut().set_tc(true);
        }
        builder.set_push_limit(limit);
        if let Some(edns) = &self.edns {
            builder.opt(|opt| {
                opt.set_udp_payload_size(MAX_DATAGRAM);
                opt.set_dnssec_ok(edns.dnssec_ok);
                opt.set_rcode(code);
                Ok(())
            })?;
        }
        Ok(builder.finish().into_target())
    }

    /// A reply that has nothing but its code.
    pub(super) fn refuse(&self, code: Rcode) -> Result<Vec<u8>, PushError> {
        self.reply(code.into(), |_| Ok(()), |_| Ok(()), |_| Ok(()))
    }
}

/// An answer to what could not be read beyond its header.
fn bare_reply(asked: Header, code: Rcode) -> Fault {
    let mut header = Header::new();
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    header.set_rcode(code);
    let mut reply = header.as_slice().to_vec();
    // No question and no record.
    reply.resize(12, 0);
    Fault::Reply(reply)
}

/// A name we have written; what a Service's externalName holds may be none.
pub(super) fn name(text: &str) -> Option<OwnName> {
    Name::vec_from_str(text).ok()
}

/// Writes the SOA record that says how long there is no such name (RFC 2308, 3).
pub(super) fn push_soa(to: &mut Authority, apex: &str) -> Result<(), PushError> {
    let (Some(apex), Some(soa)) = (name(apex), soa()) else {
        return Ok(());
    };
    to.push((&apex, TTL, soa))
}

/// The SOA record of every zone here; nobody copies them, so that only the last figure counts.
fn soa() -> Option<Soa<OwnName>> {
    let server = name(&format!("ns.dns.{DOMAIN}"))?;
    let mailbox = name(&format!("hostmaster.{DOMAIN}"))?;
    Some(Soa::new(server, mailbox, 1.into(), TTL, TTL, TTL, TTL))
}

impl Data {
    pub(super) fn kind(&self) -> Rtype {
        match self {
            Self::A(_) => Rtype::A,
            Self::Aaaa(_) => Rtype::AAAA,
            Self::Cname(_) => Rtype::CNAME,
            Self::Ptr(_) => Rtype::PTR,
            Self::Srv { .. } => Rtype::SRV,
            Self::Txt(_) => Rtype::TXT,
            Self::Soa => Rtype::SOA,
        }
    }
}

/// Writes a record; data that cannot be written is left out.
pub(super) fn push(to: &mut Answers, owner: &OwnName, data: &Data) -> Result<(), PushError> {
    match data {
        Data::A(address) => to.push((owner, TTL, A::new(*address))),
        Data::Aaaa(address) => to.push((owner, TTL, Aaaa::new(*address))),
        Data::Cname(target) => match name(target) {
            Some(target) => to.push((owner, TTL, Cname::new(target))),
            None => Ok(()),
        },
        Data::Ptr(target) => match name(target) {
            Some(target) => to.push((owner, TTL, Ptr::new(target))),
            None => Ok(()),
        },
        Data::Srv { port, target } => match name(target) {
            // All alike: no server is to be chosen before another (RFC 2782).
            Some(target) => to.push((owner, TTL, Srv::new(0, 100, *port, target))),
            None => Ok(()),
        },
        Data::Txt(text) => match Txt::<Vec<u8>>::build_from_slice(text.as_bytes()) {
            Ok(text) => to.push((owner, TTL, text)),
            Err(_) => Ok(()),
        },
        Data::Soa => match soa() {
            Some(soa) => to.push((owner, TTL, soa)),
            None => Ok(()),
        },
    }
}

/// Writes an address beside an SRV record that names its owner.
pub(super) fn push_address(
    to: &mut Additional,
    owner: &OwnName,
    data: &Data,
) -> Result<(), PushError> {
    match data {
        Data::A(address) => to.push((owner, TTL, A::new(*address))),
        Data::Aaaa(address) => to.push((owner, TTL, Aaaa::new(*address))),
        Data::Cname(_) | Data::Ptr(_) | Data::Srv { .. } | Data::Txt(_) | Data::Soa => Ok(()),
    }
}

/// Writes that one name stands for another.
pub(super) fn push_alias(
    to: &mut Answers,
    owner: &OwnName,
    target: &OwnName,
) -> Result<(), PushError> {
    to.push((owner, TTL, Cname::new(target)))
}
