use super::*;

const ALL: [(Code, tonic::Code); 14] = [
    (Code::InvalidArgument, tonic::Code::InvalidArgument),
    (Code::NotFound, tonic::Code::NotFound),
    (Code::AlreadyExists, tonic::Code::AlreadyExists),
    (Code::PermissionDenied, tonic::Code::PermissionDenied),
    (Code::Unauthenticated, tonic::Code::Unauthenticated),
    (Code::FailedPrecondition, tonic::Code::FailedPrecondition),
    (Code::Aborted, tonic::Code::Aborted),
    (Code::ResourceExhausted, tonic::Code::ResourceExhausted),
    (Code::Cancelled, tonic::Code::Cancelled),
    (Code::DeadlineExceeded, tonic::Code::DeadlineExceeded),
    (Code::Unavailable, tonic::Code::Unavailable),
    (Code::Unimplemented, tonic::Code::Unimplemented),
    (Code::DataLoss, tonic::Code::DataLoss),
    (Code::Internal, tonic::Code::Internal),
];

#[test]
fn every_code_has_the_status_of_its_name() {
    for (code, expected) in ALL {
        assert_eq!(grpc_code(code), expected);
    }
}

#[test]
fn a_hint_stands_on_its_own_line() {
    let error = std::io::Error::other("x");
    let status =
        compose(Code::NotFound, "no table".to_owned(), Some("look again".to_owned()), &error);
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert_eq!(status.message(), "no table\nhint: look again");
}

#[test]
fn only_internal_errors_carry_an_id() {
    let error = std::io::Error::other("x");
    for (code, _) in ALL {
        let status = compose(code, "text".to_owned(), None, &error);
        assert_eq!(status.message().contains("error id"), code == Code::Internal, "{code}");
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let status = invalid("ä".repeat(3 * TEXT_MAX));
    assert!(status.message().len() <= TEXT_MAX + '…'.len_utf8());
    assert!(status.message().ends_with('…'));
}

#[test]
fn a_long_text_and_its_details_fit_into_what_proxies_let_through() {
    let status = invalid("ä".repeat(3 * TEXT_MAX));
    let mut headers = http::HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    assert!(size < 8 << 10, "{size} bytes");
}

#[test]
fn sqlstate_and_position_are_headers() {
    let error = QueryError::from(dialect::parse("SELECT 1,\n  FROM").unwrap_err());
    let status = status(&error);
    let header = |name| status.metadata().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header("sqlstate"), "42601");
    let (line, column) = error.position().unwrap();
    assert_eq!((header("sql-line"), header("sql-column")), (line.to_string(), column.to_string()));
    let other = compose(Code::NotFound, "no".to_owned(), None, &error);
    assert_eq!(other.metadata().get("sqlstate").unwrap(), "42704");
    assert!(other.metadata().get("sql-line").is_none());
}

#[test]
fn an_unknown_handle_says_what_to_do() {
    let status = handle_status(&HandleError::Unknown);
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert!(status.message().contains("run the statement again"), "{}", status.message());
}
