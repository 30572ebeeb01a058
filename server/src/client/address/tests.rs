use super::*;

#[test]
fn urls_of_every_scheme_are_read() {
    let cases = [
        ("grpc://127.0.0.1:4711", "grpc://127.0.0.1:4711", "http://127.0.0.1:4711"),
        ("grpc+tcp://db", "grpc://db:32010", "http://db:32010"),
        ("http://db:80/x?y=z", "grpc://db:80", "http://db:80"),
        ("grpc+tls://db:443", "grpc+tls://db:443", "https://db:443"),
        ("https://db", "grpc+tls://db:32010", "https://db:32010"),
        ("localhost:5", "grpc://localhost:5", "http://localhost:5"),
        ("GRPC://[::1]:5", "grpc://[::1]:5", "http://[::1]:5"),
        ("grpc://[::1]", "grpc://[::1]:32010", "http://[::1]:32010"),
    ];
    for (text, shown, http) in cases {
        let url: ServerUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), shown, "{text}");
        assert_eq!(url.to_http(), http, "{text}");
        assert_eq!(url.credentials(), None, "{text}");
    }
}

#[test]
fn credentials_are_kept_and_never_shown() {
    let url: ServerUrl = "grpc+tls://ada:p%40ss:w@db:1".parse().unwrap();
    assert_eq!(url.credentials(), Some(("ada", Some("p@ss:w"))));
    assert_eq!(format!("{url} {url:?}"), "grpc+tls://db:1 grpc+tls://db:1");
    let url: ServerUrl = "grpc://ada@db".parse().unwrap();
    assert_eq!(url.credentials(), Some(("ada", None)));
}

#[test]
fn unusable_urls_say_why() {
    let cases = [
        ("ftp://db", "the scheme has to be grpc or grpc+tls"),
        ("grpc://", "the host is missing"),
        ("grpc://:5", "the host is missing"),
        ("grpc://db:70000", "the port has to be a number up to 65535"),
        ("grpc://a:secret@db:x", "the port has to be a number up to 65535"),
    ];
    for (text, why) in cases {
        let error = text.parse::<ServerUrl>().unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
