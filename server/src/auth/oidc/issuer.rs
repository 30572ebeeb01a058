//! Where the keys come from: found by discovery, kept, and read again when they may have changed.
//!
//! Format: OpenID Connect Discovery 1.0, sections 3 and 4.

use std::{sync::Arc, time::Duration};

use model::time::Timestamp;
use parking_lot::Mutex;
use reqwest::{Client, Response, StatusCode, redirect::Policy};
use rt::clock::Clock;
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::Url;

use super::{TokenError, jws::Unchecked, keys::KeySet};
use crate::error::chain;

/// How long keys are used before they are asked for again: a key that was taken back is good for
/// this much longer.
const FRESH_FOR: Duration = Duration::from_secs(600);
/// How long keys are used when the issuer does not answer.
pub(super) const STALE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Between two questions, whatever tokens come meanwhile: names of keys are made up easily.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(5);
/// One question, with all its answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Bytes of one answer.
const LENGTH_MAX: usize = 512 << 10;
/// Requests that wait for an answer of the issuer.
const WAITING_MAX: usize = 256;

/// An issuer of tokens, and its keys as they were last.
#[derive(Debug)]
pub(super) struct Issuer {
    issuer: String,
    http: Client,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
    waiting: Semaphore,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Option<Kept>,
    asked_at: Option<Timestamp>,
    /// Why the last question got no answer.
    why: Option<String>,
}

#[derive(Debug, Clone)]
struct Kept {
    keys: Arc<KeySet>,
    read_at: Timestamp,
}

impl Kept {
    fn verify(&self, token: &Unchecked<'_>) -> Result<Timestamp, TokenError> {
        self.keys.verify(token).map(|()| self.read_at)
    }
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    /// An issuer that nothing is known of yet. `authority` is a PEM text with further authorities
    /// that may have signed its certificate. The error says why there can be no client for it.
    pub(super) fn new(
        issuer: &str,
        authority: Option<&[u8]>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let mut http = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_MAX)
            .timeout(ANSWER_MAX)
            .user_agent(concat!("whimbrel/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&address(issuer)?) {
            // What is on this machine is never behind a proxy.
            http = http.no_proxy();
        }
        if let Some(pem) = authority {
            let authorities = reqwest::Certificate::from_pem_bundle(pem);
            for authority in authorities.map_err(|error| chain(&error))? {
                http = http.add_root_certificate(authority);
            }
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            http: http.build().map_err(|error| chain(&error))?,
            clock,
            known: Mutex::default(),
            waiting: Semaphore::new(WAITING_MAX),
            asking: tokio::sync::Mutex::new(()),
        })
    }

    /// When the keys in use were read: another time means other keys.
    pub(super) fn version(&self) -> Option<Timestamp> {
        self.known.lock().keys.as_ref().map(|kept| kept.read_at)
    }

    /// Checks the signature of a token, asking for newer keys when those at hand do not do. Answers
    /// the [`Self::version`] of the keys that it was checked with.
    pub(super) async fn verify(
        self: &Arc<Self>,
        token: &Unchecked<'_>,
    ) -> Result<Timestamp, TokenError> {
        let now = self.clock.now();
        if let Some(kept) = self.usable(now)
            && kept.keys.knows(token)
        {
            if now.since(kept.read_at) >= FRESH_FOR {
                // Nobody waits for an issuer that does not answer as long as its keys are known.
                let issuer = Arc::clone(self);
                tokio::spawn(async move { issuer.ask().await });
            }
            return kept.verify(token);
        }
        let _place = self.waiting.try_acquire().map_err(|_| TokenError::Busy)?;
        self.ask().await;
        match self.usable(self.clock.now()) {
            Some(kept) => kept.verify(token),
            None => Err(TokenError::IssuerDown),
        }
    }

    fn usable(&self, now: Timestamp) -> Option<Kept> {
        let known = self.known.lock();
        known.keys.as_ref().filter(|kept| now.since(kept.read_at) < STALE_MAX).cloned()
    }

    /// Reads the keys anew, unless that was tried a moment ago. One question at a time: who comes
    /// meanwhile has its answer.
    pub(super) async fn ask(&self) {
        let _asking = self.asking.lock().await;
        let now = self.clock.now();
        {
            let mut known = self.known.lock();
            if known.asked_at.is_some_and(|at| now.since(at) < ASK_EVERY) {
                return;
            }
            known.asked_at = Some(now);
        }
        let read = self.read().await;
        let mut known = self.known.lock();
        match read {
            Ok(keys) => {
                let kept = Kept { keys: Arc::new(keys), read_at: self.clock.now() };
                tracing::debug!(issuer = self.issuer, "read the keys of the issuer");
                known.keys = Some(kept);
                known.why = None;
            }
            Err(why) => {
                if known.why.as_ref() != Some(&why) {
                    tracing::warn!(issuer = self.issuer, error = why, "no keys of the issuer");
                }
                known.why = Some(why);
            }
        }
    }

    async fn read(&self) -> Result<KeySet, String> {
        let discovery = format!(
            "{}/.well-known/openid-configuration",
            self.issuer.strip_suffix('/').unwrap_or(&self.issuer)
        );
        let found: Discovery = serde_json::from_slice(&self.get(address(&discovery)?).await?)
            .map_err(|error| format!("'{discovery}' cannot be read: {error}"))?;
        if found.issuer != self.issuer {
            return Err(format!(
                "the issuer calls itself '{}'; auth.oidc.issuer has to say the same",
                found.issuer
            ));
        }
        KeySet::parse(&self.get(address(&found.jwks_uri)?).await?)
    }

    async fn get(&self, url: Url) -> Result<Vec<u8>, String> {
        let failed = |error: reqwest::Error| chain(&error);
        let mut response: Response = self.http.get(url.clone()).send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(format!("'{url}' answers {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(failed)? {
            if body.len() + part.len() > LENGTH_MAX {
                return Err(format!("'{url}' answers more than {LENGTH_MAX} bytes"));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

/// An address that may be asked: encrypted, unless it is on this machine.
pub(crate) fn address(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("'{text}' is no URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("a URL of the issuer has no user, no password and no fragment".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err(format!("'{text}' has to begin with https:// (http:// only on this machine)")),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
