//! What tables there are and which columns they have, for drivers and for people.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use dialect::statement::TableUse;
use futures::{StreamExt, future::BoxFuture, stream};
use model::{
    name::{DEFAULT_SCHEMA, ObjectName, RESERVED_SCHEMAS},
    object::{Object, ObjectBody, ObjectKind},
    rights::{Columns, Rights},
};

use crate::{
    authorize::sees_definition,
    error::QueryError,
    keys,
    queries::{Inner, Queries},
    resolve::{Pins, Purpose, Reads, Wanted, resolve},
    session::Session,
    system,
    wire::wire_schema,
};

const DESCRIBED_AT_ONCE: usize = 8;

/// Which tables a driver asks for. Patterns are those of SQL LIKE.
#[derive(Debug, Clone, Default)]
pub struct TableFilter {
    /// Pattern of the schema.
    pub schema: Option<String>,
    /// Pattern of the name.
    pub name: Option<String>,
    /// Only these types, as in [`TableInfo::table_type`].
    pub types: Option<Vec<String>>,
    /// Whether the columns are wanted too, which needs the tables to be opened.
    pub with_columns: bool,
}

/// One table as a driver sees it.
#[derive(Debug, Clone)]
pub struct TableInfo {
    /// Its name.
    pub name: ObjectName,
    /// `TABLE`, `VIEW`, `MATERIALIZED VIEW` or `SYSTEM TABLE`.
    pub table_type: &'static str,
    /// Its columns under their wire types; `None` when not asked for, or when the table cannot be
    /// opened just now.
    pub columns: Option<SchemaRef>,
    /// The same as they are stored, with NOT NULL, comments and generated columns, for who may read
    /// all of them.
    pub stored: Option<SchemaRef>,
    /// Names and conditions of its CHECK constraints, known where `stored` is.
    pub checks: Vec<(String, String)>,
    /// Declared primary key; none for one who does not know all of its columns.
    pub primary_key: Vec<String>,
    /// `COMMENT` text.
    pub comment: Option<String>,
}

/// Every value of [`TableInfo::table_type`], sorted.
pub const TABLE_TYPES: [&str; 4] = ["MATERIALIZED VIEW", "SYSTEM TABLE", "TABLE", "VIEW"];

/// Tables of `information_schema`.
const INFORMATION_SCHEMA: [&str; 7] =
    ["columns", "df_settings", "parameters", "routines", "schemata", "tables", "views"];

impl Queries {
    /// Schemas whose name fits the pattern of SQL LIKE, sorted, reserved ones included.
    pub async fn schemas(
        &self,
        _: &Session,
        like: Option<&str>,
    ) -> Result<Vec<String>, QueryError> {
        let stored = self.inner.options.catalog.schemas().await?;
        let mut names: Vec<String> = stored.into_iter().map(|schema| schema.name).collect();
        names.extend(RESERVED_SCHEMAS.map(str::to_owned));
        names.retain(|name| like.is_none_or(|like| like_matches(like, name)));
        names.sort();
        Ok(names)
    }

    /// Tables that fit the filter, by schema and name.
    pub async fn tables(
        &self,
        session: &Session,
        filter: &TableFilter,
    ) -> Result<Vec<TableInfo>, QueryError> {
        Self::tables_of(&self.inner, session, filter).await
    }

    pub(crate) async fn tables_of(
        inner: &Inner,
        session: &Session,
        filter: &TableFilter,
    ) -> Result<Vec<TableInfo>, QueryError> {
        let fits = |name: &ObjectName, table_type: &str| {
            filter.schema.as_ref().is_none_or(|like| like_matches(like, name.schema()))
                && filter.name.as_ref().is_none_or(|like| like_matches(like, name.name()))
                && filter.types.as_ref().is_none_or(|types| types.iter().any(|t| t == table_type))
        };
        let rights = inner.rights(session.principal()).await?;
        let objects = inner.options.catalog.objects().await?;
        let wanted = objects
            .into_iter()
            .filter(|object| fits(&object.name, object.kind().as_sql()) && rights.sees(object));
        let (with_columns, rights) = (filter.with_columns, &rights);
        let mut tables: Vec<TableInfo> = stream::iter(wanted.map(|object| async move {
            let opened = match with_columns {
                true => Box::pin(opened(inner, rights, &object)).await.ok(),
                false => None,
            };
            let columns = opened.as_ref().map(|opened| wire_schema(&opened.schema));
            let Opened { schema, checks } = opened.unwrap_or_default();
            TableInfo {
                table_type: object.kind().as_sql(),
                stored: columns.is_some().then_some(schema),
                columns,
                checks,
                primary_key: primary_key(rights, &object),
                comment: object.comment,
                name: object.name,
            }
        }))
        .buffer_unordered(DESCRIBED_AT_ONCE)
        .collect()
        .await;
        for name in system_tables()? {
            if !fits(&name, "SYSTEM TABLE") {
                continue;
            }
            let columns =
                if with_columns { system_columns(inner).await?.get(&name).cloned() } else { None };
            tables.push(TableInfo {
                name,
                table_type: "SYSTEM TABLE",
                columns,
                stored: None,
                checks: Vec::new(),
                primary_key: Vec::new(),
                comment: None,
            });
        }
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }
}

/// Tables that describe the server itself.
fn system_tables() -> Result<Vec<ObjectName>, QueryError> {
    let system = system::TABLES.map(|name| ("system", name));
    let information = INFORMATION_SCHEMA.map(|name| ("information_schema", name));
    let names = system.into_iter().chain(information);
    Ok(names.map(|(schema, table)| ObjectName::new(schema, table)).collect::<Result<_, _>>()?)
}

/// Their columns. Planned for the first who asks: describing `information_schema` opens every
/// table there is.
async fn system_columns(inner: &Inner) -> Result<&HashMap<ObjectName, SchemaRef>, QueryError> {
    let plan = async || {
        let mut columns = HashMap::new();
        for name in system_tables()? {
            let sql = format!("SELECT * FROM {}", name.to_sql());
            let query = crate::resolve::parse_stored(&sql)?;
            let (reads, pins) = (Reads::from(&query), Pins::new());
            // Whoever asks may see the columns of such a table; its rows are another matter.
            let rights = Arc::new(Rights::everything(""));
            let resolved = resolve(inner, reads, &described(rights, &pins)).await?;
            let plan = crate::plan::logical(&resolved.state, &query).await?;
            columns.insert(name, wire_schema(plan.schema().as_arrow()));
        }
        Ok(columns)
    };
    inner.system_columns.get_or_try_init(plan).await
}

/// A table with its columns, for `information_schema`.
pub(crate) struct DescribedTable {
    pub(crate) name: ObjectName,
    pub(crate) schema: Option<SchemaRef>,
    pub(crate) definition: Option<String>,
    pub(crate) is_view: bool,
}

/// Every table of the catalog. One that cannot be opened is listed without columns.
pub(crate) async fn all(
    queries: &Inner,
    rights: &Rights,
) -> Result<Vec<DescribedTable>, QueryError> {
    let objects = queries.options.catalog.objects().await?;
    let definitions = definitions(&objects, rights);
    let objects = objects.into_iter().zip(definitions);
    let objects = objects.filter(|(object, _)| rights.sees(object));
    let described = stream::iter(objects.map(|(object, definition)| async move {
        let schema = columns(queries, rights, &object).await.inspect_err(|error| {
            tracing::debug!(name = %object.name, %error, "columns are not known");
        });
        DescribedTable {
            schema: schema.ok(),
            definition,
            is_view: object.kind() == ObjectKind::View,
            name: object.name,
        }
    }));
    Ok(described.buffer_unordered(DESCRIBED_AT_ONCE).collect().await)
}

/// The definition of each object, where it has one that somebody may see.
fn definitions(objects: &[Object], rights: &Rights) -> Vec<Option<String>> {
    let by_name: HashMap<_, _> = objects.iter().map(|object| (&object.name, object)).collect();
    let definition = |object: &Object| match &object.body {
        _ if !sees_definition(rights, object, |name| by_name.get(name).copied()) => None,
        ObjectBody::View(view) => Some(view.definition.clone()),
        ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) => {
            Some(view.definition.clone())
        }
        ObjectBody::Table(_) => None,
    };
    objects.iter().map(definition).collect()
}

/// The columns of one object that somebody may read, under the types that it is stored with; all of
/// them for one who may know of it and read none.
pub(crate) fn columns<'a>(
    queries: &'a Inner,
    rights: &'a Rights,
    object: &'a Object,
) -> BoxFuture<'a, Result<SchemaRef, QueryError>> {
    // Boxed because describing everything is itself a part of resolving.
    Box::pin(async move { Ok(opened(queries, rights, object).await?.schema) })
}

/// What is known of an object that was opened.
#[derive(Debug)]
struct Opened {
    schema: SchemaRef,
    checks: Vec<(String, String)>,
}

impl Default for Opened {
    fn default() -> Self {
        Self { schema: Arc::new(arrow::datatypes::Schema::empty()), checks: Vec::new() }
    }
}

async fn opened(queries: &Inner, rights: &Rights, object: &Object) -> Result<Opened, QueryError> {
    let parts = vec![object.name.schema().to_owned(), object.name.name().to_owned()];
    let used = TableUse { name: parts.clone(), at: None, planned_name: parts };
    let reads = Reads { tables: std::slice::from_ref(&used), files: &[] };
    let whole = rights.columns(object).is_none_or(|columns| columns == Columns::All)
        && (rights.owns(object) || object.policy.masks.is_empty());
    let rights = match whole {
        true => Rights::everything(rights.name()),
        false => rights.clone(),
    };
    let pins = Pins::new();
    let resolved = resolve(queries, reads, &described(Arc::new(rights), &pins)).await?;
    if whole && let Some(snapshot) = resolved.snapshots.get(&object.name) {
        let checks = snapshot.constraints();
        let checks = checks.map(|(name, condition)| (name.to_owned(), condition.to_owned()));
        return Ok(Opened { schema: snapshot.schema(), checks: checks.collect() });
    }
    let query = crate::resolve::parse_stored(&format!("SELECT * FROM {}", object.name.to_sql()))?;
    let plan = crate::plan::logical(&resolved.state, &query).await?;
    Ok(Opened { schema: wire_schema(plan.schema().as_arrow()), checks: Vec::new() })
}

fn described(rights: Arc<Rights>, pins: &Pins) -> Wanted<'_> {
    let (default_schema, purpose) = (DEFAULT_SCHEMA, Purpose::Describe);
    Wanted { rights, default_schema, purpose, pins, streams: None, known: None }
}

/// A part of a key would say that its columns are unique, which they need not be.
fn primary_key(rights: &Rights, object: &Object) -> Vec<String> {
    let key = keys::primary_key_of(object).unwrap_or_default();
    match rights.columns(object) {
        Some(Columns::Some(known)) if !key.iter().all(|column| known.contains(column)) => {
            Vec::new()
        }
        _ => key,
    }
}

/// SQL LIKE with `%`, `_` and `\` as escape, case-sensitive.
pub(crate) fn like_matches(pattern: &str, text: &str) -> bool {
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('%', rest)) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
            Some(('_', rest)) => !text.is_empty() && matches(rest, &text[1..]),
            Some(('\\', rest)) if !rest.is_empty() => {
                text.first() == Some(&rest[0]) && matches(&rest[1..], &text[1..])
            }
            Some((c, rest)) => text.first() == Some(c) && matches(rest, &text[1..]),
        }
    }
    // Runs of % mean the same as one, and one is what keeps the search short.
    let mut chars: Vec<char> = pattern.chars().collect();
    chars.dedup_by(|a, b| *a == '%' && *b == '%');
    matches(&chars, &text.chars().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::like_matches;

    #[test]
    fn patterns_match_as_in_sql() {
        for (pattern, text, expected) in [
            ("%", "", true),
            ("a%", "abc", true),
            ("a_c", "abc", true),
            ("a_c", "ac", false),
            ("a\\_c", "abc", false),
            ("a\\_c", "a_c", true),
            ("%b%%", "abc", true),
            ("B", "b", false),
        ] {
            assert_eq!(like_matches(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
