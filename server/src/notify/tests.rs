use model::code::Code;

use super::*;

fn hosts(allowed: &[&str]) -> AllowedHosts {
    let hosts = allowed.iter().map(|text| text.parse().unwrap()).collect();
    AllowedHosts { hosts, open_max: 10 }
}

#[test]
fn only_hosts_that_are_allowed_are_sent_to() {
    let hosts =
        hosts(&["hooks.example.com", "other.example.com:8443", "localhost:8080", "[::1]:9"]);
    for url in [
        "https://hooks.example.com/a?b=c",
        "https://HOOKS.example.com:443/a",
        "https://other.example.com:8443/",
        "http://localhost:8080/a",
        "https://localhost:8080/a",
        "http://[::1]:9/",
    ] {
        assert!(hosts.check(url).is_ok(), "{url}: {:?}", hosts.check(url));
    }
    for url in [
        "https://hooks.example.com:8443/",
        "https://other.example.com/",
        "https://hooks.example.com.evil.example/",
        "https://evil.example/hooks.example.com",
        "https://sub.hooks.example.com/",
        "http://localhost/",
        "http://127.0.0.1:8080/",
        "https://[::1]/",
    ] {
        let error = hosts.check(url).unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{url}: {error}");
        assert!(error.hint().unwrap().contains("notify.allowed_hosts"), "{url}");
    }
    for url in [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "https://ada:pass@hooks.example.com/",
        "https://ada@hooks.example.com/",
        "https://hooks.example.com/#a",
        "hooks.example.com/a",
        "",
        "https://",
        &format!("https://hooks.example.com/{}", "a".repeat(3000)),
    ] {
        let error = hosts.check(url).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{url}: {error}");
        assert!(!error.to_string().contains("pass@"), "{error}");
    }
}

#[test]
fn a_url_comes_back_in_its_normal_form() {
    let hosts = hosts(&["hooks.example.com"]);
    for (url, expected) in [
        ("HTTPS://Hooks.Example.com:443/A/../B?c=ü", "https://hooks.example.com/B?c=%C3%BC"),
        ("https://hooks.example.com", "https://hooks.example.com/"),
    ] {
        assert_eq!(hosts.check(url).unwrap(), expected);
    }
}

#[test]
fn an_allowed_host_is_a_host_with_or_without_a_port() {
    for text in ["", "a/b", "https://a", "a:b", "ada@a", "a?b", "a#b", "a b", "a:70000", "*"] {
        let parsed = text.parse::<AllowedHost>();
        assert!(parsed.is_err(), "{text}: {parsed:?}");
    }
    assert_eq!("A.example:443".parse::<AllowedHost>(), "a.example".parse());
}

#[test]
fn a_signature_is_what_the_standard_says() {
    // Computed with Python: base64(hmac(secret, b"msg_1.1674087231.{}", sha256)).
    let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let key = SigningKey::new(&secret).unwrap();
    let signature = key.sign("msg_1", "1674087231", "{}");
    assert_eq!(signature, "v1,QCc1C0FgUpxfSJy5BvEGVPJ/27RP8AwadWr57Nd93Gc=");
    for other in [
        key.sign("msg_2", "1674087231", "{}"),
        key.sign("msg_1", "1674087232", "{}"),
        key.sign("msg_1", "1674087231", "[]"),
        SigningKey::new(&Secret::new("a".repeat(24))).unwrap().sign("msg_1", "1674087231", "{}"),
    ] {
        assert_ne!(signature, other);
    }
}

#[test]
fn a_secret_that_is_short_or_garbled_is_refused_without_showing_it() {
    for text in ["short", "whsec_c2hvcnQ=", "whsec_not base64 at all, but long enough"] {
        let Err(error) = SigningKey::new(&Secret::new(text)) else { panic!("{text}") };
        assert!(!error.contains(text), "{error}");
    }
}

#[test]
fn tries_come_later_and_later_up_to_a_bound() {
    assert_eq!(again_after(1), Duration::from_secs(1));
    assert_eq!(again_after(2), Duration::from_secs(2));
    assert_eq!(again_after(5), Duration::from_secs(16));
    assert_eq!(again_after(60), AGAIN_AFTER_MAX);
}
