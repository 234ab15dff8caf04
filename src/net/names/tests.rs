//! Queries and their answers.

use std::fmt::Write;

use domain::base::iana::{Class, Rtype};
use domain::base::opt::UnknownOptData;
use domain::base::{Header, Message, MessageBuilder, Name, ParsedName};
use domain::rdata::AllRecordData;
use proptest::prelude::*;

use super::answer::{Answer, Forward, Transport, Verdict, answer};
use super::*;
use crate::plan::Protocol;

fn port(name: &str, protocol: Protocol, port: u16) -> Port {
    Port {
        name: (!name.is_empty()).then(|| name.to_owned()),
        protocol,
        port,
    }
}

fn service(name: &str, reach: Reach, ports: Vec<Port>, endpoints: Vec<Endpoint>) -> Service {
    Service {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        reach,
        ports,
        endpoints,
    }
}

fn endpoint(address: &str, hostname: Option<&str>, ports: &[Port]) -> Endpoint {
    Endpoint {
        address: address.parse().unwrap(),
        hostname: hostname.map(ToOwned::to_owned),
        ports: ports.to_vec(),
    }
}

fn network(address: &str, prefix: u8) -> Network {
    Network {
        address: address.parse().unwrap(),
        prefix,
    }
}

fn alias(name: &str, target: &str) -> Service {
    service(
        name,
        Reach::ExternalName(target.to_owned()),
        Vec::new(),
        Vec::new(),
    )
}

/// One of everything.
pub(super) fn zone() -> Zone {
    let web = [
        port("http", Protocol::Tcp, 8080),
        port("", Protocol::Udp, 53),
    ];
    let db = [
        port("sql", Protocol::Tcp, 5432),
        port("gossip", Protocol::Udp, 7946),
    ];
    let other_db = [port("sql", Protocol::Tcp, 15432)];
    let services = vec![
        service(
            "web",
            Reach::ClusterIps(vec![
                "10.96.0.10".parse().unwrap(),
                "fd00:96::a".parse().unwrap(),
            ]),
            vec![port("http", Protocol::Tcp, 80), port("", Protocol::Udp, 53)],
            vec![endpoint("10.88.0.5", None, &web)],
        ),
        service(
            "db",
            Reach::Endpoints,
            vec![
                port("sql", Protocol::Tcp, 5432),
                port("gossip", Protocol::Udp, 7946),
            ],
            vec![
                // One address may be several endpoints, with a port each.
                endpoint("10.88.0.6", Some("db-0"), &db[..1]),
                endpoint("10.88.0.6", Some("db-0"), &db[1..]),
                endpoint("fd00:88::6", Some("db-0"), &db),
                endpoint("10.88.0.7", None, &other_db),
                endpoint("fd00:88::", None, &other_db),
            ],
        ),
        service("empty", Reach::Endpoints, db.to_vec(), Vec::new()),
        alias("out", "www.example.com"),
        alias("in", "web.default.svc.cluster.local."),
        alias("twice", "out.default.svc.cluster.local"),
        alias("nowhere", "absent.default.svc.cluster.local"),
        alias("round", "about.default.svc.cluster.local"),
        alias("about", "round.default.svc.cluster.local"),
        alias("broken", "a..b"),
    ];
    let pods = vec![Pod {
        namespace: "default".to_owned(),
        addresses: vec!["10.88.0.5".parse().unwrap(), "fd00:88::5".parse().unwrap()],
    }];
    let networks = vec![
        network("10.88.0.0", 16),
        network("10.96.0.0", 12),
        network("11.0.0.0", 16),
        network("fd00:88::", 64),
    ];
    Zone::new(services, pods, networks)
}

pub(super) fn query(name: &str, kind: Rtype) -> Vec<u8> {
    query_with(name, kind, Class::IN, None)
}

fn query_with(name: &str, kind: Rtype, class: Class, udp_size: Option<u16>) -> Vec<u8> {
    let name = Name::<Vec<u8>>::vec_from_str(name).unwrap();
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((name, kind, class)).unwrap();
    let mut builder = builder.additional();
    if let Some(size) = udp_size {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(size);
                opt.set_dnssec_ok(true);
                opt.push_raw_option(10.into(), 8, |to| {
                    to.extend_from_slice(b"a cookie");
                    Ok(())
                })
            })
            .unwrap();
    }
    builder.finish()
}

/// A message as text: its code and flags, then its records; without SOA's data, which is one.
fn show(bytes: &[u8]) -> String {
    let message = Message::from_octets(bytes).unwrap();
    let header = message.header();
    let mut text = header.rcode().to_string();
    for (set, flag) in [(header.aa(), "aa"), (header.tc(), "tc")] {
        if set {
            write!(text, " {flag}").unwrap();
        }
    }
    let sections = [
        ("", message.answer().unwrap()),
        ("authority ", message.authority().unwrap()),
        ("additional ", message.additional().unwrap()),
    ];
    for (label, section) in sections {
        for record in section.into_records::<AllRecordData<&[u8], ParsedName<&[u8]>>>() {
            let record = record.unwrap();
            if record.rtype() == Rtype::OPT {
                continue;
            }
            assert_eq!(record.ttl().as_secs(), 5, "{record}");
            let data = match record.rtype() {
                Rtype::SOA => String::new(),
                _ => format!(" {}", record.data().to_string().trim_end_matches('.')),
            };
            let owner = record.owner();
            write!(text, "\n{label}{owner} {}{data}", record.rtype()).unwrap();
        }
    }
    text
}

fn ask(zone: &Zone, name: &str, kind: Rtype) -> String {
    match answer(zone, &query(name, kind), Transport::Udp) {
        Answer::Reply(reply) => show(&reply),
        Answer::Forward(forward) => format!("forward {}", asked_of(&forward)),
        Answer::Drop => "drop".to_owned(),
    }
}

fn asked_of(forward: &Forward) -> String {
    let question = forward.question(7).unwrap();
    let message = Message::from_octets(&question[..]).unwrap();
    message.sole_question().unwrap().qname().to_string()
}

fn forwarded(zone: &Zone, bytes: &[u8], transport: Transport) -> Forward {
    match answer(zone, bytes, transport) {
        Answer::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

fn replied(zone: &Zone, bytes: &[u8], transport: Transport) -> Vec<u8> {
    match answer(zone, bytes, transport) {
        Answer::Reply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
#[rustfmt::skip]
fn names_have_the_records_of_the_specification() {
    const NODATA: &str = "NOERROR aa\nauthority cluster.local SOA";
    const MISSING: &str = "NXDOMAIN aa\nauthority cluster.local SOA";
    let zone = zone();
    let table = [
        // A Service with addresses.
        ("web.default.svc.cluster.local", Rtype::A,
            "NOERROR aa\nweb.default.svc.cluster.local A 10.96.0.10"),
        ("web.default.svc.cluster.local", Rtype::AAAA,
            "NOERROR aa\nweb.default.svc.cluster.local AAAA fd00:96::a"),
        ("web.default.svc.cluster.local", Rtype::ANY,
            "NOERROR aa\nweb.default.svc.cluster.local A 10.96.0.10\n\
             web.default.svc.cluster.local AAAA fd00:96::a"),
        ("web.default.svc.cluster.local", Rtype::MX, NODATA),
        ("absent.default.svc.cluster.local", Rtype::A, MISSING),
        ("web.absent.svc.cluster.local", Rtype::A, MISSING),
        ("kubernetes.default.svc.cluster.local", Rtype::A, MISSING),
        ("_http._tcp.web.default.svc.cluster.local", Rtype::SRV,
            "NOERROR aa\n\
             _http._tcp.web.default.svc.cluster.local SRV 0 100 80 web.default.svc.cluster.local\n\
             additional web.default.svc.cluster.local A 10.96.0.10\n\
             additional web.default.svc.cluster.local AAAA fd00:96::a"),
        ("_http._tcp.web.default.svc.cluster.local", Rtype::A, NODATA),
        ("_http._udp.web.default.svc.cluster.local", Rtype::SRV, MISSING),
        ("http._tcp.web.default.svc.cluster.local", Rtype::SRV, MISSING),
        ("_._udp.web.default.svc.cluster.local", Rtype::SRV, MISSING),
        ("_tcp.web.default.svc.cluster.local", Rtype::SRV, NODATA),
        // Its one UDP port has no name.
        ("_udp.web.default.svc.cluster.local", Rtype::SRV, MISSING),
        ("10-88-0-5.web.default.svc.cluster.local", Rtype::A,
            "NOERROR aa\n10-88-0-5.web.default.svc.cluster.local A 10.88.0.5"),
        ("a.b.c.web.default.svc.cluster.local", Rtype::A, MISSING),
        // A headless one.
        ("db.default.svc.cluster.local", Rtype::A,
            "NOERROR aa\ndb.default.svc.cluster.local A 10.88.0.6\n\
             db.default.svc.cluster.local A 10.88.0.7"),
        ("db.default.svc.cluster.local", Rtype::AAAA,
            "NOERROR aa\ndb.default.svc.cluster.local AAAA fd00:88::6\n\
             db.default.svc.cluster.local AAAA fd00:88::"),
        ("db-0.db.default.svc.cluster.local", Rtype::A,
            "NOERROR aa\ndb-0.db.default.svc.cluster.local A 10.88.0.6"),
        ("db-0.db.default.svc.cluster.local", Rtype::AAAA,
            "NOERROR aa\ndb-0.db.default.svc.cluster.local AAAA fd00:88::6"),
        ("db-1.db.default.svc.cluster.local", Rtype::A, MISSING),
        ("10-88-0-7.db.default.svc.cluster.local", Rtype::A,
            "NOERROR aa\n10-88-0-7.db.default.svc.cluster.local A 10.88.0.7"),
        // One with a hostname is called by it.
        ("10-88-0-6.db.default.svc.cluster.local", Rtype::A, MISSING),
        ("fd00-88--0.db.default.svc.cluster.local", Rtype::AAAA,
            "NOERROR aa\nfd00-88--0.db.default.svc.cluster.local AAAA fd00:88::"),
        ("_sql._tcp.db.default.svc.cluster.local", Rtype::SRV,
            "NOERROR aa\n\
             _sql._tcp.db.default.svc.cluster.local SRV 0 100 5432 db-0.db.default.svc.cluster.local\n\
             _sql._tcp.db.default.svc.cluster.local SRV 0 100 15432 10-88-0-7.db.default.svc.cluster.local\n\
             _sql._tcp.db.default.svc.cluster.local SRV 0 100 15432 fd00-88--0.db.default.svc.cluster.local\n\
             additional db-0.db.default.svc.cluster.local A 10.88.0.6\n\
             additional db-0.db.default.svc.cluster.local AAAA fd00:88::6\n\
             additional 10-88-0-7.db.default.svc.cluster.local A 10.88.0.7\n\
             additional fd00-88--0.db.default.svc.cluster.local AAAA fd00:88::"),
        ("_gossip._udp.db.default.svc.cluster.local", Rtype::SRV,
            "NOERROR aa\n\
             _gossip._udp.db.default.svc.cluster.local SRV 0 100 7946 db-0.db.default.svc.cluster.local\n\
             additional db-0.db.default.svc.cluster.local A 10.88.0.6\n\
             additional db-0.db.default.svc.cluster.local AAAA fd00:88::6"),
        ("_udp.db.default.svc.cluster.local", Rtype::A, NODATA),
        ("empty.default.svc.cluster.local", Rtype::A, MISSING),
        ("_sql._tcp.empty.default.svc.cluster.local", Rtype::SRV, MISSING),
        // Pods.
        ("10-88-0-5.default.pod.cluster.local", Rtype::A,
            "NOERROR aa\n10-88-0-5.default.pod.cluster.local A 10.88.0.5"),
        ("10-88-0-5.default.pod.cluster.local", Rtype::AAAA, NODATA),
        ("fd00-88--5.default.pod.cluster.local", Rtype::AAAA,
            "NOERROR aa\nfd00-88--5.default.pod.cluster.local AAAA fd00:88::5"),
        ("10-88-0-9.default.pod.cluster.local", Rtype::A, MISSING),
        ("10-88-0-5.other.pod.cluster.local", Rtype::A, MISSING),
        // Names between.
        ("cluster.local", Rtype::A, NODATA),
        ("cluster.local", Rtype::SOA, "NOERROR aa\ncluster.local SOA"),
        ("svc.cluster.local", Rtype::A, NODATA),
        ("pod.cluster.local", Rtype::A, NODATA),
        ("default.svc.cluster.local", Rtype::A, NODATA),
        ("default.pod.cluster.local", Rtype::A, NODATA),
        ("other.svc.cluster.local", Rtype::A, MISSING),
        ("com.cluster.local", Rtype::A, MISSING),
        ("dns-version.cluster.local", Rtype::TXT,
            "NOERROR aa\ndns-version.cluster.local TXT \"1.1.0\""),
        // Aliases.
        ("out.default.svc.cluster.local", Rtype::A, "forward www.example.com"),
        ("twice.default.svc.cluster.local", Rtype::AAAA, "forward www.example.com"),
        ("out.default.svc.cluster.local", Rtype::CNAME,
            "NOERROR aa\nout.default.svc.cluster.local CNAME www.example.com"),
        ("in.default.svc.cluster.local", Rtype::A,
            "NOERROR aa\nin.default.svc.cluster.local CNAME web.default.svc.cluster.local\n\
             web.default.svc.cluster.local A 10.96.0.10"),
        ("in.default.svc.cluster.local", Rtype::TXT,
            "NOERROR aa\nin.default.svc.cluster.local CNAME web.default.svc.cluster.local\n\
             authority cluster.local SOA"),
        ("nowhere.default.svc.cluster.local", Rtype::A,
            "NXDOMAIN aa\nnowhere.default.svc.cluster.local CNAME absent.default.svc.cluster.local\n\
             authority cluster.local SOA"),
        ("x.out.default.svc.cluster.local", Rtype::A, MISSING),
        ("round.default.svc.cluster.local", Rtype::A, "SERVFAIL"),
        ("broken.default.svc.cluster.local", Rtype::A, "SERVFAIL"),
        // Names of addresses.
        ("10.0.96.10.in-addr.arpa", Rtype::PTR,
            "NOERROR aa\n10.0.96.10.in-addr.arpa PTR web.default.svc.cluster.local"),
        ("6.0.88.10.in-addr.arpa", Rtype::PTR,
            "NOERROR aa\n6.0.88.10.in-addr.arpa PTR db-0.db.default.svc.cluster.local"),
        ("7.0.88.10.in-addr.arpa", Rtype::PTR,
            "NOERROR aa\n7.0.88.10.in-addr.arpa PTR 10-88-0-7.db.default.svc.cluster.local"),
        ("7.0.88.10.in-addr.arpa", Rtype::A,
            "NOERROR aa\nauthority 88.10.in-addr.arpa SOA"),
        ("99.0.88.10.in-addr.arpa", Rtype::PTR,
            "NXDOMAIN aa\nauthority 88.10.in-addr.arpa SOA"),
        ("x.7.0.88.10.in-addr.arpa", Rtype::PTR,
            "NXDOMAIN aa\nauthority 88.10.in-addr.arpa SOA"),
        ("0.88.10.in-addr.arpa", Rtype::PTR,
            "NOERROR aa\nauthority 88.10.in-addr.arpa SOA"),
        ("1.88.10.in-addr.arpa", Rtype::PTR,
            "NXDOMAIN aa\nauthority 88.10.in-addr.arpa SOA"),
        ("88.10.in-addr.arpa", Rtype::SOA, "NOERROR aa\n88.10.in-addr.arpa SOA"),
        ("1.0.111.10.in-addr.arpa", Rtype::PTR,
            "NXDOMAIN aa\nauthority 111.10.in-addr.arpa SOA"),
        ("1.0.112.10.in-addr.arpa", Rtype::PTR, "forward 1.0.112.10.in-addr.arpa"),
        ("10.in-addr.arpa", Rtype::PTR, "forward 10.in-addr.arpa"),
        ("11.in-addr.arpa", Rtype::PTR, "forward 11.in-addr.arpa"),
        ("0.11.in-addr.arpa", Rtype::PTR, "NOERROR aa\nauthority 0.11.in-addr.arpa SOA"),
        ("006.0.88.10.in-addr.arpa", Rtype::PTR,
            "NXDOMAIN aa\nauthority 88.10.in-addr.arpa SOA"),
        ("1.2.0.192.in-addr.arpa", Rtype::PTR, "forward 1.2.0.192.in-addr.arpa"),
        ("6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.8.0.0.0.0.d.f.ip6.arpa", Rtype::PTR,
            "NOERROR aa\n\
             6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.8.0.0.0.0.d.f.ip6.arpa PTR \
             db-0.db.default.svc.cluster.local"),
        ("9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.8.0.0.0.0.d.f.ip6.arpa", Rtype::PTR,
            "NXDOMAIN aa\nauthority 0.0.0.0.0.0.0.0.8.8.0.0.0.0.d.f.ip6.arpa SOA"),
        ("0.0.0.0.0.0.0.0.0.8.8.0.0.0.0.d.f.ip6.arpa", Rtype::PTR,
            "NOERROR aa\nauthority 0.0.0.0.0.0.0.0.8.8.0.0.0.0.d.f.ip6.arpa SOA"),
        ("8.b.d.0.1.0.0.2.ip6.arpa", Rtype::PTR, "forward 8.b.d.0.1.0.0.2.ip6.arpa"),
        // All the others.
        ("example.com", Rtype::A, "forward example.com"),
        ("local", Rtype::A, "forward local"),
        ("printer.local", Rtype::A, "forward printer.local"),
        ("notcluster.local", Rtype::A, "forward notcluster.local"),
        (".", Rtype::NS, "forward "),
        ("kubernetes.default", Rtype::A, "NXDOMAIN aa\nauthority default SOA"),
        ("kubernetes.default.svc", Rtype::A, "NXDOMAIN aa\nauthority svc SOA"),
        ("example.com", Rtype::AXFR, "REFUSED"),
    ];
    for (name, kind, expected) in table {
        assert_eq!(ask(&zone, name, kind), expected, "{name} {kind}");
    }
}

#[test]
fn letters_compare_in_any_case_and_come_back_as_they_were_asked() {
    let zone = zone();
    let reply = replied(
        &zone,
        &query("WeB.dEFAULT.svc.cluster.LOCAL", Rtype::A),
        Transport::Udp,
    );
    let text = show(&reply);
    assert_eq!(
        text,
        "NOERROR aa\nWeB.dEFAULT.svc.cluster.LOCAL A 10.96.0.10"
    );
    // As the question, which the answer's owner points to.
    let question = query("WeB.dEFAULT.svc.cluster.LOCAL", Rtype::A);
    assert_eq!(reply[12..question.len()], question[12..]);
    let shouted = "_SQL._TCP.DB.DEFAULT.SVC.CLUSTER.LOCAL";
    assert!(ask(&zone, shouted, Rtype::SRV).contains(" SRV 0 100 5432 db-0."));
    assert_eq!(
        ask(&zone, "KUBERNETES.default", Rtype::A),
        "NXDOMAIN aa\nauthority default SOA"
    );
}

#[test]
fn the_asker_s_id_and_wishes_are_mirrored() {
    let reply = replied(
        &zone(),
        &query_with(
            "web.default.svc.cluster.local",
            Rtype::A,
            Class::IN,
            Some(4096),
        ),
        Transport::Udp,
    );
    let message = Message::from_octets(&reply[..]).unwrap();
    let header = message.header();
    assert_eq!(header.id(), 0x1234);
    assert!(header.qr() && header.rd() && header.ra());
    let opt = message.opt().unwrap();
    assert_eq!(opt.udp_payload_size(), 1232);
    assert!(opt.dnssec_ok());
    assert_eq!(opt.version(), 0);
    let plain = replied(
        &zone(),
        &query("web.default.svc.cluster.local", Rtype::A),
        Transport::Udp,
    );
    assert!(Message::from_octets(&plain[..]).unwrap().opt().is_none());
}

#[test]
fn a_negative_answer_may_be_kept_for_five_seconds() {
    let query = query("absent.default.svc.cluster.local", Rtype::A);
    let reply = replied(&zone(), &query, Transport::Udp);
    let message = Message::from_octets(&reply[..]).unwrap();
    let mut authority = message.authority().unwrap();
    let record = authority.next().unwrap().unwrap();
    let record = record
        .to_record::<domain::rdata::Soa<ParsedName<&[u8]>>>()
        .unwrap()
        .unwrap();
    assert_eq!(record.ttl().as_secs(), 5);
    assert_eq!(record.data().minimum().as_secs(), 5);
}

/// A headless Service with this many endpoints.
fn crowd(count: u16) -> Zone {
    let endpoints = (0..count)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            let address = format!("10.88.{high}.{low}");
            endpoint(&address, None, &[port("p", Protocol::Tcp, 1)])
        })
        .collect();
    let crowd = service("crowd", Reach::Endpoints, Vec::new(), endpoints);
    Zone::new(vec![crowd], Vec::new(), Vec::new())
}

#[test]
fn what_does_not_fit_a_datagram_is_cut_and_marked() {
    let zone = crowd(300);
    let name = "crowd.default.svc.cluster.local";
    let count = |reply: &[u8]| {
        Message::from_octets(reply)
            .unwrap()
            .header_counts()
            .ancount()
    };
    let is_cut = |reply: &[u8]| Message::from_octets(reply).unwrap().header().tc();
    for (said, limit) in [
        (None, 512),
        (Some(100), 512),
        (Some(700), 700),
        // Room for one more address, were it not for the extensions.
        (Some(705), 705),
        (Some(4096), 1232),
    ] {
        let query = query_with(name, Rtype::A, Class::IN, said);
        let reply = replied(&zone, &query, Transport::Udp);
        // As full as it can be: the next record of 16 bytes would not fit.
        assert!(
            reply.len() <= limit && reply.len() + 16 > limit,
            "{}",
            reply.len()
        );
        assert!(is_cut(&reply) && count(&reply) > 25);
        assert_eq!(
            Message::from_octets(&reply[..]).unwrap().opt().is_some(),
            said.is_some()
        );
    }
    let whole = replied(&zone, &query(name, Rtype::A), Transport::Tcp);
    assert!(!is_cut(&whole));
    assert_eq!(count(&whole), 300);
    // Exactly as large as allowed is not too large.
    let exact = replied(&crowd(28), &query(name, Rtype::A), Transport::Udp);
    assert_eq!(exact.len(), 12 + 37 + 28 * 16);
    assert!(!is_cut(&exact));
    let over = replied(&crowd(30), &query(name, Rtype::A), Transport::Udp);
    assert!(is_cut(&over));
    assert_eq!(count(&over), 28);
    assert!(over.len() <= 512);
    // More than any message holds.
    let flood = replied(&crowd(5000), &query(name, Rtype::A), Transport::Tcp);
    assert!(is_cut(&flood) && flood.len() <= 65_535);
}

#[test]
fn addresses_beside_srv_records_are_left_out_where_they_do_not_fit() {
    let query = query("_p._tcp.crowd.default.svc.cluster.local", Rtype::SRV);
    let reply = replied(&crowd(7), &query, Transport::Udp);
    let message = Message::from_octets(&reply[..]).unwrap();
    let counts = message.header_counts();
    assert!(!message.header().tc());
    assert_eq!(counts.ancount(), 7);
    assert!(counts.arcount() < 7);
}

#[test]
fn what_is_no_query_is_refused_or_passed_over() {
    let zone = zone();
    let good = query("web.default.svc.cluster.local", Rtype::A);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        match answer(&zone, &bytes, Transport::Udp) {
            Answer::Reply(reply) => {
                let header = Header::for_message_slice(&reply);
                assert!(header.qr());
                assert_eq!(header.id(), 0x1234);
                assert_eq!(header.opcode(), Header::for_message_slice(&bytes).opcode());
                show(&reply)
            }
            Answer::Forward(_) => "forward".to_owned(),
            Answer::Drop => "drop".to_owned(),
        }
    };
    assert_eq!(with(&|bytes| bytes.truncate(11)), "drop");
    assert_eq!(with(&|bytes| bytes.clear()), "drop");
    // A response, be it to an unknown kind of question.
    assert_eq!(with(&|bytes| bytes[2] |= 0x80), "drop");
    assert_eq!(with(&|bytes| bytes[2] |= 0xa8), "drop");
    // NOTIFY and UPDATE.
    assert_eq!(with(&|bytes| bytes[2] |= 4 << 3), "NOTIMP");
    assert_eq!(with(&|bytes| bytes[2] |= 5 << 3), "NOTIMP");
    // No question, two, and one that ends early.
    assert_eq!(with(&|bytes| bytes[5] = 0), "FORMERR");
    assert_eq!(
        with(&|bytes| {
            bytes[5] = 2;
            bytes.extend_from_within(12..);
        }),
        "FORMERR"
    );
    assert_eq!(with(&|bytes| bytes.truncate(20)), "FORMERR");
    // A name that points to itself.
    assert_eq!(
        with(&|bytes| {
            bytes.truncate(12);
            bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        }),
        "FORMERR"
    );
    // A record that is promised and missing.
    assert_eq!(with(&|bytes| bytes[11] = 1), "FORMERR");
    // Extensions of a later version, of two minds, and broken ones.
    let opt = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];
    let with_opts = |opts: &[&[u8]]| {
        with(&|bytes| {
            bytes[11] = u8::try_from(opts.len()).unwrap();
            bytes.extend(opts.concat());
        })
    };
    assert!(with_opts(&[&opt]).starts_with("NOERROR"));
    assert_eq!(with_opts(&[&opt, &opt]), "FORMERR");
    let mut later = opt;
    later[6] = 1;
    assert_eq!(with_opts(&[&later]), "NOERROR");
    let mut bytes = good.clone();
    bytes[11] = 1;
    bytes.extend(later);
    let reply = replied(&zone, &bytes, Transport::Udp);
    let message = Message::from_octets(&reply[..]).unwrap();
    assert_eq!(message.opt_rcode().to_int(), 16);
    let mut broken = opt.to_vec();
    broken[10] = 3;
    broken.extend([0, 10, 0]);
    assert_eq!(with_opts(&[&broken]), "FORMERR");
    // Another class, of our names and of others.
    let chaos = |name| query_with(name, Rtype::TXT, Class::CH, None);
    let reply = replied(
        &zone,
        &chaos("web.default.svc.cluster.local"),
        Transport::Udp,
    );
    assert_eq!(show(&reply), "REFUSED");
    forwarded(&zone, &chaos("version.bind"), Transport::Udp);
}

/// The answer of another server: the question with its id, and an address of its name.
fn upstream_answer(question: &[u8], records: &[(&str, [u8; 4])]) -> Vec<u8> {
    let question = Message::from_octets(question).unwrap();
    let mut answer = MessageBuilder::new_vec()
        .start_answer(&question, domain::base::iana::Rcode::NOERROR)
        .unwrap();
    for (name, address) in records {
        let name = Name::<Vec<u8>>::vec_from_str(name).unwrap();
        let address = domain::rdata::A::new((*address).into());
        answer.push((name, 5, address)).unwrap();
    }
    answer.finish()
}

#[test]
fn a_question_is_forwarded_with_its_extensions_and_a_bounded_size() {
    let bytes = query_with("Example.COM", Rtype::A, Class::IN, Some(4096));
    let forward = forwarded(&zone(), &bytes, Transport::Udp);
    let question = forward.question(77).unwrap();
    let message = Message::from_octets(&question[..]).unwrap();
    assert_eq!(message.header().id(), 77);
    assert!(message.header().rd() && !message.header().qr());
    assert_eq!(
        message.sole_question().unwrap().qname().to_string(),
        "Example.COM"
    );
    let opt = message.opt().unwrap();
    assert_eq!(opt.udp_payload_size(), 1232);
    assert!(opt.dnssec_ok());
    let options = opt.opt().iter::<UnknownOptData<&[u8]>>();
    let options: Vec<_> = options
        .map(|option| option.unwrap())
        .map(|option| (option.code().to_int(), option.as_slice().to_vec()))
        .collect();
    assert_eq!(options, [(10, b"a cookie".to_vec())]);
    let forward = forwarded(&zone(), &query("example.com", Rtype::A), Transport::Udp);
    let question = forward.question(78).unwrap();
    assert!(Message::from_octets(&question[..]).unwrap().opt().is_none());
}

#[test]
fn an_answer_is_known_by_id_and_question() {
    let forward = forwarded(&zone(), &query("Example.COM", Rtype::A), Transport::Udp);
    let question = forward.question(77).unwrap();
    let good = upstream_answer(&question, &[("example.com", [192, 0, 2, 1])]);
    assert_eq!(forward.judge(77, &good), Verdict::Answer);
    assert_eq!(forward.judge(78, &good), Verdict::Stranger);
    assert_eq!(forward.judge(77, &question), Verdict::Stranger);
    assert_eq!(forward.judge(77, &good[..11]), Verdict::Stranger);
    assert_eq!(forward.judge(77, &good[..20]), Verdict::Stranger);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        forward.judge(77, &bytes)
    };
    // Another name, type and class; the same name in another case.
    assert_eq!(with(&|bytes| bytes[14] = b'y'), Verdict::Stranger);
    assert_eq!(with(&|bytes| bytes[26] = 28), Verdict::Stranger);
    assert_eq!(with(&|bytes| bytes[28] = 3), Verdict::Stranger);
    assert_eq!(with(&|bytes| bytes[13] = b'e'), Verdict::Answer);
    assert_eq!(with(&|bytes| bytes[5] = 2), Verdict::Stranger);
    assert_eq!(with(&|bytes| bytes[2] |= 2), Verdict::Cut);
    assert_eq!(with(&|bytes| bytes[3] |= 3), Verdict::Answer);
    for code in [1, 2, 4, 5] {
        assert_eq!(with(&|bytes| bytes[3] |= code), Verdict::Failure);
        let bare = |bytes: &mut Vec<u8>| {
            bytes.truncate(12);
            bytes[3] |= code;
            bytes[4..12].fill(0);
        };
        assert_eq!(with(&bare), Verdict::Failure);
    }
    let bare = |bytes: &mut Vec<u8>| {
        bytes.truncate(12);
        bytes[4..12].fill(0);
    };
    assert_eq!(with(&bare), Verdict::Stranger);
}

#[test]
fn a_forwarded_answer_bears_the_asker_s_id_and_letters() {
    let asked = query("Example.COM", Rtype::A);
    let forward = forwarded(&zone(), &asked, Transport::Udp);
    let mut upstream = upstream_answer(
        &forward.question(77).unwrap(),
        &[("example.com", [192, 0, 2, 1])],
    );
    upstream[13..20].make_ascii_lowercase();
    let reply = forward.reply(&upstream);
    assert_eq!(reply[..2], [0x12, 0x34]);
    assert_eq!(reply[12..29], asked[12..29]);
    assert_eq!(reply[29..], upstream[29..]);
    assert_eq!(show(&reply), "NOERROR\nexample.com A 192.0.2.1");
}

#[test]
fn a_forwarded_answer_that_is_too_long_is_cut() {
    let asked = query("example.com", Rtype::A);
    let records = [("example.com", [192, 0, 2, 1]); 30];
    let forward = forwarded(&zone(), &asked, Transport::Udp);
    let upstream = upstream_answer(&forward.question(77).unwrap(), &records);
    assert_eq!(show(&forward.reply(&upstream)), "NOERROR tc");
    let forward = forwarded(&zone(), &asked, Transport::Tcp);
    assert_eq!(forward.reply(&upstream).len(), upstream.len());
}

#[test]
fn an_external_name_is_an_alias_with_the_answer_about_its_target() {
    let asked = query("twice.default.svc.cluster.local", Rtype::A);
    let forward = forwarded(&zone(), &asked, Transport::Udp);
    let question = forward.question(77).unwrap();
    let mut upstream = upstream_answer(&question, &[("www.example.com", [192, 0, 2, 1])]);
    assert_eq!(forward.judge(77, &upstream), Verdict::Answer);
    let aliases = "\ntwice.default.svc.cluster.local CNAME out.default.svc.cluster.local\
                   \nout.default.svc.cluster.local CNAME www.example.com";
    assert_eq!(
        show(&forward.reply(&upstream)),
        format!("NOERROR{aliases}\nwww.example.com A 192.0.2.1")
    );
    assert_eq!(forward.reply(&upstream)[..2], [0x12, 0x34]);
    // No such target.
    upstream[3] |= 3;
    upstream.truncate(question.len());
    upstream[7] = 0;
    assert_eq!(
        show(&forward.reply(&upstream)),
        format!("NXDOMAIN{aliases}")
    );
    assert_eq!(show(&forward.failure()), "SERVFAIL");
}

#[test]
fn a_chain_of_aliases_has_an_end() {
    let chain = |length: usize| {
        let mut services: Vec<Service> = (0..length)
            .map(|number| {
                let target = format!("a{}.default.svc.cluster.local", number + 1);
                alias(&format!("a{number}"), &target)
            })
            .collect();
        let own = Reach::ClusterIps(vec!["10.96.0.1".parse().unwrap()]);
        services.push(service(&format!("a{length}"), own, Vec::new(), Vec::new()));
        let zone = Zone::new(services, Vec::new(), Vec::new());
        ask(&zone, "a0.default.svc.cluster.local", Rtype::A)
    };
    assert!(chain(8).ends_with("a8.default.svc.cluster.local A 10.96.0.1"));
    assert_eq!(chain(9), "SERVFAIL");
}

/// Bytes that are nearly a query.
fn nearly_a_query() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec![
        "web.default.svc.cluster.local",
        "_sql._tcp.db.default.svc.cluster.local",
        "out.default.svc.cluster.local",
        "10-88-0-5.default.pod.cluster.local",
        "6.0.88.10.in-addr.arpa",
        "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.8.0.0.0.0.d.f.ip6.arpa",
        "example.com",
    ]);
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (
        names,
        any::<u16>(),
        prop::option::of(any::<u16>()),
        prop::collection::vec(change, 0..6),
        prop::option::of(any::<prop::sample::Index>()),
        prop::collection::vec(any::<u8>(), 0..20),
    )
        .prop_map(|(name, kind, size, changes, cut, tail)| {
            let mut bytes = query_with(name, Rtype::from_int(kind), Class::IN, size);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes.extend(tail);
            bytes
        })
}

fn either_transport() -> impl Strategy<Value = Transport> {
    prop::sample::select(vec![Transport::Udp, Transport::Tcp])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_have_an_answer_that_is_in_order(
        bytes in prop_oneof![nearly_a_query(), prop::collection::vec(any::<u8>(), 0..600)],
        other in prop::collection::vec(any::<u8>(), 0..600),
        transport in either_transport(),
    ) {
        match answer(&zone(), &bytes, transport) {
            Answer::Reply(reply) => {
                let message = Message::from_octets(&reply[..]).unwrap();
                prop_assert!(message.header().qr());
                prop_assert_eq!(&reply[..2], &bytes[..2]);
                prop_assert!(transport == Transport::Tcp || reply.len() <= 1232);
                for record in message.additional().unwrap() {
                    record.unwrap();
                }
            }
            Answer::Forward(forward) => {
                forward.judge(1, &other);
                forward.reply(&other);
                if let Some(question) = forward.question(1) {
                    // What another server may send: nearly an answer.
                    let mut nearly = question;
                    nearly[2] |= 0x80;
                    nearly.extend(&other);
                    forward.judge(1, &nearly);
                    let reply = forward.reply(&nearly);
                    prop_assert_eq!(&reply[..2], &bytes[..2]);
                    prop_assert!(transport == Transport::Tcp || reply.len() <= 1232);
                }
            }
            Answer::Drop => {}
        }
    }
}
