//! The signature of a notification, in the form of Standard Webhooks: HMAC-SHA256 over id, time and body.
//!
//! Whoever checks it knows who sent the body; whoever also refuses old times, and ids that came before,
//! takes no copy of one for another.

use base64::{Engine, prelude::BASE64_STANDARD};
use model::secret::Secret;
use ring::hmac;

/// Before a secret that is written in base64.
const PREFIX: &str = "whsec_";
/// Bytes of the shortest secret.
const LENGTH_MIN: usize = 24;

/// The key that notifications are signed with.
pub(crate) struct SigningKey(hmac::Key);

impl SigningKey {
    /// The error says what is wrong with the secret, and shows nothing of it.
    pub(crate) fn new(secret: &Secret) -> Result<Self, String> {
        let text = secret.reveal();
        let bytes = match text.strip_prefix(PREFIX) {
            Some(encoded) => BASE64_STANDARD
                .decode(encoded)
                .map_err(|_| format!("what follows '{PREFIX}' is no base64"))?,
            None => text.as_bytes().to_vec(),
        };
        if bytes.len() < LENGTH_MIN {
            return Err(format!(
                "it has {} bytes, and less than {LENGTH_MIN} can be guessed",
                bytes.len()
            ));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The value of the header `webhook-signature`.
    pub(crate) fn sign(&self, id: &str, seconds: &str, body: &str) -> String {
        let signature = hmac::sign(&self.0, format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(signature))
    }
}
