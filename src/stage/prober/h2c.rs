//! `httpGet` with `protocol: HTTP2`: HTTP/2 without TLS, known to be spoken (`h2c` with prior
//! knowledge, RFC 9113 3.3).

use std::io::{self, ErrorKind};

use ureq::Error;
use ureq::http::StatusCode;

use super::connection::{self, Connection, Deadline, Security};
use super::hpack;
use super::http::{Answer, MAX_BODY};
use super::http2::{Content, Exchange};
use super::url::Url;

/// Fields of a connection, which HTTP/2 has in another way (8.2.2).
const OF_THE_CONNECTION: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "host",
];

/// One request on a connection of its own.
pub(super) fn ask(
    url: &Url,
    authority: &str,
    headers: &[(&str, String)],
    deadline: Deadline,
) -> Result<Answer, Error> {
    let addresses = connection::addresses(&url.host, url.port.unwrap_or(80), deadline)?;
    let connection = Connection::open(&url.host, &addresses, Security::Plain, deadline)?;
    let mut fields = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":path", url.target.as_str()),
        (":authority", authority),
    ];
    let lower: Vec<(String, &str)> = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
        .filter(|(name, _)| !OF_THE_CONNECTION.contains(&name.as_str()))
        .collect();
    fields.extend(lower.iter().map(|(name, value)| (name.as_str(), *value)));
    let mut exchange = Exchange::start(connection, &fields, &[])?;
    let mut head: Option<(StatusCode, Option<String>)> = None;
    let mut length: u64 = 0;
    loop {
        let part = match (exchange.next(), &head) {
            (Ok(part), _) => part,
            (Err(error), None) => return Err(error.into()),
            (Err(error), Some((status, location))) => {
                return Ok(Answer {
                    status: *status,
                    location: location.clone(),
                    body: Err(in_words(&error)),
                });
            }
        };
        match (part.content, &head) {
            (Content::Headers(fields), None) => {
                let status = value(&fields, ":status")
                    .and_then(|code| code.parse::<u16>().ok())
                    .and_then(|code| StatusCode::from_u16(code).ok())
                    .ok_or_else(|| io::Error::other("malformed HTTP/2 headers"))?;
                // One on the way is none.
                if !status.is_informational() {
                    head = Some((status, value(&fields, "location")));
                }
            }
            // Trailers.
            (Content::Headers(_), Some(_)) => {}
            (Content::Data(data), _) => {
                length = length.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            }
        }
        if part.is_last || length >= MAX_BODY {
            let (status, location) =
                head.ok_or_else(|| io::Error::other("malformed HTTP/2 headers"))?;
            return Ok(Answer {
                status,
                location,
                body: Ok(()),
            });
        }
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut => {
            "context deadline exceeded (Client.Timeout or context cancellation while reading body)"
                .to_owned()
        }
        ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        _ => error.to_string(),
    }
}

fn value(fields: &[hpack::Header], name: &str) -> Option<String> {
    fields
        .iter()
        .find(|(one, _)| one.as_slice() == name.as_bytes())
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::mpsc;

    use super::super::Verdict;
    use super::super::tests::{frame, get, headers, probe, serve};
    use super::*;
    use crate::plan::HttpGet;

    /// The headers of a request that ends with them.
    fn request_of(stream: &mut impl Read) -> Vec<(String, String)> {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).unwrap();
            let mut payload = vec![0; u16::from_be_bytes([head[1], head[2]]).into()];
            stream.read_exact(&mut payload).unwrap();
            if head[3] == 1 {
                assert_eq!(head[4], 0x5, "the end of the headers and of the request");
                let fields = hpack::decode(&payload).unwrap().into_iter();
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                return fields
                    .map(|(name, value)| (text(name), text(value)))
                    .collect();
            }
        }
    }

    fn over_http2(port: u16, path: &str) -> HttpGet {
        HttpGet {
            http2: true,
            ..get(port, path)
        }
    }

    fn answered(answer: Vec<Vec<u8>>) -> Verdict {
        let port = serve(move |mut stream| {
            request_of(&mut stream);
            stream.write_all(&frame(4, 0, 0, &[])).unwrap();
            stream.write_all(&answer.concat()).unwrap();
            io::copy(&mut stream, &mut io::sink()).ok();
        });
        probe(over_http2(port, "/"))
    }

    #[test]
    fn a_request_has_the_kubelets_headers_and_none_of_a_connection() {
        let (sender, receiver) = mpsc::channel();
        let port = serve(move |mut stream| {
            sender.send(request_of(&mut stream)).unwrap();
            stream.write_all(&frame(4, 0, 0, &[])).unwrap();
            stream
                .write_all(&headers(5, &[(":status", "204")]))
                .unwrap();
        });
        let asked = HttpGet {
            headers: vec![("X-Test".to_owned(), "1".to_owned())],
            ..over_http2(port, "/a?b")
        };
        assert_eq!(probe(asked), Verdict::success());
        let authority = format!("127.0.0.1:{port}");
        let expected = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a?b"),
            (":authority", &authority),
            ("user-agent", "kube-probe/1.37"),
            ("accept", "*/*"),
            ("x-test", "1"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(receiver.recv().unwrap(), expected);
    }

    #[test]
    fn a_status_decides_whatever_comes_with_it() {
        let body = vec![b'x'; 8 * 1024];
        let ok = headers(4, &[(":status", "200")]);
        let success = Verdict::success();
        assert_eq!(answered(vec![headers(5, &[(":status", "200")])]), success);
        let early = headers(4, &[(":status", "103")]);
        assert_eq!(
            answered(vec![early, ok.clone(), frame(0, 1, 1, b"x")]),
            success
        );
        // More of a body than is read.
        let long = vec![ok.clone(), frame(0, 0, 1, &body), frame(0, 0, 1, &body)];
        assert_eq!(answered(long), success);
        let failed = Verdict::failure("HTTP probe failed with statuscode: 500");
        assert_eq!(answered(vec![headers(5, &[(":status", "500")])]), failed);
        let elsewhere = headers(5, &[(":status", "302"), ("location", "http://other/")]);
        let redirect = Verdict::warning("Probe terminated redirects");
        assert_eq!(answered(vec![elsewhere]), redirect);
    }

    #[test]
    fn what_is_no_http2_is_a_failure() {
        let port = serve(|mut stream| {
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
        });
        let verdict = probe(over_http2(port, "/"));
        assert_eq!(
            verdict.result,
            crate::wire::ProbeVerdict::Failure,
            "{verdict:?}"
        );
        let verdict = answered(vec![headers(4, &[]), frame(0, 1, 1, b"x")]);
        assert_eq!(
            verdict.result,
            crate::wire::ProbeVerdict::Failure,
            "{verdict:?}"
        );
    }
}
