//! Certificates of clients: which user one names, and whether that user may come in with it.
//!
//! That a certificate is signed by the right authority, and good at the time, was checked when the
//! connection was encrypted.

use std::{sync::Arc, time::Duration};

use catalog::principals::Principals;
use model::{
    principal::{Principal, is_reserved},
    time::Timestamp,
};
use parking_lot::Mutex;
use rt::clock::Clock;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_cert::{
    Certificate,
    attr::AttributeTypeAndValue,
    der::{
        Decode, Tag, Tagged,
        asn1::{ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef},
    },
    ext::pkix::{SubjectAltName, name::GeneralName},
    time::Time,
};

use super::{AuthError, recent::Recent};

/// `commonName` of X.520.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// How long the answer "there is such a user" is believed.
const BELIEVE_FOR: Duration = Duration::from_secs(30);
const REMEMBERED_MAX: usize = 1024;

/// What the certificate of a client says that its authority has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    user: Result<String, &'static str>,
    expires_at: Option<Timestamp>,
}

impl ClientCertificate {
    /// Reads a certificate. One that names nobody, or more than one, is kept as such: who shows it
    /// may still log in by other means.
    #[must_use]
    pub fn read(der: &CertificateDer<'_>) -> Self {
        match Certificate::from_der(der) {
            Ok(certificate) => Self {
                user: name(&certificate),
                expires_at: time(certificate.tbs_certificate.validity.not_after),
            },
            Err(_) => Self { user: Err("it cannot be read"), expires_at: None },
        }
    }

    /// Who it says that its holder is: the one URI among its alternative names, else the one e-mail
    /// address, else the common name of its subject.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref().ok()
    }
}

/// When a certificate expires, if it can be read.
pub(crate) fn expiry(der: &CertificateDer<'_>) -> Option<Timestamp> {
    time(Certificate::from_der(der).ok()?.tbs_certificate.validity.not_after)
}

fn time(time: Time) -> Option<Timestamp> {
    i64::try_from(time.to_unix_duration().as_micros()).ok().map(Timestamp::from_micros)
}

fn name(certificate: &Certificate) -> Result<String, &'static str> {
    let alternatives = certificate.tbs_certificate.get::<SubjectAltName>();
    let alternatives = alternatives.map_err(|_| "its alternative names cannot be read")?;
    let alternatives = alternatives.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
    let uris = alternatives.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
        _ => None,
    });
    if let Some(uri) = only(uris, "it has more than one URI")? {
        return Ok(uri);
    }
    let mails = alternatives.iter().filter_map(|name| match name {
        GeneralName::Rfc822Name(mail) => Some(mail.as_str().to_owned()),
        _ => None,
    });
    if let Some(mail) = only(mails, "it has more than one e-mail address")? {
        return Ok(mail);
    }
    let subject = certificate.tbs_certificate.subject.0.iter().flat_map(|names| names.0.iter());
    let common = subject.filter(|attribute| attribute.oid == COMMON_NAME).map(text);
    let common = only(common, "it has more than one common name")?.flatten();
    common.ok_or("it has no URI, no e-mail address and no common name")
}

/// The name, if there is one. An authority that names two people means neither for certain.
fn only<T>(
    mut names: impl Iterator<Item = T>,
    ambiguous: &'static str,
) -> Result<Option<T>, &'static str> {
    let first = names.next();
    if names.next().is_some() { Err(ambiguous) } else { Ok(first) }
}

fn text(attribute: &AttributeTypeAndValue) -> Option<String> {
    let value = &attribute.value;
    let text = match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok()?.as_str().to_owned(),
        Tag::PrintableString => {
            value.decode_as::<PrintableStringRef<'_>>().ok()?.as_str().to_owned()
        }
        Tag::TeletexString => value.decode_as::<TeletexStringRef<'_>>().ok()?.as_str().to_owned(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// Lets users in by their certificates.
pub(super) struct Certificates {
    users: Arc<dyn Principals>,
    clock: Arc<dyn Clock>,
    known: Mutex<Recent<[u8; 32], Timestamp>>,
}

impl Certificates {
    pub(super) fn new(users: Arc<dyn Principals>, clock: Arc<dyn Clock>) -> Self {
        Self { users, clock, known: Mutex::new(Recent::new(REMEMBERED_MAX)) }
    }

    /// The user that a certificate names. It has to be one of the catalog, and the certificate not
    /// have expired since the connection began.
    pub(super) async fn check(
        &self,
        certificate: &ClientCertificate,
    ) -> Result<Principal, AuthError> {
        let name = certificate.user.as_ref().map_err(|&why| AuthError::Certificate(why))?;
        let now = self.clock.now();
        if certificate.expires_at.is_none_or(|at| at < now) {
            return Err(AuthError::Certificate("it has expired"));
        }
        let key: [u8; 32] = Sha256::digest(name).into();
        let known = self.known.lock().get(&key).is_some_and(|until| now < *until);
        if !known {
            let user = self.users.user(name).await.map_err(AuthError::Catalog)?;
            if user.is_none() || is_reserved(name) {
                self.known.lock().remove(&key);
                return Err(AuthError::CertificateUser(name.clone()));
            }
            self.known.lock().insert(key, now.plus(BELIEVE_FOR));
        }
        Ok(Principal::verified(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    /// A certificate with these common names and alternative names, signed by itself.
    fn made(common: &[&str], alternatives: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = alternatives;
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn user(common: &[&str], alternatives: Vec<SanType>) -> Result<String, &'static str> {
        ClientCertificate::read(&made(common, alternatives)).user
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn mail(text: &str) -> SanType {
        SanType::Rfc822Name(text.try_into().unwrap())
    }

    fn host(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    #[test]
    fn the_uri_goes_before_the_mail_address_and_that_before_the_common_name() {
        let (spiffe, ann) = (uri("spiffe://w/ann"), mail("ann@w.example"));
        assert_eq!(user(&["ann"], vec![]), Ok("ann".to_owned()));
        assert_eq!(user(&["änn 🐦"], vec![host("w.example")]), Ok("änn 🐦".to_owned()));
        assert_eq!(user(&["ann"], vec![ann.clone()]), Ok("ann@w.example".to_owned()));
        assert_eq!(user(&["ann"], vec![ann, spiffe]), Ok("spiffe://w/ann".to_owned()));
    }

    #[test]
    fn a_certificate_that_names_nobody_or_two_names_no_user() {
        for (common, alternatives, why) in [
            (vec![], vec![host("ann")], "no common name"),
            (vec![""], vec![], "no common name"),
            (vec!["ann"], vec![mail("a@w"), mail("b@w")], "e-mail"),
            (vec!["ann"], vec![uri("a:1"), uri("a:2"), mail("a@w")], "URI"),
        ] {
            let refused = user(&common, alternatives).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        assert_eq!(expiry(&der).unwrap().to_string(), "2031-02-03T00:00:00.000000Z");
        assert_eq!(expiry(&CertificateDer::from(vec![1, 2, 3])), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(place in 0_usize..2000, byte: u8) {
            let mut der = made(&["ann"], vec![mail("ann@w.example"), uri("a:1")]).to_vec();
            let place = place % der.len();
            der[place] = byte;
            let _ = ClientCertificate::read(&CertificateDer::from(der));
        }
    }
}
