//! Answering a registry that wants to know who asks (RFC 6750 and Docker's token authentication).

use std::fmt::Write;
use std::io::Read;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::http::{HeaderMap, header};

use super::super::ImageError;
use super::super::auth::Credential;
use super::{MAX_ANSWER, Registry, agent};

impl Registry {
    /// Keeps what answers the challenge for all further requests.
    pub(super) fn authorize(&self, headers: &HeaderMap) -> Result<(), ImageError> {
        let challenges: Vec<&str> = headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let basic = || match &self.credential {
            Some(Credential::Basic { user, password }) => Some(format!(
                "Basic {}",
                BASE64_STANDARD.encode(format!("{user}:{password}"))
            )),
            _ => None,
        };
        let bearer = challenges.iter().find_map(|challenge| {
            let (scheme, rest) = challenge.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| parameters(rest))
        });
        let authorization = match bearer {
            Some(parameters) => format!("Bearer {}", self.token(&parameters, basic().as_deref())?),
            None if challenges
                .iter()
                .any(|c| c.to_ascii_lowercase().starts_with("basic")) =>
            {
                basic().ok_or_else(|| self.denied("it wants a user and password"))?
            }
            None => return Err(self.denied("it wants an authorization that is not known")),
        };
        if let Ok(mut known) = self.authorization.lock() {
            *known = Some(authorization);
        }
        Ok(())
    }

    fn token(
        &self,
        parameters: &[(String, String)],
        basic: Option<&str>,
    ) -> Result<String, ImageError> {
        #[derive(serde::Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let get = |name: &str| {
            parameters
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let realm = get("realm").ok_or_else(|| self.failed("its challenge names no realm"))?;
        let is_plain_allowed = self.scheme == "http";
        if !(realm.starts_with("https://") || is_plain_allowed && realm.starts_with("http://")) {
            return Err(self.failed("its challenge leads away from HTTPS"));
        }
        let scope = get("scope").map_or_else(
            || format!("repository:{}:pull", self.endpoint.repository),
            str::to_owned,
        );
        let mut url = format!(
            "{realm}{}scope={}",
            if realm.contains('?') { "&" } else { "?" },
            query(&scope)
        );
        if let Some(service) = get("service") {
            url.push_str("&service=");
            url.push_str(&query(service));
        }
        let mut response = if let Some(Credential::IdentityToken(token)) = &self.credential {
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
                ("scope", &scope),
                ("service", get("service").unwrap_or_default()),
                ("client_id", "podrun"),
            ];
            let agent = agent(&self.endpoint, realm.split(':').next().unwrap_or("https"));
            agent
                .post(realm)
                .send_form(form)
                .map_err(|error| self.failed(error.to_string()))?
        } else {
            let agent = agent(&self.endpoint, realm.split(':').next().unwrap_or("https"));
            let mut request = agent.get(&url);
            if let Some(basic) = basic {
                request = request.header("authorization", basic);
            }
            request
                .call()
                .map_err(|error| self.failed(error.to_string()))?
        };
        if !response.status().is_success() {
            return Err(self.denied(&format!("its token server says {}", response.status())));
        }
        let mut body = Vec::new();
        response
            .body_mut()
            .as_reader()
            .take(MAX_ANSWER)
            .read_to_end(&mut body)
            .map_err(|error| self.failed(error.to_string()))?;
        let token: Token = serde_json::from_slice(&body)
            .map_err(|_| self.failed("its token server gave no token"))?;
        token
            .token
            .or(token.access_token)
            .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| self.failed("its token server gave no token"))
    }
}

/// `key="value", …` of a challenge.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut result = Vec::new();
    let mut rest = text.trim();
    while let Some((key, after)) = rest.split_once('=') {
        let key = key
            .trim()
            .trim_start_matches(',')
            .trim()
            .to_ascii_lowercase();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        result.push((key, value.to_owned()));
        rest = after.trim_start_matches(',').trim();
    }
    result
}

/// A value in a query.
fn query(text: &str) -> String {
    let mut result = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
            result.push(char::from(byte));
        } else {
            write!(result, "%{byte:02X}").ok();
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_taken_apart() {
        let found = parameters(r#"realm="https://auth.example/token",service="r, x",scope=a:b"#);
        assert_eq!(
            found[0],
            ("realm".to_owned(), "https://auth.example/token".to_owned())
        );
        assert_eq!(found[1].1, "r, x");
        assert_eq!(found[2].1, "a:b");
    }
}
