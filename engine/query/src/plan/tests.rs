use std::{fs::File, sync::Arc, time::Duration};

use datafusion::{
    arrow::{array::AsArray, datatypes::TimestampMicrosecondType},
    parquet::{
        data_type::{Int96, Int96Type},
        file::{properties::WriterProperties, writer::SerializedFileWriter},
        schema::parser::parse_message_type,
    },
    prelude::{ParquetReadOptions, SessionContext},
};

use super::*;

fn state(folder: &tempfile::TempDir) -> SessionState {
    let limits = QueryLimits {
        memory_max: 1 << 30,
        spill_dir: folder.path().join("spill"),
        spill_max: 1 << 30,
        concurrency: 1,
        queue_max: 1,
        queue_wait: Duration::ZERO,
        statement_timeout: Duration::ZERO,
        target_partitions: 1,
        sql_length_max: 1 << 20,
        attempts_max: 1,
        profiles: model::profile::Profiles::default(),
    };
    let env = runtime_env(&limits, &limits.spill_dir).unwrap();
    base_state(&limits, env)
}

/// Nanoseconds since 1970 in 64 bits begin in 1677 and end in 2262.
#[tokio::test]
async fn times_of_older_writers_are_right_beyond_what_nanoseconds_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.parquet");
    let schema = Arc::new(parse_message_type("message m { required int96 at; }").unwrap());
    let properties = Arc::new(WriterProperties::default());
    let mut writer =
        SerializedFileWriter::new(File::create(&path).unwrap(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    // Day 2,440,588 of the Julian calendar is 1970-01-01.
    const EPOCH: i64 = 2_440_588;
    const DAY_MICROS: i64 = 86_400_000_000;
    let days = [-134_774_i64, 0, 376_200];
    let times: Vec<Int96> = days
        .iter()
        .map(|day| {
            let mut time = Int96::new();
            // Nanoseconds of the day, low and high half, then the day.
            time.set_data(1_000, 0, u32::try_from(EPOCH + day).unwrap());
            time
        })
        .collect();
    column.typed::<Int96Type>().write_batch(&times, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();

    let context = SessionContext::new_with_state(state(&folder));
    let read = context.read_parquet(path.to_str().unwrap(), ParquetReadOptions::default());
    let batches = read.await.unwrap().collect().await.unwrap();
    let found = batches[0].column(0).as_primitive::<TimestampMicrosecondType>();
    let expected: Vec<i64> = days.iter().map(|day| day * DAY_MICROS + 1).collect();
    assert_eq!(found.values(), expected.as_slice());
}
