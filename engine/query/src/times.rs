//! `TIMESTAMP` without a precision has microseconds, as Delta and Postgres have it.
//!
//! DataFusion takes it for nanoseconds, of which 64 bits end in 2262: the 9999-12-31 of tables that keep
//! history would be refused. What becomes of dates and texts beside times is told in [`meet`].

pub(crate) mod coalesce;
pub(crate) mod meet;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::{
    error::Result,
    logical_expr::planner::TypePlanner,
    sql::sqlparser::ast::{DataType as SqlType, TimezoneInfo},
};

/// The zone of times that say none, and of all times with one.
pub(crate) const ZONE: &str = "UTC";

/// Leaves every other type to DataFusion.
#[derive(Debug)]
pub(crate) struct Times;

impl TypePlanner for Times {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let SqlType::Timestamp(None, zone) = sql_type else { return Ok(None) };
        let zone = match zone {
            TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => Some(ZONE.into()),
            TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => None,
        };
        let data_type = DataType::Timestamp(TimeUnit::Microsecond, zone);
        Ok(Some(Field::new("", data_type, true).into()))
    }
}
