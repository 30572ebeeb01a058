use std::sync::atomic::{AtomicU32, Ordering};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair,
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    super::tests::{TestClock, Users},
    issuer::{ASK_EVERY, STALE_MAX},
    *,
};

/// A key of an issuer, as it signs and as it publishes it.
struct SigningKey {
    id: &'static str,
    pair: Pair,
}

enum Pair {
    Ec(&'static str, EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

fn ec(id: &'static str, algorithm: &'static str) -> SigningKey {
    let signing = match algorithm {
        "ES256" => &ECDSA_P256_SHA256_FIXED_SIGNING,
        _ => &ECDSA_P384_SHA384_FIXED_SIGNING,
    };
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &random).unwrap();
    SigningKey { id, pair: Pair::Ec(algorithm, pair) }
}

fn ed(id: &'static str) -> SigningKey {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    SigningKey { id, pair: Pair::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()) }
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl SigningKey {
    fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Ec(algorithm, _) => algorithm,
            Pair::Ed(_) => "EdDSA",
        }
    }

    fn public(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Ec(_, pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    fn jwk(&self) -> Value {
        let public = self.public();
        match &self.pair {
            Pair::Ec(algorithm, _) => {
                let (x, y) = public[1..].split_at((public.len() - 1) / 2);
                let curve = if *algorithm == "ES256" { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "kid": self.id, "use": "sig", "x": text(x), "y": text(y)})
            }
            Pair::Ed(_) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": text(public)})
            }
        }
    }

    fn sign(&self, message: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(_, pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        }
    }

    fn token(&self, claims: &Value) -> Secret {
        self.token_with(&json!({"alg": self.algorithm(), "kid": self.id, "typ": "JWT"}), claims)
    }

    fn token_with(&self, head: &Value, claims: &Value) -> Secret {
        let signed = format!("{}.{}", text(head.to_string()), text(claims.to_string()));
        let signature = text(self.sign(&signed));
        Secret::new(format!("{signed}.{signature}"))
    }
}

/// What the issuer answers to the two questions, whole.
#[derive(Default)]
struct Answers {
    discovery: String,
    keys: String,
}

struct TestIssuer {
    url: String,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<AtomicU32>,
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl TestIssuer {
    async fn start(keys: &[&SigningKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Self { url, answers: Arc::default(), asked: Arc::default() };
        let discovery = json!({"issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url)});
        issuer.answers.lock().discovery = answer("200 OK", &discovery.to_string());
        issuer.publish(keys);
        let (answers, asked) = (Arc::clone(&issuer.answers), Arc::clone(&issuer.asked));
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if socket.read(&mut byte).await.unwrap_or(0) == 0 {
                        break;
                    }
                    request.push(byte[0]);
                }
                let for_keys = request.starts_with(b"GET /keys ");
                asked.fetch_add(u32::from(for_keys), Ordering::SeqCst);
                let answer = match for_keys {
                    true => answers.lock().keys.clone(),
                    false => answers.lock().discovery.clone(),
                };
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        issuer
    }

    fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.answers.lock().keys = answer("200 OK", &json!({"keys": keys}).to_string());
    }

    fn go_down(&self) {
        self.answers.lock().discovery = answer("503 Service Unavailable", "");
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Good claims of Ann at the second 1,000,000.
    fn claims(&self) -> Value {
        json!({"iss": self.url, "aud": ["other", "whimbrel"], "sub": "ann", "exp": 1_000_300,
               "iat": 999_990, "nbf": 999_990})
    }
}

struct Fixture {
    issuer: TestIssuer,
    clock: Arc<TestClock>,
    users: Arc<Users>,
    oidc: Oidc,
}

async fn fixture(keys: &[&SigningKey], change: impl FnOnce(&mut OidcOptions)) -> Fixture {
    let issuer = TestIssuer::start(keys).await;
    let clock = Arc::new(TestClock::default());
    clock.advance(Duration::from_secs(1_000_000));
    let users = Arc::new(Users::default());
    for name in ["ann", "bob@w.example"] {
        users.add_user(&User::without_password(name)).await.unwrap();
    }
    let mut options = OidcOptions {
        issuer: issuer.url.clone(),
        audience: vec!["whimbrel".to_owned()],
        name_claim: "sub".to_owned(),
        roles_claim: "groups".to_owned(),
        roles: Vec::new(),
        unknown_users: UnknownUsers::Refuse,
        clock_skew: Duration::from_secs(60),
        authority: None,
    };
    change(&mut options);
    let oidc = Oidc::new(
        options,
        Arc::clone(&users) as Arc<dyn Principals>,
        Arc::clone(&clock) as Arc<dyn Clock>,
    );
    Fixture { issuer, clock, users, oidc: oidc.unwrap() }
}

impl Fixture {
    async fn refused(&self, token: &Secret) -> TokenError {
        match self.oidc.check(token).await {
            Err(AuthError::Token(error)) => error,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

/// `claims` with some of them others; null takes one away.
fn with(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => _ = claims.as_object_mut().unwrap().remove(name),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

#[tokio::test]
async fn tokens_of_the_issuer_are_taken_whatever_algorithm_signed_them() {
    let keys = [ec("a", "ES256"), ec("b", "ES384"), ed("c")];
    let fixture = fixture(&keys.each_ref(), |_| ()).await;
    for key in &keys {
        let principal = fixture.oidc.check(&key.token(&fixture.issuer.claims())).await.unwrap();
        assert_eq!(principal, Principal::verified("ann"));
    }
    assert_eq!(fixture.issuer.asked(), 1);
}

#[tokio::test]
async fn tokens_that_are_wrong_in_any_way_are_refused_for_what_is_wrong() {
    let (key, other) = (ec("a", "ES256"), ec("a", "ES256"));
    let fixture = fixture(&[&key], |_| ()).await;
    let good = fixture.issuer.claims();
    let changed = |changes: Value| key.token(&with(good.clone(), changes));
    let claim = |name: &str| TokenError::Claim(name.to_owned());
    let algorithm = |name: &str| TokenError::Algorithm(name.to_owned());

    let signed_by_none =
        Secret::new(format!("{}.{}.", text(r#"{"alg":"none"}"#), text(good.to_string())));
    let by_public_key = {
        let head = json!({"alg": "HS256", "kid": "a"});
        let signed = format!("{}.{}", text(head.to_string()), text(good.to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.public()), signed.as_bytes());
        Secret::new(format!("{signed}.{}", text(tag)))
    };
    let token = key.token(&good);
    let token = token.reveal();
    let truncated = Secret::new(&token[..token.len() - 10]);
    let other_claims = {
        let parts: Vec<&str> = token.split('.').collect();
        let claims = text(with(good.clone(), json!({"sub": "bob@w.example"})).to_string());
        Secret::new(format!("{}.{claims}.{}", parts[0], parts[2]))
    };
    let huge = changed(json!({"more": "x".repeat(20_000)}));
    let head = |head: Value| key.token_with(&head, &good);
    for (token, why) in [
        (other.token(&good), TokenError::Signature),
        (signed_by_none, algorithm("none")),
        (by_public_key, algorithm("HS256")),
        (changed(json!({"exp": 999_940})), TokenError::Expired),
        (changed(json!({"exp": null})), claim("exp")),
        (changed(json!({"exp": "soon"})), claim("exp")),
        (changed(json!({"nbf": 1_000_061})), TokenError::TooEarly),
        (changed(json!({"iat": 1_000_061})), TokenError::TooEarly),
        (changed(json!({"aud": "other"})), TokenError::Audience),
        (changed(json!({"aud": null})), TokenError::Audience),
        (changed(json!({"iss": "http://127.0.0.1:1"})), TokenError::Issuer),
        (changed(json!({"sub": ""})), claim("sub")),
        (changed(json!({"sub": 7})), claim("sub")),
        (changed(json!({"sub": "a\nb"})), claim("sub")),
        (changed(json!({"sub": "eve"})), TokenError::User("eve".to_owned())),
        (truncated, TokenError::Signature),
        (other_claims, TokenError::Signature),
        (huge, TokenError::TooLong(jws::LENGTH_MAX)),
        (head(json!({"alg": "ES384", "kid": "a"})), TokenError::UnknownKey),
        (head(json!({"alg": "RS256", "kid": "a"})), TokenError::UnknownKey),
        (head(json!({"alg": "ES256", "kid": "z"})), TokenError::UnknownKey),
    ] {
        assert_eq!(fixture.refused(&token).await, why);
    }
    for (token, why) in [
        (head(json!({"alg": "ES256", "kid": "a", "crit": ["b64"], "b64": false})), "crit"),
        (head(json!({"alg": "ES256", "kid": "a", "typ": "logout+jwt"})), "type"),
        (head(json!({"kid": "a"})), "alg"),
        (Secret::new("a.b.c"), "base64url"),
        (Secret::new(".."), "alg"),
    ] {
        let refused = fixture.refused(&token).await.to_string();
        assert!(refused.contains(why), "no {why} in {refused}");
    }
}

#[tokio::test]
async fn clocks_may_differ_a_little() {
    let key = ed("a");
    let fixture = fixture(&[&key], |_| ()).await;
    for changes in [json!({"exp": 999_941.5}), json!({"nbf": 1_000_059}), json!({"iat": null})] {
        let token = key.token(&with(fixture.issuer.claims(), changes));
        fixture.oidc.check(&token).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_that_was_good_ends_when_it_says_so() {
    let key = ed("a");
    let fixture = fixture(&[&key], |_| ()).await;
    let token = key.token(&with(fixture.issuer.claims(), json!({"exp": 1_000_010})));
    fixture.oidc.check(&token).await.unwrap();
    fixture.clock.advance(Duration::from_secs(69));
    fixture.oidc.check(&token).await.unwrap();
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.refused(&token).await, TokenError::Expired);
}

#[tokio::test]
async fn new_keys_are_asked_for_when_one_is_named_and_taken_back_ones_end() {
    let (old, new) = (ed("old"), ed("new"));
    let fixture = fixture(&[&old], |_| ()).await;
    let of_old = old.token(&fixture.issuer.claims());
    fixture.oidc.check(&of_old).await.unwrap();
    fixture.issuer.publish(&[&new]);
    fixture.clock.advance(ASK_EVERY);
    fixture.oidc.check(&new.token(&fixture.issuer.claims())).await.unwrap();
    assert_eq!(fixture.refused(&of_old).await, TokenError::UnknownKey, "it was remembered");
}

#[tokio::test]
async fn made_up_names_of_keys_ask_the_issuer_now_and_then_only() {
    let key = ed("a");
    let fixture = fixture(&[&key], |_| ()).await;
    let token = |n: u32| {
        let head = json!({"alg": "EdDSA", "kid": n.to_string()});
        key.token_with(&head, &fixture.issuer.claims())
    };
    for n in 0..50 {
        assert_eq!(fixture.refused(&token(n)).await, TokenError::UnknownKey);
    }
    assert_eq!(fixture.issuer.asked(), 1);
    fixture.clock.advance(ASK_EVERY);
    for n in 0..50 {
        assert_eq!(fixture.refused(&token(n)).await, TokenError::UnknownKey);
    }
    assert_eq!(fixture.issuer.asked(), 2);
}

#[tokio::test]
async fn a_token_may_name_no_key_when_only_one_fits() {
    let (a, b, c) = (ed("a"), ec("b", "ES256"), ed("c"));
    let fixture = fixture(&[&a, &b], |_| ()).await;
    let token = a.token_with(&json!({"alg": "EdDSA"}), &fixture.issuer.claims());
    fixture.oidc.check(&token).await.unwrap();
    fixture.issuer.publish(&[&a, &b, &c]);
    fixture.clock.advance(Duration::from_secs(200));
    // Still by the keys at hand: they do.
    let claims = with(fixture.issuer.claims(), json!({"exp": 2_000_000}));
    fixture.oidc.check(&a.token_with(&json!({"alg": "EdDSA"}), &claims)).await.unwrap();
    let token = a.token_with(&json!({"alg": "EdDSA"}), &with(claims, json!({"jti": "2"})));
    fixture.oidc.issuer.ask().await;
    assert_eq!(fixture.refused(&token).await, TokenError::UnknownKey);
}

#[tokio::test]
async fn keys_are_used_for_a_day_while_the_issuer_is_down() {
    let key = ed("a");
    let fixture = fixture(&[&key], |_| ()).await;
    let claims = with(fixture.issuer.claims(), json!({"exp": 9_000_000}));
    fixture.oidc.check(&key.token(&claims)).await.unwrap();
    fixture.issuer.go_down();
    let later = key.token(&with(claims.clone(), json!({"jti": "1"})));
    fixture.clock.advance(STALE_MAX - Duration::from_secs(1));
    fixture.oidc.check(&later).await.unwrap();
    fixture.clock.advance(Duration::from_secs(61));
    let error = fixture.refused(&later).await;
    assert_eq!(error, TokenError::IssuerDown);
    assert_eq!(error.code(), model::code::Code::Unavailable);
    let discovery =
        json!({"issuer": fixture.issuer.url, "jwks_uri": format!("{}/keys", fixture.issuer.url)});
    fixture.issuer.answers.lock().discovery = answer("200 OK", &discovery.to_string());
    fixture.clock.advance(ASK_EVERY);
    fixture.oidc.check(&later).await.unwrap();
}

#[tokio::test]
async fn answers_of_an_issuer_that_cannot_be_trusted_are_not() {
    let key = ed("a");
    let fixture = fixture(&[&key], |_| ()).await;
    let token = key.token(&fixture.issuer.claims());
    let good = fixture.issuer.answers.lock().discovery.clone();
    let url = fixture.issuer.url.clone();
    let redirect =
        format!("HTTP/1.1 302 Found\r\nLocation: {url}/keys\r\nContent-Length: 0\r\n\r\n");
    let discovery = |document: Value| answer("200 OK", &document.to_string());
    for answer in [
        redirect,
        answer("200 OK", "no JSON"),
        answer("200 OK", &"x".repeat(600_000)),
        answer("500 Oh", "{}"),
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
        discovery(json!({"issuer": "http://127.0.0.1:1", "jwks_uri": format!("{url}/keys")})),
        discovery(json!({"issuer": url, "jwks_uri": "http://w.example/keys"})),
        discovery(json!({"issuer": url, "jwks_uri": "file:///etc/passwd"})),
        discovery(json!({"issuer": url})),
    ] {
        fixture.issuer.answers.lock().discovery = answer.clone();
        fixture.clock.advance(ASK_EVERY);
        assert_eq!(fixture.refused(&token).await, TokenError::IssuerDown, "{answer:.200}");
    }
    let keys = {
        let mut answers = fixture.issuer.answers.lock();
        answers.discovery = good;
        std::mem::take(&mut answers.keys)
    };
    for none in [r#"{"keys": []}"#, r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}, 7]}"#, "{}"] {
        fixture.issuer.answers.lock().keys = answer("200 OK", none);
        fixture.clock.advance(ASK_EVERY);
        assert_eq!(fixture.refused(&token).await, TokenError::IssuerDown, "{none}");
    }
    fixture.issuer.answers.lock().keys = keys;
    fixture.clock.advance(ASK_EVERY);
    fixture.oidc.check(&token).await.unwrap();
}

#[tokio::test]
async fn unknown_users_are_created_only_when_that_is_wanted_and_there_is_an_admin() {
    let key = ed("a");
    let fixture = fixture(&[&key], |options| options.unknown_users = UnknownUsers::Create).await;
    let token = |name: &str| key.token(&with(fixture.issuer.claims(), json!({"sub": name})));
    let principal = fixture.oidc.check(&token("eve")).await.unwrap();
    assert_eq!(principal, Principal::verified("eve"));
    let eve = fixture.users.user("eve").await.unwrap().unwrap();
    assert!(eve == User::without_password("eve"));
    for reserved in ["anonymous", "whimbrel"] {
        assert_eq!(fixture.refused(&token(reserved)).await, TokenError::User(reserved.to_owned()));
    }
    fixture.users.clear();
    assert_eq!(fixture.refused(&token("adam")).await, TokenError::NoAdmin);
}

#[tokio::test]
async fn names_and_roles_are_found_in_the_claims_that_are_named() {
    let key = ed("a");
    let fixture = fixture(&[&key], |options| {
        options.name_claim = "email".to_owned();
        options.roles_claim = "realm.roles".to_owned();
        let role = |group: &str, role: &str| (group.to_owned(), role.to_owned());
        options.roles = vec![role("Data/EU=1", "analyst"), role("ops", "admin"), role("x", "y")];
    })
    .await;
    let claims = with(
        fixture.issuer.claims(),
        json!({"email": "bob@w.example", "realm": {"roles": ["x", "Data/EU=1", 7, "analyst"]}}),
    );
    let principal = fixture.oidc.check(&key.token(&claims)).await.unwrap();
    let roles: BTreeSet<String> = ["analyst", "y"].map(str::to_owned).into();
    assert_eq!(principal, Principal::verified("bob@w.example").with_roles(roles));
    let none = with(claims.clone(), json!({"realm": null}));
    let principal = fixture.oidc.check(&key.token(&none)).await.unwrap();
    assert_eq!(principal, Principal::verified("bob@w.example"));
    let by_full_name = with(claims.clone(), json!({"realm.roles": "ops"}));
    let principal = fixture.oidc.check(&key.token(&by_full_name)).await.unwrap();
    assert!(principal.roles().contains("admin"));
    for unproven in [json!(false), json!("false"), json!(0)] {
        let token = key.token(&with(claims.clone(), json!({"email_verified": unproven})));
        let why = TokenError::Claim("email_verified".to_owned());
        assert_eq!(fixture.refused(&token).await, why);
    }
}

#[test]
fn an_issuer_is_asked_over_an_encrypted_line_or_on_this_machine() {
    for good in ["https://w.example", "https://w.example/a", "http://127.0.0.1:1", "http://[::1]:1"]
    {
        address(good).unwrap();
    }
    for bad in ["http://w.example", "ftp://w.example", "w.example", "https://a:b@w.example", ""] {
        address(bad).unwrap_err();
    }
}

proptest! {
    #[test]
    fn no_token_makes_it_panic(token in "\\PC*", head in "\\PC{0,40}", claims in "\\PC{0,40}") {
        let _ = jws::parse(&token);
        let _ = jws::parse(&format!("{}.{}.{token}", text(&head), text(&claims)));
        let _ = keys::KeySet::parse(token.as_bytes());
    }
}
