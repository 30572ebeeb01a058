//! Plans of Substrait, by each call that carries one. What they mean is tested where they are read.

use arrow_flight::{
    Action, FlightDescriptor,
    sql::{
        ActionCreatePreparedStatementResult, ActionCreatePreparedSubstraitPlanRequest, Any,
        CommandGetSqlInfo, CommandPreparedStatementQuery, CommandStatementSubstraitPlan,
        ProstMessageExt, SqlInfo, SubstraitPlan,
    },
};
use prost::Message;
use tonic::Code;
use whimbrel_tests::{
    client::{Client, Failure},
    process::Server,
};

/// `SELECT 1 AS a`, of version 0.57, made by hand.
const ONE: [u8; 40] = [
    0x1a, 0x22, 0x12, 0x20, 0x0a, 0x1b, 0x0a, 0x19, 0x12, 0x0d, 0x0a, 0x01, 0x61, 0x12, 0x08, 0x0a,
    0x04, 0x3a, 0x02, 0x10, 0x02, 0x18, 0x02, 0x2a, 0x08, 0x12, 0x06, 0x0a, 0x04, 0x0a, 0x02, 0x38,
    0x01, 0x12, 0x01, 0x61, 0x32, 0x02, 0x10, 0x39,
];

fn plan(bytes: &[u8], version: &str) -> Option<SubstraitPlan> {
    Some(SubstraitPlan { plan: bytes.to_vec().into(), version: version.to_owned() })
}

fn command(bytes: &[u8], version: &str) -> CommandStatementSubstraitPlan {
    CommandStatementSubstraitPlan { plan: plan(bytes, version), transaction_id: None }
}

async fn prepare(client: &mut Client) -> ActionCreatePreparedStatementResult {
    let request =
        ActionCreatePreparedSubstraitPlanRequest { plan: plan(&ONE, ""), transaction_id: None };
    let action = Action {
        r#type: "CreatePreparedSubstraitPlan".to_owned(),
        body: request.as_any().encode_to_vec().into(),
    };
    let mut answers = client.flight().do_action(action).await.unwrap();
    let answer = answers.message().await.unwrap().unwrap();
    let any = Any::decode(answer.body).unwrap();
    any.unpack().unwrap().unwrap()
}

#[tokio::test]
async fn a_plan_is_run_and_prepared_as_a_text_is() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    for version in ["", "0.57.0", "0.85.0"] {
        let answer = client.command(command(&ONE, version)).await;
        assert_eq!((answer.columns(), answer.lines()), (vec!["a"], vec!["1".to_owned()]));
    }
    let prepared = prepare(&mut client).await;
    assert!(!prepared.dataset_schema.is_empty() && prepared.parameter_schema.is_empty());
    for _ in 0..2 {
        let handle = prepared.prepared_statement_handle.clone();
        let run = CommandPreparedStatementQuery { prepared_statement_handle: handle };
        assert_eq!(client.command(run).await.cell(), "1");
    }
    let cmd = command(&ONE, "").as_any().encode_to_vec();
    let flight = client.flight().inner_mut();
    let schema = flight.get_schema(FlightDescriptor::new_cmd(cmd.clone())).await.unwrap();
    let schema = arrow::datatypes::Schema::try_from(&schema.into_inner()).unwrap();
    assert_eq!(schema.field(0).name(), "a");
    let polled =
        flight.poll_flight_info(FlightDescriptor::new_cmd(cmd)).await.unwrap().into_inner();
    assert!(polled.info.is_some());
    let found =
        "SELECT count(*) FROM system.queries WHERE sql LIKE 'SUBSTRAIT %' AND state = 'SUCCEEDED'";
    assert_ne!(client.query(found).await.cell(), "0");
}

#[tokio::test]
async fn what_is_no_plan_is_refused() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    for (wrong, code, text) in [
        (command(b"garbage", ""), Code::InvalidArgument, "decode plan"),
        (command(&[], ""), Code::InvalidArgument, "no relation"),
        (command(&ONE, "1.0.0"), Code::Unimplemented, "0.20.0 to 0.85.0"),
        (
            CommandStatementSubstraitPlan { plan: None, transaction_id: None },
            Code::InvalidArgument,
            "no plan",
        ),
    ] {
        client.command_info(wrong).await.unwrap_err().expect(code, &[text]);
    }
    // One that is cut off at any byte, and one with any bit turned, has a proper answer.
    for end in 0..ONE.len() {
        proper(&mut client, &ONE[..end]).await;
    }
    for bit in 0..ONE.len() * 8 {
        let mut bytes = ONE;
        bytes[bit / 8] ^= 1 << (bit % 8);
        proper(&mut client, &bytes).await;
    }
    assert_eq!(client.command(command(&ONE, "")).await.cell(), "1");
}

async fn proper(client: &mut Client, bytes: &[u8]) {
    let fetched = match client.command_info(command(bytes, "")).await {
        Ok(info) => client.fetch(info).await.map(|_| ()),
        Err(failure) => Err(failure),
    };
    if let Err(Failure { code, message, .. }) = fetched {
        let is_proper =
            matches!(code, Code::InvalidArgument | Code::Unimplemented | Code::NotFound);
        assert!(is_proper, "{code:?}: {message}\nof {bytes:02x?}");
    }
}

#[tokio::test]
async fn the_server_says_which_plans_it_reads() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    let info = [
        SqlInfo::FlightSqlServerSubstrait,
        SqlInfo::FlightSqlServerSubstraitMinVersion,
        SqlInfo::FlightSqlServerSubstraitMaxVersion,
    ];
    let info = info.map(|number| number as u32).to_vec();
    let told = client.command(CommandGetSqlInfo { info }).await.text();
    for expected in ["true", "0.20.0", "0.85.0"] {
        assert!(told.contains(expected), "{told}");
    }
}
