//! The months in which the flights arrive, one commit each.

use super::{DemoError, Step, count, files::MONTH, label, run, say};
use crate::client::{ClientError, Connection, split};

/// One month of flights.
pub(super) struct Month {
    pub(super) name: &'static str,
    /// Its first day.
    first: &'static str,
    /// The first day whose flights do not arrive with it.
    next: &'static str,
    days: u32,
}

impl Month {
    const fn new(name: &'static str, first: &'static str, next: &'static str, days: u32) -> Self {
        Self { name, first, next, days }
    }

    #[cfg(test)]
    pub(super) fn first(&self) -> &'static str {
        self.first
    }

    /// The statements that bring it.
    pub(super) fn script(&self) -> String {
        let [(_, script)] = MONTH;
        script
            .replace("{month}", self.first)
            .replace("{next}", self.next)
            .replace("{days}", &self.days.to_string())
    }
}

/// The months that are there before anything is transformed.
pub(super) const AT_FIRST: [Month; 5] = [
    Month::new("January", "2001-01-01", "2001-02-01", 31),
    Month::new("February", "2001-02-01", "2001-03-01", 28),
    Month::new("March", "2001-03-01", "2001-04-01", 31),
    Month::new("April", "2001-04-01", "2001-05-01", 30),
    Month::new("May", "2001-05-01", "2001-06-01", 31),
];

/// The month that arrives when everything is transformed. The six flights of 1 July come with it.
pub(super) const AT_LAST: Month = Month::new("June", "2001-06-01", "2001-07-02", 30);

fn failed(doing: String) -> impl FnOnce(ClientError) -> DemoError {
    move |source| DemoError::Server { doing, source }
}

/// Loads a month unless it is there. Answers whether it was not.
pub(super) async fn load(connection: &mut Connection, month: &Month) -> Result<bool, DemoError> {
    let doing = format!("look for {}", month.name);
    // What is written last is there only when the month is whole.
    let sql =
        format!("SELECT count(*) FROM raw.airport_months WHERE month = DATE '{}'", month.first);
    if count(connection, &sql).await.map_err(failed(doing))? > 0 {
        say(format!("  {:42}  {:>14}", month.name, "is there"));
        return Ok(false);
    }
    for piece in split(&month.script()) {
        let label = format!("{}: {}", month.name, label(&piece.sql));
        let step = Step::begin(&label);
        let rows = run(connection, &piece.sql).await.map_err(failed(label))?;
        step.end(rows);
    }
    Ok(true)
}
