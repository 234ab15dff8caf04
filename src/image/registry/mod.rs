//! The registry protocol (OCI distribution specification) over HTTP(S).

mod challenge;

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{HeaderMap, StatusCode, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

use super::auth::Credential;
use super::oci::{DOCKER_LIST, DOCKER_MANIFEST, MAX_DOCUMENT, OCI_INDEX, OCI_MANIFEST};
use super::registries::Endpoint;
use super::{Digest, ImageError, Reference, escape};
use crate::resolve;

/// The largest token or error body (containers/image's `iolimits`).
const MAX_ANSWER: u64 = 1024 * 1024;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// A server that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_mins(1);

/// The whole of one document.
const DOCUMENT_TIME: Duration = Duration::from_mins(2);

/// One repository on one registry.
#[derive(Debug)]
pub(super) struct Registry {
    agent: Agent,
    endpoint: Endpoint,
    scheme: &'static str,
    credential: Option<Credential>,
    /// The `Authorization` that the registry asked for.
    authorization: Mutex<Option<String>>,
    image: String,
}

/// Names are resolved by us: a static binary has no C library's resolver.
#[derive(Debug)]
struct OwnResolver;

impl Resolver for OwnResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let default = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let port = uri.port_u16().unwrap_or(default);
        let mut found = self.empty();
        let addresses = resolve::resolve(host, None).map_err(|_| ureq::Error::HostNotFound)?;
        for address in addresses.into_iter().take(8) {
            found.push(SocketAddr::new(address, port));
        }
        if found.is_empty() {
            Err(ureq::Error::HostNotFound)
        } else {
            Ok(found)
        }
    }
}

fn agent(endpoint: &Endpoint, scheme: &str) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        // Followed here, where it is known what may be sent to whom.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(ureq::Proxy::try_from_env())
        .user_agent(concat!("podrun/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(SILENCE));
    if scheme == "https" {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots: Vec<Certificate<'static>> = rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .map(|cert| Certificate::from_der(cert.as_ref()).to_owned())
            .collect();
        config = config.tls_config(
            TlsConfig::builder()
                .unversioned_rustls_crypto_provider(provider)
                .root_certs(RootCerts::new_with_certs(&roots))
                .disable_verification(endpoint.insecure)
                .build(),
        );
    }
    Agent::with_parts(config.build(), DefaultConnector::new(), OwnResolver)
}

/// Whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name == "localhost"
        || name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl Registry {
    /// Connects: HTTPS; plain HTTP where it is allowed and HTTPS is not spoken, which is the case
    /// for insecure registries and for those on this machine (as Docker does it).
    pub(super) fn connect(
        endpoint: Endpoint,
        reference: &Reference,
        credential: Option<Credential>,
    ) -> Self {
        let may_be_plain = endpoint.insecure || is_loopback(&endpoint.host);
        let mut registry = Self {
            agent: agent(&endpoint, "https"),
            scheme: "https",
            credential,
            authorization: Mutex::new(None),
            image: reference.familiar(),
            endpoint,
        };
        if may_be_plain && registry.send("v2/", &[]).is_err() {
            registry.scheme = "http";
            registry.agent = agent(&registry.endpoint, "http");
        }
        registry
    }

    fn failed(&self, why: impl AsRef<str>) -> ImageError {
        ImageError::Registry {
            object: self.endpoint.host.clone(),
            why: escape(why.as_ref()),
            hint: None,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}/{path}", self.scheme, self.endpoint.host)
    }

    /// One request without any thought of authorization.
    fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<ureq::http::Response<Body>, ImageError> {
        self.fetch(&self.url(path), headers)
    }

    fn fetch(
        &self,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<ureq::http::Response<Body>, ImageError> {
        let mut request = self.agent.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
            .call()
            .map_err(|error| self.failed(error.to_string()))
    }

    /// A request with the authorization that the registry wants, over its redirects.
    fn get(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<ureq::http::Response<Body>, ImageError> {
        for attempt in 0..2 {
            let known = self
                .authorization
                .lock()
                .ok()
                .and_then(|authorization| authorization.clone());
            let mut all = headers.to_vec();
            if let Some(known) = &known {
                all.push(("authorization", known));
            }
            let mut response = self.send(path, &all)?;
            // Only the registry's own challenge is answered, never that of a host it redirects to
            // (CVE-2020-15157).
            if response.status() == StatusCode::UNAUTHORIZED && attempt == 0 {
                self.authorize(response.headers())?;
                continue;
            }
            let mut url = self.url(path);
            for _ in 0..MAX_REDIRECTS {
                if !response.status().is_redirection() {
                    return Ok(response);
                }
                let next = self.redirection(&url, response.headers())?;
                let headers = if same_origin(&url, &next) {
                    &all[..]
                } else {
                    headers
                };
                response = self.fetch(&next, headers)?;
                url = next;
            }
            return Err(self.failed("too many redirects"));
        }
        Err(self.denied("the credentials were refused"))
    }

    fn redirection(&self, from: &str, headers: &HeaderMap) -> Result<String, ImageError> {
        let location = headers
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| self.failed("a redirect leads nowhere"))?;
        let next = if location.starts_with('/') {
            let origin: String = from.split('/').take(3).collect::<Vec<_>>().join("/");
            format!("{origin}{location}")
        } else {
            location.to_owned()
        };
        if from.starts_with("https://") && !next.starts_with("https://") {
            return Err(self.failed("a redirect leads from HTTPS to something else"));
        }
        if !next.starts_with("https://") && !next.starts_with("http://") {
            return Err(self.failed("a redirect leads to no web address"));
        }
        Ok(next)
    }

    fn denied(&self, why: &str) -> ImageError {
        ImageError::Denied {
            reference: self.image.clone(),
            why: escape(why),
            hint: Some(
                "log in with `skopeo login`, `podman login` or `docker login`; podrun reads their files"
                    .to_owned(),
            ),
        }
    }

    /// What an unsuccessful answer means.
    fn unsuccessful(&self, status: StatusCode, what: &str) -> ImageError {
        match status {
            StatusCode::NOT_FOUND => ImageError::NotFound {
                reference: self.image.clone(),
                why: format!("{} has no such {what}", self.endpoint.host),
                hint: Some("check the name and the tag".to_owned()),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.denied(&format!("{} says {status}", self.endpoint.host))
            }
            _ => self.failed(format!("it says {status} for the {what}")),
        }
    }

    /// A manifest or index by tag or digest, with the media type the registry tells.
    pub(super) fn manifest(&self, name: &str) -> Result<(Vec<u8>, Option<String>), ImageError> {
        let accept = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ");
        let path = format!("v2/{}/manifests/{name}", self.endpoint.repository);
        let mut response = self.get(&path, &[("accept", &accept)])?;
        if !response.status().is_success() {
            return Err(self.unsuccessful(response.status(), "image"));
        }
        let media_type = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(|value| {
                value
                    .split(';')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            });
        let body = self.document(response.body_mut())?;
        Ok((body, media_type))
    }

    fn document(&self, body: &mut Body) -> Result<Vec<u8>, ImageError> {
        let started = std::time::Instant::now();
        let mut reader = body.as_reader().take(MAX_DOCUMENT.saturating_add(1));
        let mut bytes = Vec::new();
        let mut block = [0; 16 * 1024];
        loop {
            let length = reader
                .read(&mut block)
                .map_err(|error| self.failed(error.to_string()))?;
            if length == 0 {
                break;
            }
            bytes.extend_from_slice(block.get(..length).unwrap_or_default());
            if started.elapsed() > DOCUMENT_TIME {
                return Err(self.failed("it sends too slowly"));
            }
        }
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_DOCUMENT {
            return Err(ImageError::invalid(
                "the document",
                "it is larger than 4 MiB",
            ));
        }
        Ok(bytes)
    }

    /// A small blob, such as a config.
    pub(super) fn small_blob(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let path = format!("v2/{}/blobs/{digest}", self.endpoint.repository);
        let mut response = self.get(&path, &[])?;
        if !response.status().is_success() {
            return Err(self.unsuccessful(response.status(), "blob"));
        }
        self.document(response.body_mut())
    }

    /// A blob from some byte on; says whether it really begins there.
    pub(super) fn blob_from(
        &self,
        digest: &Digest,
        start: u64,
    ) -> Result<(bool, Body), ImageError> {
        let path = format!("v2/{}/blobs/{digest}", self.endpoint.repository);
        let range = format!("bytes={start}-");
        let headers: &[(&str, &str)] = if start > 0 { &[("range", &range)] } else { &[] };
        let response = self.get(&path, headers)?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.unsuccessful(status, "layer"));
        }
        let begins = response
            .headers()
            .get(header::CONTENT_RANGE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with(&format!("bytes {start}-")));
        let is_partial = status == StatusCode::PARTIAL_CONTENT && begins;
        Ok((is_partial, response.into_body()))
    }
}

/// Scheme, host and port are the same.
fn same_origin(a: &str, b: &str) -> bool {
    let origin = |url: &str| {
        url.split('/')
            .take(3)
            .collect::<Vec<_>>()
            .join("/")
            .to_ascii_lowercase()
    };
    origin(a) == origin(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_is_another_origin() {
        assert!(same_origin("https://a/x", "https://A/y"));
        assert!(!same_origin("https://a/x", "https://a:8443/x"));
        assert!(!same_origin("https://a/x", "http://a/x"));
    }

    #[test]
    fn this_machine_is_known_by_its_addresses() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.1.2.3",
            "[::1]:5000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1:5000", "example.com"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
