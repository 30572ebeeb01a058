use std::sync::atomic::{AtomicI64, AtomicU32};

use async_trait::async_trait;
use catalog::{error::CatalogError, principals::User, tokens::Token};
use futures::future::BoxFuture;

use super::*;

#[derive(Debug, Default)]
pub(super) struct TestClock(AtomicI64);

impl TestClock {
    pub(super) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, _wait: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Users in memory that count how often they are asked for.
#[derive(Default)]
pub(super) struct Users {
    users: Mutex<Vec<User>>,
    tokens: Mutex<Vec<(Token, String)>>,
    reads: AtomicU32,
    broken: AtomicBool,
}

impl Users {
    pub(super) fn clear(&self) {
        self.users.lock().clear();
    }
}

#[async_trait]
impl Principals for Users {
    async fn add_user(&self, user: &User) -> Result<(), CatalogError> {
        self.users.lock().push(user.clone());
        Ok(())
    }

    async fn set_password_hash(
        &self,
        name: &str,
        hash: &str,
        scram: &str,
    ) -> Result<bool, CatalogError> {
        let mut users = self.users.lock();
        let Some(user) = users.iter_mut().find(|user| user.name == name) else { return Ok(false) };
        user.password_hash = Some(hash.to_owned());
        user.scram_verifier = Some(scram.to_owned());
        Ok(true)
    }

    async fn user(&self, name: &str) -> Result<Option<User>, CatalogError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Ok(self.users.lock().iter().find(|user| user.name == name).cloned())
    }

    async fn has_users(&self) -> Result<bool, CatalogError> {
        if self.broken.load(Ordering::SeqCst) {
            let source = std::io::Error::other("no connection").into();
            let operation = "look for users";
            return Err(CatalogError::Database { operation, source, transient: true });
        }
        Ok(!self.users.lock().is_empty())
    }
}

#[async_trait]
impl StoredTokens for Users {
    async fn create_token(&self, token: &Token, digest: &str) -> Result<(), CatalogError> {
        self.tokens.lock().push((token.clone(), digest.to_owned()));
        Ok(())
    }

    async fn drop_token(&self, user: &str, name: &str) -> Result<bool, CatalogError> {
        let mut tokens = self.tokens.lock();
        let before = tokens.len();
        tokens.retain(|(token, _)| (token.user.as_str(), token.name.as_str()) != (user, name));
        Ok(tokens.len() < before)
    }

    async fn tokens(&self) -> Result<Vec<Token>, CatalogError> {
        Ok(self.tokens.lock().iter().map(|(token, _)| token.clone()).collect())
    }

    async fn use_token(&self, digest: &str, now: Timestamp) -> Result<Option<Token>, CatalogError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let tokens = self.tokens.lock();
        let found = tokens.iter().find(|(_, other)| other == digest);
        let good = |token: &&Token| token.expires_at.is_none_or(|end| end > now);
        Ok(found.map(|(token, _)| token).filter(good).cloned())
    }
}

struct Fixture {
    users: Arc<Users>,
    clock: Arc<TestClock>,
    auth: Authenticator,
}

fn without_users() -> Fixture {
    let users = Arc::new(Users::default());
    let clock = Arc::new(TestClock::default());
    let options = AuthOptions { token_ttl: Duration::from_secs(600), tokens_max: 2, seals: None };
    let auth = Authenticator::over(
        Arc::clone(&users) as Arc<dyn Principals>,
        Arc::clone(&users) as Arc<dyn StoredTokens>,
        Arc::clone(&clock) as Arc<dyn Clock>,
        Knocks::new(None, Arc::clone(&clock) as Arc<dyn Clock>),
        options,
    );
    Fixture { users, clock, auth }
}

async fn with_ann() -> Fixture {
    let fixture = without_users();
    let user = User {
        name: "ann".to_owned(),
        password_hash: Some(hash_password("pw").unwrap()),
        scram_verifier: Some(scram_verifier("pw").unwrap()),
    };
    fixture.users.add_user(&user).await.unwrap();
    fixture
}

fn headers(authorization: &str) -> MetadataMap {
    let mut headers = MetadataMap::new();
    headers.insert("authorization", authorization.parse().unwrap());
    headers
}

fn basic(pair: &str) -> MetadataMap {
    use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
    headers(&format!("Basic {}", BASE64_STANDARD_NO_PAD.encode(pair)))
}

fn bearer(login: &Login) -> MetadataMap {
    headers(&format!("Bearer {}", login.token.as_ref().unwrap().reveal()))
}

#[tokio::test]
async fn without_users_everybody_is_anonymous_whatever_they_send() {
    let fixture = without_users();
    for headers in [MetadataMap::new(), basic("ann:x"), headers("Bearer x"), headers("nonsense")] {
        let principal = fixture.auth.authenticate(&headers, &Extensions::new()).await.unwrap();
        assert_eq!(principal, Principal::anonymous());
    }
    let login = fixture.auth.login(&MetadataMap::new(), &Extensions::new(), None).await.unwrap();
    assert_eq!(login.principal, Principal::anonymous());
}

#[tokio::test]
async fn the_first_user_ends_anonymity_and_the_tokens_of_before_open_nothing() {
    let fixture = without_users();
    let login = fixture.auth.login(&MetadataMap::new(), &Extensions::new(), None).await.unwrap();
    let user = User {
        name: "ann".to_owned(),
        password_hash: Some(hash_password("pw").unwrap()),
        scram_verifier: Some(scram_verifier("pw").unwrap()),
    };
    fixture.users.add_user(&user).await.unwrap();
    fixture.clock.advance(Duration::from_secs(2));
    let nobody = fixture.auth.authenticate(&MetadataMap::new(), &Extensions::new()).await;
    assert!(matches!(nobody, Err(AuthError::Missing)));
    let early = fixture.auth.authenticate(&bearer(&login), &Extensions::new()).await;
    assert!(matches!(early, Err(AuthError::UnknownToken)));
}

#[tokio::test]
async fn a_right_password_gives_a_token_that_works() {
    let fixture = with_ann().await;
    let login = fixture.auth.login(&basic("ann:pw"), &Extensions::new(), None).await.unwrap();
    let principal = fixture.auth.authenticate(&bearer(&login), &Extensions::new()).await.unwrap();
    assert_eq!(principal, Principal::verified("ann"));
    let again = fixture.auth.login(&bearer(&login), &Extensions::new(), None).await.unwrap();
    assert_eq!(again.token, login.token);
}

#[tokio::test]
async fn wrong_password_and_unknown_user_look_the_same() {
    let fixture = with_ann().await;
    let mut texts = Vec::new();
    for pair in ["ann:no", "bob:pw", "nobody:nobody", "ann:"] {
        let error = fixture.auth.authenticate(&basic(pair), &Extensions::new()).await.unwrap_err();
        assert_eq!(error.code(), model::code::Code::Unauthenticated, "{pair}");
        texts.push(error.to_string());
    }
    assert!(texts.iter().all(|text| text == "wrong user name or password"), "{texts:?}");
}

#[tokio::test]
async fn payload_credentials_are_used_when_there_is_no_header() {
    let fixture = with_ann().await;
    let pair = ("ann".to_owned(), Secret::new("pw"));
    let login =
        fixture.auth.login(&MetadataMap::new(), &Extensions::new(), Some(pair)).await.unwrap();
    assert_eq!(login.principal, Principal::verified("ann"));
}

#[tokio::test]
async fn a_password_that_was_right_is_not_hashed_with_each_call() {
    let fixture = with_ann().await;
    for _ in 0..5 {
        fixture.auth.authenticate(&basic("ann:pw"), &Extensions::new()).await.unwrap();
    }
    assert_eq!(fixture.users.reads.load(Ordering::SeqCst), 1);
    fixture.clock.advance(Duration::from_secs(31));
    fixture.auth.authenticate(&basic("ann:pw"), &Extensions::new()).await.unwrap();
    assert_eq!(fixture.users.reads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_token_lives_as_long_as_it_is_used() {
    let fixture = with_ann().await;
    let login = fixture.auth.login(&basic("ann:pw"), &Extensions::new(), None).await.unwrap();
    for _ in 0..3 {
        fixture.clock.advance(Duration::from_secs(500));
        fixture.auth.authenticate(&bearer(&login), &Extensions::new()).await.unwrap();
    }
    fixture.clock.advance(Duration::from_secs(601));
    let late = fixture.auth.authenticate(&bearer(&login), &Extensions::new()).await;
    assert!(matches!(late, Err(AuthError::UnknownToken)));
}

#[tokio::test]
async fn a_new_password_ends_the_tokens_of_the_old_one() {
    let fixture = with_ann().await;
    let login = fixture.auth.login(&basic("ann:pw"), &Extensions::new(), None).await.unwrap();
    let hash = hash_password("other").unwrap();
    fixture.users.set_password_hash("ann", &hash, "").await.unwrap();
    fixture.clock.advance(Duration::from_secs(61));
    let old = fixture.auth.authenticate(&bearer(&login), &Extensions::new()).await;
    assert!(matches!(old, Err(AuthError::UnknownToken)));
}

#[tokio::test]
async fn the_oldest_token_makes_room() {
    let fixture = with_ann().await;
    let mut logins = Vec::new();
    for _ in 0..3 {
        logins.push(fixture.auth.login(&basic("ann:pw"), &Extensions::new(), None).await.unwrap());
    }
    assert!(fixture.auth.authenticate(&bearer(&logins[0]), &Extensions::new()).await.is_err());
    assert!(fixture.auth.authenticate(&bearer(&logins[2]), &Extensions::new()).await.is_ok());
}

/// A connection that showed a certificate with this name, good for the first day of 1970.
fn shown(name: &str) -> Extensions {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.not_after = rcgen::date_time_ymd(1970, 1, 2);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = ClientCertificate::read(params.self_signed(&key).unwrap().der());
    let mut connection = Extensions::new();
    connection.insert(Peer { certificate: Some(Arc::new(certificate)), ..Peer::default() });
    connection
}

#[tokio::test]
async fn a_certificate_is_good_while_it_lasts_and_its_user_is_there() {
    let fixture = with_ann().await;
    let (none, ann) = (MetadataMap::new(), shown("ann"));
    for _ in 0..3 {
        let principal = fixture.auth.authenticate(&none, &ann).await.unwrap();
        assert_eq!(principal, Principal::verified("ann"));
    }
    assert_eq!(fixture.users.reads.load(Ordering::SeqCst), 1);
    let login = fixture.auth.login(&none, &ann, None).await.unwrap();
    assert_eq!((login.principal, login.token), (Principal::verified("ann"), None));
    for name in ["bob", "whimbrel", "anonymous"] {
        let refused = fixture.auth.authenticate(&none, &shown(name)).await;
        assert!(matches!(refused, Err(AuthError::CertificateUser(_))), "{name}: {refused:?}");
    }
    fixture.clock.advance(Duration::from_secs(24 * 3600));
    fixture.auth.authenticate(&none, &ann).await.unwrap();
    fixture.users.clear();
    fixture.clock.advance(Duration::from_secs(1));
    let late = fixture.auth.authenticate(&none, &ann).await;
    assert!(matches!(late, Err(AuthError::Certificate(_))), "{late:?}");
}

#[tokio::test]
async fn a_header_goes_before_a_certificate_and_has_to_be_right() {
    let fixture = with_ann().await;
    fixture.users.add_user(&User::without_password("bob")).await.unwrap();
    let bob = shown("bob");
    let principal = fixture.auth.authenticate(&basic("ann:pw"), &bob).await.unwrap();
    assert_eq!(principal, Principal::verified("ann"));
    let wrong = [basic("ann:no"), basic("bob:"), headers("Bearer x"), headers("nonsense")];
    for headers in &wrong {
        fixture.auth.authenticate(headers, &bob).await.unwrap_err();
        fixture.auth.login(headers, &bob, None).await.unwrap_err();
    }
    let pair = || Some(("ann".to_owned(), Secret::new("pw")));
    let login = fixture.auth.login(&MetadataMap::new(), &bob, pair()).await.unwrap();
    assert_eq!(login.principal, Principal::verified("ann"));
}

#[tokio::test]
async fn nobody_is_anonymous_where_others_say_who_asks() {
    let Fixture { auth, .. } = without_users();
    let auth = auth.believing(Outside { certificates: true, oidc: None }).unwrap();
    assert!(!auth.admits_anonymous().await.unwrap());
    let refused = auth.authenticate(&MetadataMap::new(), &Extensions::new()).await;
    assert!(matches!(refused, Err(AuthError::Missing)));
    let refused = auth.authenticate(&MetadataMap::new(), &shown("ann")).await;
    assert!(matches!(refused, Err(AuthError::CertificateUser(_))));
}

#[tokio::test]
async fn who_has_no_password_logs_in_by_none() {
    let fixture = without_users();
    fixture.users.add_user(&User::without_password("bob")).await.unwrap();
    for pair in ["bob:", "bob:x"] {
        let refused = fixture.auth.authenticate(&basic(pair), &Extensions::new()).await;
        assert!(matches!(refused, Err(AuthError::Wrong)), "{refused:?}");
    }
}

#[tokio::test]
async fn an_unreachable_catalog_lets_nobody_in() {
    let fixture = without_users();
    fixture.users.broken.store(true, Ordering::SeqCst);
    let error =
        fixture.auth.authenticate(&MetadataMap::new(), &Extensions::new()).await.unwrap_err();
    assert_eq!(error.code(), model::code::Code::Unavailable);
}

#[test]
fn hashes_are_salted_and_empty_passwords_refused() {
    assert_ne!(hash_password("pw").unwrap(), hash_password("pw").unwrap());
    assert!(matches!(hash_password(""), Err(AuthError::PasswordLength(_))));
}

#[test]
fn debug_of_a_login_shows_no_token() {
    let login = Login { principal: Principal::anonymous(), token: Some(Secret::new("t0ken")) };
    assert!(!format!("{login:?}").contains("t0ken"));
}

/// Stores a token of ann's that ends after so many seconds, and gives its text.
async fn api_token(fixture: &Fixture, seconds: Option<u64>) -> Secret {
    use query::credentials::Credentials as _;
    let made = fixture.auth.token().unwrap();
    let now = fixture.clock.now();
    let token = Token {
        user: "ann".to_owned(),
        name: "t".to_owned(),
        created_by: "ann".to_owned(),
        created_at: now,
        expires_at: seconds.map(|seconds| now.plus(Duration::from_secs(seconds))),
        last_used_at: None,
    };
    fixture.users.create_token(&token, &made.digest).await.unwrap();
    made.text
}

#[tokio::test]
async fn a_stored_token_opens_the_server_as_bearer_and_as_password() {
    let fixture = with_ann().await;
    let token = api_token(&fixture, None).await;
    let as_bearer = headers(&format!("Bearer {}", token.reveal()));
    let as_password = basic(&format!("ann:{}", token.reveal()));
    for headers in [&as_bearer, &as_password] {
        let principal = fixture.auth.authenticate(headers, &Extensions::new()).await.unwrap();
        assert_eq!(principal, Principal::verified("ann"));
        // Who logs in with it goes on with it: what a login gives must not outlive it.
        let login = fixture.auth.login(headers, &Extensions::new(), None).await.unwrap();
        assert_eq!(login.token.as_ref(), Some(&token));
    }
    let of_another = fixture
        .auth
        .authenticate(&basic(&format!("bob:{}", token.reveal())), &Extensions::new())
        .await;
    assert!(matches!(of_another, Err(AuthError::Wrong)));
    let invented = fixture.auth.authenticate(&headers("Bearer whb_AAAA"), &Extensions::new()).await;
    assert!(matches!(invented, Err(AuthError::UnknownToken)));
}

#[tokio::test]
async fn a_dropped_token_opens_nothing_after_two_seconds_and_an_ended_one_at_once() {
    let fixture = with_ann().await;
    let token = api_token(&fixture, Some(10)).await;
    let bearer = headers(&format!("Bearer {}", token.reveal()));
    for _ in 0..5 {
        fixture.auth.authenticate(&bearer, &Extensions::new()).await.unwrap();
    }
    assert_eq!(fixture.users.reads.load(Ordering::SeqCst), 1, "it is believed for a moment");
    fixture.clock.advance(Duration::from_secs(9));
    fixture.auth.authenticate(&bearer, &Extensions::new()).await.unwrap();
    fixture.clock.advance(Duration::from_secs(1));
    let ended = fixture.auth.authenticate(&bearer, &Extensions::new()).await;
    assert!(matches!(ended, Err(AuthError::UnknownToken)));

    fixture.users.tokens.lock().clear();
    let token = api_token(&fixture, None).await;
    let bearer = headers(&format!("Bearer {}", token.reveal()));
    fixture.auth.authenticate(&bearer, &Extensions::new()).await.unwrap();
    assert!(fixture.users.drop_token("ann", "t").await.unwrap());
    fixture.clock.advance(Duration::from_secs(2));
    let dropped = fixture.auth.authenticate(&bearer, &Extensions::new()).await;
    assert!(matches!(dropped, Err(AuthError::UnknownToken)));
}

#[tokio::test]
async fn what_changed_is_believed_no_more() {
    use query::credentials::Credentials as _;
    let fixture = with_ann().await;
    let login = fixture.auth.login(&basic("ann:pw"), &Extensions::new(), None).await.unwrap();
    let token = api_token(&fixture, None).await;
    let api = headers(&format!("Bearer {}", token.reveal()));
    let all = [basic("ann:pw"), bearer(&login), api];
    for headers in &all {
        fixture.auth.authenticate(headers, &Extensions::new()).await.unwrap();
    }
    let stored = fixture.auth.password(&Secret::new("new")).await.unwrap();
    let set = fixture.users.set_password_hash("ann", &stored.hash, &stored.scram_verifier);
    assert!(set.await.unwrap());
    fixture.users.drop_token("ann", "t").await.unwrap();
    fixture.auth.changed();
    for headers in &all {
        let error = fixture.auth.authenticate(headers, &Extensions::new()).await.unwrap_err();
        assert_eq!(error.code(), model::code::Code::Unauthenticated);
    }
    fixture.auth.authenticate(&basic("ann:new"), &Extensions::new()).await.unwrap();
}
