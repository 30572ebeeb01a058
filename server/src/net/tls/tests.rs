use std::io;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rt::clock::SystemClock;
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key, as PEM.
type Pair = (String, String);

fn issued(by: &Authority, name: &str, years: (i32, i32)) -> Pair {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

const ALWAYS: (i32, i32) = (2000, 2100);

struct Fixture {
    folder: TempDir,
    authority: Authority,
    tls: Arc<Tls>,
}

impl Fixture {
    fn write(&self, (cert, key): &Pair) {
        write(&self.folder, (cert, key));
    }

    async fn connect(&self, own: Option<&Pair>) -> io::Result<(Vec<u8>, Peer)> {
        let connected = connect_by(&self.tls, &client(&self.authority, own)).await?;
        Ok((connected.shown, connected.peer))
    }

    fn version(&self) -> Version {
        self.tls.current.read().version()
    }

    /// Whether the operator was told that the new files are no good.
    fn told(&self) -> Option<bool> {
        self.tls.doubt.lock().as_ref().map(|doubt| doubt.told)
    }
}

fn write(folder: &TempDir, (cert, key): (&str, &str)) {
    std::fs::write(folder.path().join("cert.pem"), cert).unwrap();
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
}

async fn fixture(client_auth: Option<ClientAuth>) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority("ours");
    let (cert, key) = issued(&authority, "first", ALWAYS);
    write(&folder, (&cert, &key));
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let files = TlsFiles {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        client_ca: client_auth.map(|_| ca),
        client_auth: client_auth.unwrap_or_default(),
    };
    let tls = Tls::open(files, Arc::new(SystemClock)).await.unwrap();
    Fixture { folder, authority, tls }
}

fn client(trusted: &Authority, own: Option<&Pair>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match own {
        None => config.with_no_client_auth(),
        Some((cert, key)) => {
            let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![cert], key).unwrap()
        }
    })
}

struct Connected {
    /// What the server showed.
    shown: Vec<u8>,
    /// What it knows of the client.
    peer: Peer,
    handshake: Option<HandshakeKind>,
}

/// The error is how the client failed.
async fn connect_by(tls: &Tls, client: &Arc<ClientConfig>) -> io::Result<Connected> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let name = ServerName::try_from("localhost").unwrap();
    let asking = async {
        let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, near).await?;
        // In TLS 1.3 the client hears of its refusal with the first answer.
        stream.read_u8().await?;
        let session = stream.get_ref().1;
        let shown = session.peer_certificates().unwrap()[0].to_vec();
        Ok::<_, io::Error>((shown, session.handshake_kind()))
    };
    let server = async {
        let (mut stream, peer) = tls.accept(far, Protocol::Flight, Peer::default()).await?;
        tokio::io::AsyncWriteExt::write_u8(&mut stream, 1).await.unwrap();
        tokio::io::AsyncWriteExt::flush(&mut stream).await.unwrap();
        Some(peer)
    };
    let (seen, peer) = tokio::join!(asking, server);
    let ((shown, handshake), peer) = (seen?, peer.expect("the client was answered"));
    Ok(Connected { shown, peer, handshake })
}

#[tokio::test]
async fn new_files_are_for_new_connections() {
    let fixture = fixture(None).await;
    let (first, _) = fixture.connect(None).await.unwrap();
    let before = fixture.version();
    fixture.tls.look().await;
    assert_eq!(fixture.version(), before);
    fixture.write(&issued(&fixture.authority, "second", ALWAYS));
    fixture.tls.look().await;
    let (second, _) = fixture.connect(None).await.unwrap();
    assert!(fixture.version() != before && second != first);
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing_and_are_told_of_when_they_stay() {
    let fixture = fixture(None).await;
    let before = fixture.version();
    let (cert, key) = issued(&fixture.authority, "second", ALWAYS);
    let (_, other_key) = issued(&fixture.authority, "third", ALWAYS);
    for broken in [(cert.as_str(), other_key.as_str()), ("", ""), (key.as_str(), cert.as_str())] {
        write(&fixture.folder, broken);
        fixture.tls.look().await;
        assert_eq!(fixture.told(), Some(false), "half of a replacement looks like that");
        fixture.tls.look().await;
        assert_eq!((fixture.told(), fixture.version()), (Some(true), before));
        fixture.connect(None).await.unwrap();
    }
    std::fs::remove_file(fixture.folder.path().join("key.pem")).unwrap();
    fixture.tls.look().await;
    assert_eq!((fixture.told(), fixture.version()), (Some(false), before));
    fixture.write(&(cert, key));
    fixture.tls.look().await;
    assert_eq!(fixture.told(), None);
    assert!(fixture.version() != before);
}

#[tokio::test]
async fn certificates_of_clients_are_those_of_the_authority_at_their_time() {
    let optional = fixture(Some(ClientAuth::Optional)).await;
    let required = fixture(Some(ClientAuth::Required)).await;
    for fixture in [&optional, &required] {
        let good = issued(&fixture.authority, "ann", ALWAYS);
        let (_, peer) = fixture.connect(Some(&good)).await.unwrap();
        assert_eq!(peer.certificate.unwrap().user(), Some("ann"));
        let foreign = issued(&authority("ours"), "ann", ALWAYS);
        let expired = issued(&fixture.authority, "ann", (2000, 2001));
        let early = issued(&fixture.authority, "ann", (2099, 2100));
        for bad in [&foreign, &expired, &early] {
            fixture.connect(Some(bad)).await.unwrap_err();
        }
    }
    assert_eq!(optional.connect(None).await.unwrap().1.certificate, None);
    required.connect(None).await.unwrap_err();
}

#[tokio::test]
async fn sessions_are_resumed_only_where_no_certificate_could_outlive_itself() {
    for (client_auth, kind) in
        [(None, HandshakeKind::Resumed), (Some(ClientAuth::Optional), HandshakeKind::Full)]
    {
        let fixture = fixture(client_auth).await;
        // A client remembers sessions in its configuration.
        let client = client(&fixture.authority, None);
        let first = connect_by(&fixture.tls, &client).await.unwrap();
        assert_eq!(first.handshake, Some(HandshakeKind::Full));
        let second = connect_by(&fixture.tls, &client).await.unwrap();
        assert_eq!(second.handshake, Some(kind));
    }
}

#[tokio::test]
async fn without_an_authority_nobody_is_asked() {
    let fixture = fixture(None).await;
    let own = issued(&fixture.authority, "ann", ALWAYS);
    let (_, peer) = fixture.connect(Some(&own)).await.unwrap();
    assert_eq!(peer.certificate, None);
}

#[tokio::test]
async fn the_authorities_of_clients_are_followed_too() {
    let fixture = fixture(Some(ClientAuth::Optional)).await;
    let (old, new) = (&fixture.authority, authority("new"));
    std::fs::write(fixture.folder.path().join("ca.pem"), new.pem()).unwrap();
    fixture.tls.look().await;
    fixture.connect(Some(&issued(old, "ann", ALWAYS))).await.unwrap_err();
    fixture.connect(Some(&issued(&new, "ann", ALWAYS))).await.unwrap();
    std::fs::write(fixture.folder.path().join("ca.pem"), "nobody").unwrap();
    fixture.tls.look().await;
    fixture.connect(Some(&issued(&new, "ann", ALWAYS))).await.unwrap();
}
