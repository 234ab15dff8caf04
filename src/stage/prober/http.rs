//! `httpGet` of probes and hooks, as pkg/probe/http and `runHTTPHandler` of the kubelet do it.
//!
//! `ureq` writes the request and reads the answer; connections and their deadlines are ours, and so
//! is the decision which redirects are followed.

use std::io::{self, ErrorKind, Read};

use ureq::config::AutoHeaderValue;
use ureq::http::{StatusCode, header};
use ureq::{Agent, Error};

use super::connection::{Deadline, HttpAnswered};
use super::transport::{Dialer, MAX_HEAD, Names};
use super::url::{self, Url};
use super::{Purpose, VERSION, Verdict, h2c};
use crate::plan::HttpGet;

/// How much of a body is read (`maxRespBodyLength`: 10 KiB).
pub(super) const MAX_BODY: u64 = 10 * 1024;

/// Requests of one probe (`defaultCheckRedirect` of net/http).
const MAX_REQUESTS: usize = 10;

/// Headers that `net/http` writes itself and takes from nobody (`reqWriteExcludeHeader`).
const EXCLUDED: &[&str] = &["host", "content-length", "transfer-encoding", "trailer"];

/// Asks, and follows redirects to the same host.
pub(super) fn probe(get: &HttpGet, purpose: Purpose, deadline: Deadline) -> Verdict {
    let url = Url::new(get.tls, &get.host, get.port, &get.path);
    match follow(get, &url, purpose, deadline) {
        // A hook has been heard when there is an answer.
        Ok(_) if purpose == Purpose::Hook => Verdict::success(),
        Ok(answer) => judge(answer),
        Err(Failed { answered_http, why }) => {
            if purpose == Purpose::Hook && answered_http {
                let url = Url { tls: false, ..url };
                let get = HttpGet {
                    headers: without(&get.headers, "authorization"),
                    ..get.clone()
                };
                if follow(&get, &url, purpose, deadline).is_ok() {
                    return Verdict::warning(
                        "request to HTTPS lifecycle hook got HTTP response, \
                         retry with HTTP succeeded",
                    );
                }
            }
            Verdict::failure(why)
        }
    }
}

fn without(headers: &[(String, String)], name: &str) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(one, _)| !one.eq_ignore_ascii_case(name))
        .cloned()
        .collect()
}

/// A server's last answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) location: Option<String>,
    /// Why the body could not be read.
    pub(super) body: Result<(), String>,
}

impl Answer {
    fn is_redirect(&self) -> bool {
        matches!(self.status.as_u16(), 301 | 302 | 303 | 307 | 308)
    }
}

/// What an answer says about the container (`DoHTTPProbe`).
fn judge(answer: Answer) -> Verdict {
    match answer.body {
        Err(why) => Verdict::unknown(why),
        Ok(()) if answer.status.is_success() => Verdict::success(),
        Ok(()) if answer.status.is_redirection() => Verdict::warning("Probe terminated redirects"),
        Ok(()) => Verdict::failure(format!(
            "HTTP probe failed with statuscode: {}",
            answer.status.as_u16()
        )),
    }
}

/// Why there is no answer.
struct Failed {
    /// TLS was spoken to a server of plain HTTP (`isHTTPResponseError`).
    answered_http: bool,
    /// In the words of Go's `url.Error`.
    why: String,
}

impl Failed {
    fn new(url: &Url, why: &str) -> Self {
        Self {
            answered_http: false,
            why: format!("Get \"{url}\": {why}"),
        }
    }
}

/// Asks until there is an answer that is no redirect to the same host (`RedirectChecker(false)`,
/// which holds for hooks too).
fn follow(
    get: &HttpGet,
    first: &Url,
    purpose: Purpose,
    deadline: Deadline,
) -> Result<Answer, Failed> {
    let mut current = first.clone();
    let mut host = get
        .headers
        .iter()
        .find(|(name, value)| name.eq_ignore_ascii_case("host") && !value.is_empty())
        .map(|(_, value)| value.clone());
    for _ in 0..MAX_REQUESTS {
        let answer =
            ask(get, &current, host.as_deref(), purpose, deadline).map_err(|error| Failed {
                answered_http: is_http_answered(&error),
                ..Failed::new(&current, &reason(&error))
            })?;
        let location = match &answer.location {
            Some(location) if answer.is_redirect() && !location.is_empty() => location,
            _ => return Ok(answer),
        };
        let next = current
            .join(location)
            .map_err(|why| Failed::new(&current, &why))?;
        if next.host != first.host {
            return Ok(answer);
        }
        // A `Host` from the manifest is kept where the redirect is relative.
        if url::is_absolute(location) {
            host = None;
        }
        current = next;
    }
    Err(Failed::new(
        &current,
        &format!("stopped after {MAX_REQUESTS} redirects"),
    ))
}

/// One request on a connection of its own.
fn ask(
    get: &HttpGet,
    url: &Url,
    host: Option<&str>,
    purpose: Purpose,
    deadline: Deadline,
) -> Result<Answer, Error> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(AutoHeaderValue::None)
        .accept(AutoHeaderValue::None)
        .accept_encoding(AutoHeaderValue::None)
        .max_idle_connections(0)
        .max_response_header_size(MAX_HEAD)
        .build();
    let authority = url.authority();
    let mut headers = headers(get, purpose);
    if get.http2 {
        return h2c::ask(url, host.unwrap_or(&authority), &headers, deadline);
    }
    headers.push(("host", host.map_or(authority, str::to_owned)));
    let dialer = Dialer {
        deadline,
        head: headers.iter().fold(url.target.len(), |sum, (name, value)| {
            sum.saturating_add(name.len()).saturating_add(value.len())
        }),
    };
    let mut request = Agent::with_parts(config, dialer, Names { deadline }).get(url.to_string());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.call()?;
    let status = response.status();
    let location = response
        .headers()
        .get(header::LOCATION)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut body = response.into_body().into_reader().take(MAX_BODY);
    let body = match io::copy(&mut body, &mut io::sink()) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(
            "context deadline exceeded (Client.Timeout or context cancellation while reading body)"
                .to_owned(),
        ),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err("unexpected EOF".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    Ok(Answer {
        status,
        location,
        body,
    })
}

/// The headers of a request, without `Host` (`newProbeRequest`).
fn headers(get: &HttpGet, purpose: Purpose) -> Vec<(&str, String)> {
    let given = |name: &str| {
        get.headers
            .iter()
            .any(|(one, _)| one.eq_ignore_ascii_case(name))
    };
    let mut all = Vec::with_capacity(get.headers.len().saturating_add(3));
    if !given("user-agent") {
        let kind = match purpose {
            Purpose::Probe => "probe",
            Purpose::Hook => "lifecycle",
        };
        all.push(("user-agent", format!("kube-{kind}/{VERSION}")));
    }
    if !given("accept") {
        all.push(("accept", "*/*".to_owned()));
    }
    if !given("connection") {
        all.push(("connection", "close".to_owned()));
    }
    for (name, value) in &get.headers {
        let is_default = ["user-agent", "accept"]
            .iter()
            .any(|one| name.eq_ignore_ascii_case(one));
        let is_excluded = EXCLUDED.iter().any(|one| name.eq_ignore_ascii_case(one));
        let is_removed = is_excluded || (is_default && value.is_empty());
        if !is_removed {
            all.push((name, value.clone()));
        }
    }
    all
}

fn is_http_answered(error: &Error) -> bool {
    let Error::Io(error) = error else {
        return false;
    };
    let inner = error.get_ref();
    inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<HttpAnswered>)
}

/// Why a request has got no answer, in Go's words where it has some.
fn reason(error: &Error) -> String {
    match error {
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => {
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()
        }
        Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => "EOF".to_owned(),
        Error::Io(error) => error.to_string(),
        Error::LargeResponseHeader(..) => {
            format!("net/http: server response headers exceeded {MAX_HEAD} bytes; aborted")
        }
        Error::Protocol(error) => {
            format!("net/http: HTTP/1.x transport connection broken: {error}")
        }
        other => other.to_string(),
    }
}
