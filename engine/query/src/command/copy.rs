//! COPY … TO: rows of a query become files.

use std::sync::Arc;

use dialect::statement::Copy;
use model::object::TableFormat;

use crate::{
    error::QueryError,
    plan,
    queries::{Checked, CommandResult, Queries, check_query},
    session::Session,
};

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    copy: Copy,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let lake = Arc::clone(&inner.options.lake);
    let location = lake.parse_location(&copy.location)?;
    let Checked { resolved, plan: logical, .. } =
        check_query(inner, session, &copy.source, None).await?;
    super::views::named_once(logical.schema())?;
    let plan = plan::physical(&resolved.state, &logical).await?;
    let runtime = queries.runtime(&plan).clone();
    let format = copy.format.unwrap_or_else(|| format_of(&copy.location));
    let state = Arc::new(resolved.state);
    let copy = lake::Copy { location, plan, state, format, options: copy.options };
    let work = runtime.spawn(async move { lake.copy(copy).await });
    Ok(CommandResult::affected(work.await??))
}

/// What the ending of a place says; Parquet where it says nothing.
fn format_of(location: &str) -> TableFormat {
    let name = location.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    match name.split('.').nth(1) {
        Some("csv") => TableFormat::Csv,
        Some("json") => TableFormat::Json,
        _ => TableFormat::Parquet,
    }
}
