//! Two servers on one catalog and one lake: what one of them gave, the other one takes.

use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, RenewFlightEndpointRequest,
    sql::{
        ActionCreatePreparedStatementRequest, Any, Command, CommandPreparedStatementQuery,
        CommandPreparedStatementUpdate, ProstMessageExt, TicketStatementQuery,
    },
};
use bytes::Bytes;
use prost::Message;

use super::*;

/// Two servers, and a client of each.
struct Two {
    world: World,
    here: TestServer,
    there: TestServer,
    a: Client,
    b: Client,
}

impl Two {
    async fn start(handles_max: usize) -> Self {
        let world = World::new(&[]).await;
        let (here, there) = (world.serve(handles_max, true).await, world.serve(10, true).await);
        let (a, b) = (here.client().await, there.client().await);
        Self { world, here, there, a, b }
    }

    async fn with(sql: &str) -> Self {
        let mut two = Self::start(10).await;
        for statement in sql.split(';') {
            two.a.execute_update(statement.trim().to_owned(), None).await.unwrap();
        }
        two
    }
}

async fn info(client: &mut Client, sql: &str) -> FlightInfo {
    client.execute(sql.to_owned(), None).await.unwrap()
}

/// The failure of fetching, with its text.
async fn refusal(client: &mut Client, info: &FlightInfo) -> (Code, String) {
    match client.do_get(ticket(info)).await.map(drop) {
        Err(arrow_flight::error::FlightError::Tonic(status)) => {
            (status.code(), status.message().to_owned())
        }
        other => panic!("not a status: {other:?}"),
    }
}

fn sealed(info: &FlightInfo) -> Bytes {
    match ticket::command(&ticket(info).ticket).unwrap() {
        Command::TicketStatementQuery(ticket) => ticket.statement_handle,
        other => panic!("another ticket: {other:?}"),
    }
}

fn one(rows: &[RecordBatch]) -> String {
    let column = rows[0].column(0);
    arrow::util::display::array_value_to_string(column, 0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_gives_the_same_rows_wherever_it_is_fetched() {
    let mut two = Two::with(
        "CREATE TABLE t (n BIGINT) TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');
         INSERT INTO t VALUES (1), (2), (3);
         CREATE VIEW v AS SELECT n, now() AS seen_at FROM t;
         CREATE SCHEMA s",
    )
    .await;
    for sql in [
        "SELECT 1",
        "SELECT count(*) FROM t",
        "SELECT sum(n) FROM (SELECT * FROM t UNION ALL SELECT n FROM v)",
        "SELECT sum(n) FROM t VERSION AS OF 1",
        "SELECT count(*) FROM table_changes('t', 0, 1)",
        "SELECT now()",
        "SELECT max(seen_at) FROM v",
        "SELECT current_date",
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 't'",
        "SHOW TABLES",
        "EXPLAIN SELECT * FROM t",
    ] {
        let planned = info(&mut two.a, sql).await;
        let advertised = planned.clone().try_decode_schema().unwrap();
        two.a.execute_update("INSERT INTO t VALUES (4)".to_owned(), None).await.unwrap();
        let there = fetch(&mut two.b, &planned).await;
        assert_eq!(*there[0].schema(), advertised, "{sql}");
        let again = fetch(&mut two.b, &planned).await;
        let here = fetch(&mut two.a, &planned).await;
        assert_eq!(one(&there), one(&here), "{sql}");
        assert_eq!(one(&there), one(&again), "{sql}");
        // Where it was planned it is good once.
        assert_eq!(refusal(&mut two.a, &planned).await.0, Code::NotFound, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_statement_reads_has_to_be_the_same_still() {
    for (change, expected) in [
        ("CREATE OR REPLACE VIEW v AS SELECT n + 1 AS n FROM t", Code::FailedPrecondition),
        ("ALTER TABLE t ALTER COLUMN n SET MASK (0)", Code::FailedPrecondition),
        ("DROP TABLE t; CREATE TABLE t (n BIGINT)", Code::FailedPrecondition),
        ("DROP VIEW v", Code::NotFound),
        ("ALTER TABLE t ADD COLUMN m BIGINT", Code::Ok),
        ("DELETE FROM t", Code::Ok),
    ] {
        let mut two = Two::with(
            "CREATE TABLE t (n BIGINT);
             INSERT INTO t VALUES (1), (2);
             CREATE VIEW v AS SELECT n FROM t",
        )
        .await;
        let planned = info(&mut two.a, "SELECT sum(n) FROM v").await;
        for statement in change.split("; ") {
            if let Err(error) = two.a.execute_update(statement.to_owned(), None).await {
                panic!("{statement}: {error}");
            }
        }
        if expected == Code::Ok {
            assert_eq!(one(&fetch(&mut two.b, &planned).await), "3", "{change}");
            continue;
        }
        let (code, text) = refusal(&mut two.b, &planned).await;
        assert_eq!(code, expected, "{change}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_hold_and_what_is_too_old_is_not_found() {
    let world = World::new(&["ann", "bob"]).await;
    let (here, there) = (world.serve(10, true).await, world.serve(10, true).await);
    let (mut a, mut b) = (here.client_of("ann").await, there.client_of("ann").await);
    let mut bob = there.client_of("bob").await;
    let planned = info(&mut a, "SELECT 1").await;
    let prepared = handle(&a.prepare("SELECT 1".to_owned(), None).await.unwrap().execute().await);
    assert_eq!(refusal(&mut bob, &planned).await.0, Code::NotFound);
    assert_eq!(code(run(&mut bob, &prepared).await), Code::NotFound);
    fetch(&mut b, &planned).await;
    world.clock.pass(HANDLE_TTL);
    let mut b = there.client_of("ann").await;
    assert_eq!(refusal(&mut b, &planned).await.0, Code::NotFound);
    // A prepared statement is known for longer.
    run(&mut b, &prepared).await.unwrap();
    world.clock.pass(STATEMENT_TTL);
    b = there.client_of("ann").await;
    assert_eq!(code(run(&mut b, &prepared).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_ticket_is_the_senders_mistake_and_leaves_the_ticket_good() {
    let mut two = Two::start(10).await;
    let planned = info(&mut two.a, "SELECT 42").await;
    let good = sealed(&planned);
    for at in 0..good.len() {
        for bit in [1, 128] {
            let mut bytes = good.to_vec();
            bytes[at] ^= bit;
            let changed = TicketStatementQuery { statement_handle: bytes.into() };
            let changed = Ticket::new(changed.as_any().encode_to_vec());
            let refused = code(two.b.do_get(changed).await.map(drop));
            let expected = [Code::InvalidArgument, Code::NotFound];
            assert!(expected.contains(&refused), "{refused:?} for byte {at}");
        }
    }
    // For another purpose it is good for nothing.
    assert_eq!(code(run(&mut two.b, &good).await), Code::InvalidArgument);
    let within = two.b.execute("SELECT 1".to_owned(), Some(good)).await;
    assert_eq!(code(within), Code::InvalidArgument);
    assert_eq!(one(&fetch(&mut two.b, &planned).await), "42");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_took_effect_is_answered_anywhere_and_done_once() {
    let mut two = Two::with("CREATE TABLE t (n BIGINT)").await;
    let inserted = info(&mut two.a, "INSERT INTO t VALUES (1), (2)").await;
    for _ in 0..2 {
        assert_eq!(one(&fetch(&mut two.b, &inserted).await), "2");
    }
    assert_eq!(one(&fetch(&mut two.a, &inserted).await), "2");
    assert_eq!(number(&mut two.b, "SELECT count(*) FROM t").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_travel_says_where_it_waits_and_why() {
    let mut two = Two::with(
        "CREATE TABLE t (n BIGINT) TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true');
         INSERT INTO t VALUES (1)",
    )
    .await;
    let long = format!("SELECT 1 AS a /* {} */", "x".repeat(sealed::SEALED_MAX));
    for (sql, why) in [
        (long.as_str(), "bytes"),
        ("SELECT * FROM table_changes('t', 0)", "newest changes"),
        ("SELECT * FROM t TIMESTAMP AS OF '2100-01-01'", "has not passed"),
        ("VALIDATE TABLE t", "newest version"),
    ] {
        let planned = info(&mut two.a, sql).await;
        let (code, text) = refusal(&mut two.b, &planned).await;
        assert_eq!(code, Code::FailedPrecondition, "{text}");
        let said = text.contains(why) && text.contains(&two.here.address);
        assert!(said && !text.contains(&two.there.address), "{text}");
        fetch(&mut two.a, &planned).await;
    }
    let id = two.a.begin_transaction().await.unwrap();
    let planned = two.a.execute("SELECT * FROM t".to_owned(), Some(id.clone())).await.unwrap();
    assert_eq!(refusal(&mut two.b, &planned).await.0, Code::FailedPrecondition);
    let elsewhere = two.b.execute("SELECT 1".to_owned(), Some(id.clone())).await.unwrap_err();
    let elsewhere = elsewhere.to_string();
    assert!(elsewhere.contains("where it began"), "{elsewhere}");
    assert!(elsewhere.contains(&two.here.address), "{elsewhere}");
    fetch(&mut two.a, &planned).await;
    let commit = arrow_flight::sql::EndTransaction::Commit;
    let elsewhere = two.b.end_transaction(id.clone(), commit).await;
    assert_eq!(code(elsewhere), Code::FailedPrecondition);
    two.a.end_transaction(id, commit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_what_travels() {
    let mut two = Two::start(10).await;
    let secret = "correct horse";
    let sql = format!("CREATE USER ann PASSWORD '{secret}'");
    let request = ActionCreatePreparedStatementRequest { query: sql, transaction_id: None };
    let action = Action {
        r#type: "CreatePreparedStatement".to_owned(),
        body: request.as_any().encode_to_vec().into(),
    };
    let mut answer = two.a.do_action(action).await.unwrap();
    let prepared = answer.message().await.unwrap().unwrap().body;
    assert!(!contains(&prepared, secret));
    let any = Any::decode(prepared).unwrap();
    let created: arrow_flight::sql::ActionCreatePreparedStatementResult =
        any.unpack().unwrap().unwrap();
    let handle = created.prepared_statement_handle;
    assert_eq!(code(run(&mut two.b, &handle).await), Code::FailedPrecondition);
    let done = run(&mut two.a, &handle).await.unwrap();
    // For a moment longer there seem to be no users.
    two.world.clock.pass(Duration::from_secs(2));
    assert!(!contains(&ticket(&done).ticket, secret));
    two.a.handshake("ann", secret).await.unwrap();
    let token = info(&mut two.a, "CREATE TOKEN ci").await;
    let bytes = sealed(&token);
    let rows = fetch(&mut two.a, &token).await;
    let schema = rows[0].schema();
    for (n, field) in schema.fields().iter().enumerate() {
        let value = arrow::util::display::array_value_to_string(rows[0].column(n), 0).unwrap();
        let is_secret = field.name() == "token";
        assert!(!is_secret || value.len() > 20, "{value}");
        assert!(!is_secret || !contains(&bytes, &value));
    }
    assert!(schema.field_with_name("token").is_ok(), "{schema:?}");
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The handle that a run of a prepared statement was asked by.
fn handle(info: &Result<FlightInfo, arrow_flight::error::FlightError>) -> Bytes {
    let descriptor = info.as_ref().unwrap().flight_descriptor.as_ref().unwrap();
    match ticket::descriptor_command(descriptor).unwrap() {
        Command::CommandPreparedStatementQuery(query) => query.prepared_statement_handle,
        other => panic!("another command: {other:?}"),
    }
}

/// Runs a prepared statement by its handle.
async fn run(
    client: &mut Client,
    handle: &Bytes,
) -> Result<FlightInfo, arrow_flight::error::FlightError> {
    let query = CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
    let descriptor = FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
    let mut request = tonic::Request::new(descriptor);
    if let Some(token) = client.token() {
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    let info = client.inner_mut().get_flight_info(request).await;
    Ok(info
        .map_err(|status| arrow_flight::error::FlightError::Tonic(Box::new(status)))?
        .into_inner())
}

fn row(n: i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![n]));
    RecordBatch::try_from_iter([("$1", column)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_runs_anywhere_with_what_was_bound_to_its_handle() {
    let mut two = Two::with(
        "CREATE TABLE t (n BIGINT);
         INSERT INTO t VALUES (1), (2)",
    )
    .await;
    let mut select = two.a.prepare("SELECT sum(n) + $1 FROM t".to_owned(), None).await.unwrap();
    select.set_parameters(row(40)).unwrap();
    let planned = select.execute().await;
    let forty = handle(&planned);
    select.set_parameters(row(50)).unwrap();
    let fifty = handle(&select.execute().await);
    for (handle, expected) in [(&forty, "43"), (&fifty, "53")] {
        let planned = run(&mut two.b, handle).await.unwrap();
        // Planned there, fetched here, and the other way round.
        assert_eq!(one(&fetch(&mut two.a, &planned).await), expected);
        let planned = run(&mut two.a, handle).await.unwrap();
        assert_eq!(one(&fetch(&mut two.b, &planned).await), expected);
    }
    // Each run reads what is newest.
    two.a.execute_update("INSERT INTO t VALUES (7)".to_owned(), None).await.unwrap();
    let planned = run(&mut two.b, &forty).await.unwrap();
    assert_eq!(one(&fetch(&mut two.b, &planned).await), "50");
    // Closed, the server that prepared it knows it no more.
    select.close().await.unwrap();
    assert_eq!(code(run(&mut two.a, &fifty).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_update_takes_effect_where_it_is_sent_once() {
    let mut two = Two::with("CREATE TABLE t (n BIGINT)").await;
    let mut insert = two.a.prepare("INSERT INTO t VALUES ($1)".to_owned(), None).await.unwrap();
    insert.set_parameters(row(1)).unwrap();
    assert_eq!(insert.execute_update().await.unwrap(), 1);
    insert.set_parameters(row(2)).unwrap();
    let bound = handle(&insert.execute().await);
    assert_eq!(number(&mut two.b, "SELECT count(*) FROM t").await, 2);
    let update = CommandPreparedStatementUpdate { prepared_statement_handle: bound };
    let descriptor = FlightDescriptor::new_cmd(update.as_any().encode_to_vec());
    let message = arrow_flight::FlightData::new().with_descriptor(descriptor);
    let mut answer = two.b.do_put(futures::stream::iter([message])).await.unwrap();
    answer.message().await.unwrap().unwrap();
    assert_eq!(number(&mut two.a, "SELECT sum(n) FROM t").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bound_and_too_large_stays_where_it_was_bound() {
    let mut two = Two::start(10).await;
    let mut select = two.a.prepare("SELECT length($1::varchar)".to_owned(), None).await.unwrap();
    let text: ArrayRef =
        Arc::new(arrow::array::StringArray::from(vec!["x".repeat(sealed::SEALED_MAX)]));
    select.set_parameters(RecordBatch::try_from_iter([("$1", text)]).unwrap()).unwrap();
    let planned = select.execute().await;
    let bound = handle(&planned);
    assert!(bound.len() < 2_000, "{}", bound.len());
    assert_eq!(code(run(&mut two.b, &bound).await), Code::FailedPrecondition);
    assert_eq!(refusal(&mut two.b, &planned.unwrap()).await.0, Code::FailedPrecondition);
    let planned = run(&mut two.a, &bound).await.unwrap();
    assert_eq!(one(&fetch(&mut two.a, &planned).await), sealed::SEALED_MAX.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_refuses_no_query_that_others_can_plan() {
    let mut two = Two::start(1).await;
    let waiting = info(&mut two.a, "SELECT 1").await;
    let second = info(&mut two.a, "SELECT 2").await;
    assert_eq!(one(&fetch(&mut two.a, &second).await), "2");
    assert_eq!(one(&fetch(&mut two.b, &second).await), "2");
    let refused = two.a.execute("CREATE TABLE t (n BIGINT)".to_owned(), None).await;
    assert_eq!(code(refused), Code::ResourceExhausted);
    let first = two.a.prepare("SELECT $1".to_owned(), None).await.unwrap();
    let mut second = two.a.prepare("SELECT $1 + 1".to_owned(), None).await.unwrap();
    second.set_parameters(row(6)).unwrap();
    let planned = second.execute().await.unwrap();
    assert_eq!(one(&fetch(&mut two.b, &planned).await), "7");
    first.close().await.unwrap();
    fetch(&mut two.a, &waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_renewed_anywhere() {
    let mut two = Two::start(10).await;
    let planned = info(&mut two.a, "SELECT 1").await;
    let request = RenewFlightEndpointRequest { endpoint: Some(planned.endpoint[0].clone()) };
    two.world.clock.pass(HANDLE_TTL / 2);
    let action =
        Action { r#type: "RenewFlightEndpoint".to_owned(), body: request.encode_to_vec().into() };
    let mut answer = two.b.do_action(action).await.unwrap();
    let body = answer.message().await.unwrap().unwrap().body;
    let renewed = FlightEndpoint::decode(body).unwrap();
    two.world.clock.pass(HANDLE_TTL * 3 / 4);
    assert_eq!(refusal(&mut two.b, &planned).await.0, Code::NotFound);
    let planned = FlightInfo { endpoint: vec![renewed], ..planned };
    assert_eq!(one(&fetch(&mut two.b, &planned).await), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_good_on_every_server_until_it_ends_or_the_password_changes() {
    let world = World::new(&["ann"]).await;
    let (here, there) = (world.serve(10, true).await, world.serve(10, true).await);
    let logged_in = here.client_of("ann").await;
    let mut elsewhere = there.client().await;
    elsewhere.set_token(logged_in.token().unwrap().clone());
    assert_eq!(number(&mut elsewhere, "SELECT 7").await, 7);
    // Each use keeps it, where it is used.
    for _ in 0..3 {
        world.clock.pass(Duration::from_secs(400));
        assert_eq!(number(&mut elsewhere, "SELECT 7").await, 7);
    }
    let mut late = here.client().await;
    late.set_token(logged_in.token().unwrap().clone());
    let refused = late.execute("SELECT 7".to_owned(), None).await;
    assert_eq!(code(refused), Code::Unauthenticated);
    let hash = hash_password("another").unwrap();
    world.catalog.set_password_hash("ann", &hash, "none").await.unwrap();
    world.clock.pass(Duration::from_secs(61));
    let refused = elsewhere.execute("SELECT 7".to_owned(), None).await;
    assert_eq!(code(refused), Code::Unauthenticated);
}
