use super::*;

fn request(objects: &[&str]) -> SubmitRequest {
    SubmitRequest {
        objects: objects.iter().map(|name| (*name).to_owned()).collect(),
        full: false,
        along: Along::Unspecified.into(),
        options: None,
    }
}

#[test]
fn a_request_becomes_one_statement() {
    let plain = refresh_sql(&request(&["daily"])).unwrap();
    assert_eq!(plain, "REFRESH daily ASYNC");
    let all = SubmitRequest {
        full: true,
        along: Along::Upstream.into(),
        ..request(&["Main.Daily", "\"My View\""])
    };
    assert_eq!(
        refresh_sql(&all).unwrap(),
        "REFRESH main.daily, \"My View\" FULL WITH UPSTREAM ASYNC"
    );
}

#[test]
fn options_become_those_of_the_statement() {
    let options = SubmitOptions {
        idempotency_key: Some("it's mine', profile = 'big".to_owned()),
        priority: Some(-3),
        max_attempts: Some(2),
        profile: Some("small".to_owned()),
        max_bytes: Some(1 << 40),
    };
    let asked = SubmitRequest { options: Some(options), ..request(&["daily"]) };
    let sql = refresh_sql(&asked).unwrap();
    assert_eq!(
        sql,
        "REFRESH daily ASYNC OPTIONS (idempotency_key = 'it''s mine'', profile = ''big', \
         priority = -3, max_attempts = 2, profile = 'small', max_bytes = 1099511627776)"
    );
    dialect::parse(&sql).unwrap();
    let nothing = SubmitRequest { options: Some(SubmitOptions::default()), ..request(&["daily"]) };
    assert_eq!(refresh_sql(&nothing).unwrap(), "REFRESH daily ASYNC");
}

#[test]
fn the_statement_is_one_that_the_dialect_reads() {
    for along in [Along::Unspecified, Along::Upstream, Along::Downstream] {
        for full in [false, true] {
            let request =
                SubmitRequest { full, along: along.into(), ..request(&["a", "b.\"C d\""]) };
            let sql = refresh_sql(&request).unwrap();
            assert!(dialect::parse(&sql).is_ok(), "{sql}");
        }
    }
    let id = JobId::generate();
    assert!(dialect::parse(&format!("CANCEL JOB '{id}'")).is_ok());
}

#[test]
fn requests_that_say_nothing_or_too_much_are_refused() {
    let strange = SubmitRequest { along: 9, ..request(&["a"]) };
    for request in [request(&[]), request(&["a; DROP TABLE t"]), strange] {
        let status = refresh_sql(&request).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
    }
}

#[test]
fn ids_are_read_once_each() {
    let (a, b) = (JobId::generate(), JobId::generate());
    let texts = [a, b, a].map(|id| id.to_string());
    assert_eq!(parse_ids(&texts).unwrap(), [a, b]);
    let status = parse_ids(&["x".to_owned()]).unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}
