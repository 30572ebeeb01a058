//! Session options, as drivers set them: kept by a cookie, of one principal, for one schema.

use std::collections::HashMap;

use arrow_flight::Action;
use prost::Message;
use tonic::{Code, Request};
use whimbrel_tests::{
    client::{Client, Failure},
    process::Server,
};

const COOKIE: &str = "arrow_flight_session_id";

/// The messages of Flight.proto.
#[derive(Clone, PartialEq, Message)]
struct Options {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionValue {
    #[prost(oneof = "Value", tags = "1, 2, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(sfixed64, tag = "3")]
    Whole(i64),
}

#[derive(Clone, PartialEq, Message)]
struct Errors {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionError {
    #[prost(int32, tag = "1")]
    value: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Closed {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// A driver that keeps cookies.
struct Driver {
    client: Client,
    cookie: Option<String>,
    agent: &'static str,
}

impl Driver {
    async fn connect(server: &Server) -> Self {
        Self { client: Client::connect(server).await, cookie: None, agent: "test" }
    }

    async fn action(&mut self, name: &str, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let mut request = Request::new(Action { r#type: name.to_owned(), body: body.into() });
        if let Some(cookie) = &self.cookie {
            request.metadata_mut().insert("cookie", cookie.parse().unwrap());
        }
        request.metadata_mut().insert("user-agent", self.agent.parse().unwrap());
        let response = self.client.flight().inner_mut().do_action(request).await?;
        if let Some(set) = response.metadata().get("set-cookie") {
            let set = set.to_str().unwrap().to_owned();
            let pair = set.split(';').next().unwrap().to_owned();
            self.cookie = (!set.contains("Max-Age=0")).then_some(pair);
        }
        Ok(response.into_inner().message().await?.map(|result| result.body.to_vec()).unwrap())
    }

    /// Sets options; which of them were refused.
    async fn set(&mut self, options: &[(&str, Option<Value>)]) -> HashMap<String, i32> {
        let body = self.action("SetSessionOptions", request(options)).await.unwrap();
        let errors = Errors::decode(&*body).unwrap().errors;
        errors.into_iter().map(|(name, error)| (name, error.value)).collect()
    }

    async fn options(&mut self) -> Result<(String, String), Failure> {
        let body = self.action("GetSessionOptions", Vec::new()).await?;
        let options = Options::decode(&*body).unwrap().session_options;
        let text = |name: &str| match &options[name].value {
            Some(Value::Text(text)) => text.clone(),
            other => panic!("{name} is {other:?}"),
        };
        Ok((text("catalog"), text("schema")))
    }

    /// A client whose statements belong to the session.
    fn statements(&self) -> Client {
        let mut client = self.client.clone();
        if let Some(cookie) = &self.cookie {
            client.flight().set_header("cookie", format!("other=1; {cookie}"));
        }
        client
    }
}

fn request(options: &[(&str, Option<Value>)]) -> Vec<u8> {
    let options = options.iter().cloned();
    let session_options =
        options.map(|(name, value)| (name.to_owned(), OptionValue { value })).collect();
    Options { session_options }.encode_to_vec()
}

fn text(value: &str) -> Option<Value> {
    Some(Value::Text(value.to_owned()))
}

#[tokio::test]
async fn a_session_has_a_schema_for_names_that_say_none() {
    let server = Server::start();
    let mut driver = Driver::connect(&server).await;
    driver
        .client
        .script("CREATE SCHEMA shop; CREATE TABLE shop.t AS SELECT 'shop' AS a; CREATE TABLE t AS SELECT 'main' AS a")
        .await;
    assert_eq!(driver.set(&[("schema", text("shop"))]).await, HashMap::new());
    let mut statements = driver.statements();
    assert_eq!(statements.query("SELECT a FROM t").await.cell(), "shop");
    assert_eq!(statements.update("INSERT INTO t VALUES ('more')").await, 1);
    assert_eq!(driver.client.count("shop.t").await, 2, "DoPut belongs to it too");
    statements.update("CREATE TABLE made AS SELECT 1 AS a").await;
    assert_eq!(driver.client.count("shop.made").await, 1);
    let mut prepared = statements.prepare("SELECT count(*) FROM made").await;
    let info = prepared.execute().await.unwrap();
    assert_eq!(statements.fetch(info).await.unwrap().cell(), "1");
    // Others have their own.
    assert_eq!(driver.client.query("SELECT a FROM t").await.cell(), "main");
    assert_eq!(driver.options().await.unwrap(), ("whimbrel".into(), "shop".into()));
    // A valueless option is unset.
    assert_eq!(driver.set(&[("schema", None)]).await, HashMap::new());
    assert_eq!(driver.options().await.unwrap(), ("whimbrel".into(), "main".into()));
    assert_eq!(driver.statements().query("SELECT a FROM t").await.cell(), "main");
    // The end.
    let body = driver.action("CloseSession", Vec::new()).await.unwrap();
    assert_eq!(Closed::decode(&*body).unwrap().status, 1);
    assert_eq!(driver.cookie, None);
}

#[tokio::test]
async fn a_session_outlives_the_server() {
    let server = Server::start();
    let mut driver = Driver::connect(&server).await;
    driver.client.script("CREATE SCHEMA shop; CREATE TABLE shop.t AS SELECT 'shop' AS a").await;
    driver.set(&[("schema", text("shop"))]).await;
    let server = server.stop().start();
    driver.client = Client::connect(&server).await;
    assert_eq!(driver.statements().query("SELECT a FROM t").await.cell(), "shop");
    assert_eq!(driver.options().await.unwrap().1, "shop");
}

#[tokio::test]
async fn each_option_is_refused_by_itself() {
    let server = Server::start();
    let mut driver = Driver::connect(&server).await;
    driver.client.update("CREATE SCHEMA shop").await;
    // 1: the name, 2: the value.
    let refused = driver
        .set(&[
            ("schema", text("shop")),
            ("catalog", text("other")),
            ("timezone", text("UTC")),
            ("nothing", None),
        ])
        .await;
    let expected = [("catalog", 2), ("timezone", 1), ("nothing", 1)];
    assert_eq!(refused, expected.map(|(name, value)| (name.to_owned(), value)).into());
    assert_eq!(driver.options().await.unwrap(), ("whimbrel".into(), "shop".into()));
    for value in [text("nowhere"), text(""), Some(Value::Flag(true)), Some(Value::Whole(7))] {
        let refused = driver.set(&[("schema", value.clone())]).await;
        assert_eq!(refused.get("schema"), Some(&2), "{value:?}");
        assert_eq!(driver.options().await.unwrap().1, "shop", "{value:?} changed nothing");
    }
    assert_eq!(driver.set(&[("catalog", text("whimbrel"))]).await, HashMap::new());
}

#[tokio::test]
async fn without_a_session_there_is_nothing_to_tell() {
    let server = Server::start();
    let mut driver = Driver::connect(&server).await;
    for name in ["GetSessionOptions", "CloseSession"] {
        let refused = driver.action(name, Vec::new()).await.unwrap_err();
        refused.expect(Code::InvalidArgument, &["no session", "SetSessionOptions"]);
    }
    for name in ["SetSessionOptions", "GetSessionOptions", "CloseSession"] {
        let refused = driver.action(name, vec![0x0a, 0xff, 0xff]).await.unwrap_err();
        refused.expect(Code::InvalidArgument, &["cannot be read"]);
    }
    driver.cookie = Some(format!("{COOKIE}=someone-elses"));
    let refused = driver.action("GetSessionOptions", Vec::new()).await.unwrap_err();
    refused.expect(Code::InvalidArgument, &[COOKIE, "connect anew"]);
    let refused = driver.statements().try_query("SELECT 1").await.unwrap_err();
    refused.expect(Code::InvalidArgument, &[COOKIE]);
    // ADBC asks for facts first, so it had a cookie to keep: without it an option would be lost.
    driver.cookie = None;
    driver.agent = "ADBC Flight SQL Driver v1.13.0 grpc-go/1.80.0";
    let refused =
        driver.action("SetSessionOptions", request(&[("schema", text("main"))])).await.unwrap_err();
    refused.expect(Code::FailedPrecondition, &["with_cookie_middleware"]);
}
