//! Bulk ingest: the rows of a DoPut into a table, while they come.

use std::panic::AssertUnwindSafe;

use arrow_flight::{
    FlightData,
    decode::{DecodedPayload, FlightDataDecoder, FlightRecordBatchStream},
    error::FlightError,
    sql::{CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption},
};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use model::{code::Code, name::CATALOG};
use query::{
    ingest::{Broken, IfExists, IfMissing, Incoming, Ingest},
    session::Session,
};
use tonic::Status;

use super::FlightSql;
use crate::error::{invalid, status, unimplemented};

impl FlightSql {
    /// DoPut of rows; how many were written. The next message is read when the rows of the last one
    /// are on their way into the lake, so that a client is as fast as the lake is.
    pub(super) async fn ingest<S>(
        &self,
        session: &Session,
        command: CommandStatementIngest,
        messages: S,
    ) -> Result<i64, Status>
    where
        S: Stream<Item = Result<FlightData, Status>> + Send + 'static,
    {
        let session = &self.within(session, command.transaction_id.as_ref()).await?;
        let (if_missing, if_exists) = modes(command.table_definition_options.as_ref())?;
        if command.temporary {
            return Err(unimplemented(
                "temporary tables are not supported in this version\n\
                 hint: ingest into a table of its own, and DROP TABLE … PURGE it",
            ));
        }
        if let Some(option) = command.options.keys().min() {
            return Err(invalid(format!(
                "option '{option}' of an ingest is not known; there are none in this version"
            )));
        }
        let table = table(session, command);
        let rows = incoming(messages).await?;
        let ingest = Ingest { table, if_missing, if_exists, rows };
        let result = self.inner.queries.ingest(session, ingest).await;
        Ok(result.map_err(|error| status(&error))?.rows_affected)
    }
}

/// What is to happen to a table that is there, and to one that is not. Neither has a default.
fn modes(options: Option<&TableDefinitionOptions>) -> Result<(IfMissing, IfExists), Status> {
    let unsaid = |what, choice| {
        invalid(format!(
            "an ingest has to say what happens when the table {what}: set {choice} of \
             table_definition_options"
        ))
    };
    let (if_not_exist, if_exists) =
        options.map_or((0, 0), |options| (options.if_not_exist, options.if_exists));
    let if_missing = match TableNotExistOption::try_from(if_not_exist) {
        Ok(TableNotExistOption::Create) => IfMissing::Create,
        Ok(TableNotExistOption::Fail) => IfMissing::Fail,
        Ok(TableNotExistOption::Unspecified) | Err(_) => {
            return Err(unsaid("does not exist", "if_not_exist"));
        }
    };
    let if_exists = match TableExistsOption::try_from(if_exists) {
        Ok(TableExistsOption::Fail) => IfExists::Fail,
        Ok(TableExistsOption::Append) => IfExists::Append,
        Ok(TableExistsOption::Replace) => IfExists::Replace,
        Ok(TableExistsOption::Unspecified) | Err(_) => return Err(unsaid("exists", "if_exists")),
    };
    Ok((if_missing, if_exists))
}

/// The parts of the table's name. Some drivers send an empty text for what was not said.
fn table(session: &Session, command: CommandStatementIngest) -> Vec<String> {
    let said = |part: Option<String>| part.filter(|part| !part.is_empty());
    let catalog = said(command.catalog).unwrap_or_else(|| CATALOG.to_owned());
    let schema = said(command.schema).unwrap_or_else(|| session.schema().to_owned());
    vec![catalog, schema, command.table]
}

/// Reads the schema; the rows are read by who takes them.
async fn incoming<S>(messages: S) -> Result<Incoming, Status>
where
    S: Stream<Item = Result<FlightData, Status>> + Send + 'static,
{
    // A message that only carries the command has no header.
    let messages = messages
        .try_filter(|message| std::future::ready(!message.data_header.is_empty()))
        .map_err(FlightError::from);
    let mut decoder = FlightDataDecoder::new(messages);
    let schema = loop {
        // As for parameters: what gets past the decoder's checks is still the client's.
        let message = AssertUnwindSafe(decoder.next()).catch_unwind().await;
        let message = message.map_err(|_| refused(unreadable("it cannot be decoded")))?;
        let Some(message) = message else {
            return Err(invalid("the rows of an ingest begin with their schema; none came"));
        };
        match message.map_err(|error| refused(broken(error)))?.payload {
            DecodedPayload::Schema(schema) => break schema,
            DecodedPayload::None => {}
            DecodedPayload::RecordBatch(_) => {
                return Err(invalid("the rows of an ingest begin with their schema"));
            }
        }
    };
    let batches = AssertUnwindSafe(FlightRecordBatchStream::new(decoder)).catch_unwind();
    let batches = batches.map(|batch| match batch {
        Ok(batch) => batch.map_err(broken),
        Err(_) => Err(unreadable("it cannot be decoded")),
    });
    Incoming::new(&schema, batches).map_err(|error| status(&error))
}

fn unreadable(why: impl std::fmt::Display) -> Broken {
    Broken {
        code: Code::InvalidArgument,
        text: format!("the rows are no readable Arrow data: {why}"),
    }
}

fn broken(error: FlightError) -> Broken {
    match error {
        FlightError::Tonic(status) if status.code() == tonic::Code::OutOfRange => Broken {
            code: Code::InvalidArgument,
            text: format!(
                "a message of the rows is too large: {}\n\
                 hint: send smaller batches, or raise server.message_size_max",
                status.message()
            ),
        },
        FlightError::Tonic(status) => Broken {
            code: Code::Cancelled,
            text: format!("the rows broke off, and nothing was written: {}", status.message()),
        },
        other => unreadable(other),
    }
}

fn refused(broken: Broken) -> Status {
    status(&query::error::QueryError::Incoming(broken))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Int64Array},
        record_batch::RecordBatch,
    };
    use arrow_flight::encode::FlightDataEncoderBuilder;
    use futures::stream;
    use proptest::prelude::*;

    use super::*;

    async fn messages() -> Vec<FlightData> {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let encoder = FlightDataEncoderBuilder::new().build(stream::iter([Ok(batch)]));
        encoder.try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn the_schema_is_read_first_wherever_it_stands() {
        let schema_and_rows = messages().await;
        let mut with_command = schema_and_rows.clone();
        with_command.insert(0, FlightData::default());
        for messages in [schema_and_rows.clone(), with_command] {
            assert!(incoming(stream::iter(messages.into_iter().map(Ok))).await.is_ok());
        }
        let rows_first: Vec<_> = schema_and_rows.into_iter().rev().collect();
        for messages in [vec![], vec![FlightData::default()], rows_first] {
            let refused = incoming(stream::iter(messages.into_iter().map(Ok))).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
        }
    }

    #[test]
    fn only_a_message_that_is_too_large_or_unreadable_is_the_senders_mistake() {
        let of = |status: Status| broken(FlightError::from(status)).code;
        assert_eq!(of(Status::out_of_range("too large")), Code::InvalidArgument);
        assert_eq!(of(Status::unavailable("gone")), Code::Cancelled);
        let unreadable = broken(FlightError::DecodeError("no".to_owned()));
        assert_eq!(unreadable.code, Code::InvalidArgument);
    }

    proptest! {
        #[test]
        fn garbage_is_the_senders_mistake(
            header in proptest::collection::vec(any::<u8>(), 1..64),
            body in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let message = FlightData::new().with_data_header(header).with_data_body(body);
            let read = futures::executor::block_on(incoming(stream::iter([Ok(message)])));
            if let Err(status) = read {
                prop_assert_eq!(status.code(), tonic::Code::InvalidArgument);
            }
        }
    }
}
