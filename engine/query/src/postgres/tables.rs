//! The tables of `pg_catalog`.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Builder, ListBuilder, new_null_array},
    datatypes::{DataType, Field},
    record_batch::RecordBatch,
};
use datafusion::{catalog::TableProvider, datasource::MemTable};
use model::{name::CATALOG, rights::ADMIN};

use super::{
    empty, information_schema,
    known::{Check, Known, Relation, namespace_oid, oid, parts, role_oid},
    type_rows,
    types::{ColumnType, modifier},
};
use crate::{answer::Answer, error::QueryError};

/// Whom the things of the server belong to: the role of its admins.
pub(super) const OWNER: i64 = 10;
/// The number of the catalog, which is the database.
const DATABASE: i64 = 16_384;
/// The number of the way in which tables are stored.
const ACCESS_METHOD: i64 = 2;
const COLLATION: i64 = 100;
const PG_CLASS: &str = "pg_class";

/// Numbers that tables of the catalog have in every Postgres, where clients may know them.
const NUMBERS: [(&str, i64); 22] = [
    ("pg_am", 2601),
    ("pg_attrdef", 2604),
    ("pg_attribute", 1249),
    ("pg_authid", 1260),
    ("pg_cast", 2605),
    ("pg_class", 1259),
    ("pg_collation", 3456),
    ("pg_constraint", 2606),
    ("pg_database", 1262),
    ("pg_description", 2609),
    ("pg_extension", 3079),
    ("pg_index", 2610),
    ("pg_language", 2612),
    ("pg_namespace", 2615),
    ("pg_opclass", 2616),
    ("pg_opfamily", 2753),
    ("pg_operator", 2617),
    ("pg_proc", 1255),
    ("pg_rewrite", 2618),
    ("pg_tablespace", 1213),
    ("pg_trigger", 2620),
    ("pg_type", 1247),
];

/// Tables with rows.
const FILLED: [&str; 21] = [
    "pg_am",
    "pg_attribute",
    "pg_class",
    "pg_constraint",
    "pg_database",
    "pg_description",
    "pg_get_keywords",
    "pg_index",
    "pg_language",
    "pg_matviews",
    "pg_namespace",
    "pg_proc",
    "pg_roles",
    "pg_settings",
    "pg_show_all_settings",
    "pg_tables",
    "pg_tablespace",
    "pg_timezone_names",
    "pg_type",
    "pg_user",
    "pg_views",
];

/// The table of ours that a name in a query means; `None` for any other name.
pub(super) fn name_of(parts: &[String]) -> Option<&'static str> {
    let (schema, name) = match parts {
        [name] => ("pg_catalog", name),
        [schema, name] => (schema.as_str(), name),
        [catalog, schema, name] if catalog == CATALOG => (schema.as_str(), name),
        _ => return None,
    };
    let (filled, empty): (&[&'static str], &[(&'static str, _)]) = match schema {
        "pg_catalog" => (&FILLED, &empty::TABLES),
        "information_schema" => (&information_schema::FILLED, &information_schema::EMPTY),
        _ => return None,
    };
    let mut names = filled.iter().copied().chain(empty.iter().map(|(name, _)| *name));
    names.find(|known| known == name)
}

/// The number of a table of the catalog, by its name as SQL writes it. Those that there are not have
/// one too: no row has it, and a tool's statement about them is answered.
pub(super) fn catalog_oid(text: &str) -> Option<i64> {
    let mut parts = parts(text);
    let name = parts.pop()?;
    let in_catalog = parts.pop().is_none_or(|schema| schema == super::SCHEMA);
    if !in_catalog || !name.starts_with("pg_") {
        return None;
    }
    let number = NUMBERS.iter().find(|(known, _)| *known == name);
    Some(number.map_or_else(|| oid(&format!("{}.{name}", super::SCHEMA)), |(_, number)| *number))
}

/// The name of a table of the catalog, by its number.
pub(super) fn catalog_name(oid: i64) -> Option<&'static str> {
    NUMBERS.iter().find(|(_, number)| *number == oid).map(|(name, _)| *name)
}

/// The table with the rows of now.
pub(super) fn table(
    known: &Known,
    name: &str,
) -> Result<Option<Arc<dyn TableProvider>>, QueryError> {
    let batch = match name {
        "pg_am" => access_methods(),
        "pg_attribute" => attributes(known),
        "pg_class" => classes(known),
        "pg_constraint" => constraints(known),
        "pg_database" => databases(),
        "pg_description" => descriptions(known),
        "pg_get_keywords" => keywords(),
        "pg_index" => indexes(known),
        "pg_language" => languages(),
        "pg_matviews" => views(known, "m"),
        "pg_namespace" => namespaces(known),
        "pg_proc" => functions(),
        "pg_roles" | "pg_user" => roles(known),
        "pg_settings" | "pg_show_all_settings" => settings(known),
        "pg_tables" => relations(known),
        "pg_tablespace" => tablespaces(),
        "pg_timezone_names" => zones(),
        "pg_type" => types(),
        "pg_views" => views(known, "v"),
        other => match empty::table(other) {
            Some(batch) => batch,
            None => match information_schema::table(known, other) {
                Some(batch) => batch,
                None => return Ok(None),
            },
        },
    };
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    Ok(Some(Arc::new(table)))
}

pub(super) fn texts() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// A column of lists that nobody has filled.
fn no_lists(rows: usize) -> ArrayRef {
    new_null_array(&texts(), rows)
}

fn namespaces(known: &Known) -> RecordBatch {
    let each = || known.namespaces.iter();
    Answer::new()
        .number("oid", each().map(|one| one.oid))
        .text("nspname", each().map(|one| &one.name))
        .number("nspowner", each().map(|_| OWNER))
        .column("nspacl", texts(), no_lists(known.namespaces.len()))
        .finish()
}

/// A row of `pg_class`: a relation, or its primary key as an index.
struct Class<'a> {
    relation: &'a Relation,
    is_key: bool,
}

impl Class<'_> {
    fn oid(&self) -> i64 {
        if self.is_key { self.relation.key_oid() } else { self.relation.oid }
    }

    fn columns(&self) -> i64 {
        let columns = match self.is_key {
            true => self.relation.primary_key.len(),
            false => self.relation.columns.as_ref().map_or(0, |columns| columns.fields().len()),
        };
        i64::try_from(columns).unwrap_or(0)
    }
}

fn with_keys(known: &Known) -> impl Iterator<Item = &Relation> {
    known.relations.iter().filter(|relation| !relation.primary_key.is_empty())
}

fn classes(known: &Known) -> RecordBatch {
    let tables = known.relations.iter().map(|relation| Class { relation, is_key: false });
    let keys = with_keys(known).map(|relation| Class { relation, is_key: true });
    let rows: Vec<Class<'_>> = tables.chain(keys).collect();
    let each = || rows.iter();
    let number = |value: i64| each().map(move |_| value);
    let no = || each().map(|_| false);
    let nothing = || each().map(|_| None::<&str>);
    Answer::new()
        .number("oid", each().map(Class::oid))
        .text(
            "relname",
            each().map(|class| match class.is_key {
                true => class.relation.key_name(),
                false => class.relation.name.clone(),
            }),
        )
        .number("relnamespace", each().map(|class| class.relation.namespace))
        .number("reltype", number(0))
        .number("reloftype", number(0))
        .number("relowner", each().map(|class| role_oid(&class.relation.owner)))
        .number("relam", number(ACCESS_METHOD))
        .number("relfilenode", number(0))
        .number("reltablespace", number(0))
        .number("relpages", number(0))
        // Nobody has counted.
        .number("reltuples", number(-1))
        .number("relallvisible", number(0))
        .number("reltoastrelid", number(0))
        .flag(
            "relhasindex",
            each().map(|class| !class.is_key && !class.relation.primary_key.is_empty()),
        )
        .flag("relisshared", no())
        .text("relpersistence", each().map(|_| "p"))
        .text("relkind", each().map(|class| if class.is_key { "i" } else { class.relation.kind }))
        .number("relnatts", each().map(Class::columns))
        .number(
            "relchecks",
            each().map(|class| match class.is_key {
                true => 0,
                false => i64::try_from(class.relation.checks.len()).unwrap_or(0),
            }),
        )
        .flag("relhasrules", no())
        .flag("relhastriggers", no())
        .flag("relhassubclass", no())
        .flag("relrowsecurity", no())
        .flag("relforcerowsecurity", no())
        .flag("relispopulated", each().map(|_| true))
        .text("relreplident", each().map(|_| "n"))
        .flag("relispartition", no())
        .number("relrewrite", number(0))
        .number("relfrozenxid", number(0))
        .number("relminmxid", number(0))
        .column("relacl", texts(), no_lists(rows.len()))
        .column("reloptions", texts(), no_lists(rows.len()))
        .maybe_text("relpartbound", nothing())
        .flag("relhasoids", no())
        .finish()
}

/// A column of a relation.
struct Attribute<'a> {
    relation: i64,
    number: i64,
    field: &'a Field,
    column: ColumnType,
    is_required: bool,
}

fn attributes(known: &Known) -> RecordBatch {
    let mut rows: Vec<Attribute<'_>> = Vec::new();
    for relation in &known.relations {
        let Some(columns) = &relation.columns else { continue };
        let attribute = |oid, number: usize, at: usize| {
            let field = columns.field(at);
            let is_required = relation.is_required(at);
            let column = ColumnType::of(field.data_type());
            let number = i64::try_from(number).unwrap_or(0);
            Attribute { relation: oid, number, field, column, is_required }
        };
        rows.extend((0..columns.fields().len()).map(|at| attribute(relation.oid, at + 1, at)));
        let keys = relation.key_columns();
        rows.extend(
            keys.iter().enumerate().map(|(n, at)| attribute(relation.key_oid(), n + 1, at - 1)),
        );
    }
    let each = || rows.iter();
    let number = |value: i64| each().map(move |_| value);
    let no = || each().map(|_| false);
    let nothing = || each().map(|_| None::<&str>);
    let is_text = |row: &Attribute<'_>| matches!(row.column.oid(), 25 | 1009);
    Answer::new()
        .number("attrelid", each().map(|row| row.relation))
        .text("attname", each().map(|row| row.field.name()))
        .number("atttypid", each().map(|row| i64::from(row.column.oid())))
        .number("attstattarget", number(-1))
        .number("attlen", each().map(|row| i64::from(row.column.size())))
        .number("attnum", each().map(|row| row.number))
        .number("attndims", each().map(|row| i64::from(matches!(row.column, ColumnType::Array(_)))))
        .number("attcacheoff", number(-1))
        .number("atttypmod", each().map(|row| i64::from(modifier(row.field.data_type()))))
        .flag("attbyval", no())
        .text("attalign", each().map(|_| "i"))
        .text("attstorage", each().map(|_| "p"))
        .text("attcompression", each().map(|_| ""))
        .flag("attnotnull", each().map(|row| row.is_required))
        .flag("atthasdef", no())
        .flag("atthasmissing", no())
        .text("attidentity", each().map(|_| ""))
        .text("attgenerated", each().map(|_| ""))
        .flag("attisdropped", no())
        .flag("attislocal", each().map(|_| true))
        .number("attinhcount", number(0))
        .number("attcollation", each().map(move |row| if is_text(row) { COLLATION } else { 0 }))
        .column("attacl", texts(), no_lists(rows.len()))
        .column("attoptions", texts(), no_lists(rows.len()))
        .column("attfdwoptions", texts(), no_lists(rows.len()))
        .maybe_text("attmissingval", nothing())
        .finish()
}

fn types() -> RecordBatch {
    let rows = type_rows::all();
    let each = || rows.iter();
    let number = |value: i64| each().map(move |_| value);
    let function = |end: &'static str| each().map(move |row| row.function(end));
    Answer::new()
        .number("oid", each().map(|row| row.oid))
        .text("typname", each().map(type_rows::TypeRow::typname))
        .number("typnamespace", number(namespace_oid("pg_catalog")))
        .number("typowner", number(OWNER))
        .number("typlen", each().map(|row| row.size))
        .flag("typbyval", each().map(|row| (1..=8).contains(&row.size)))
        .text("typtype", each().map(type_rows::TypeRow::kind))
        .text("typcategory", each().map(|row| row.category))
        .flag("typispreferred", each().map(|row| matches!(row.oid, 16 | 25 | 701 | 1184 | 1186)))
        .flag("typisdefined", each().map(|_| true))
        .text("typdelim", each().map(|_| ","))
        .number("typrelid", number(0))
        .text(
            "typsubscript",
            each().map(|row| if row.item == 0 { "-" } else { "array_subscript_handler" }),
        )
        .number("typelem", each().map(|row| row.item))
        .number("typarray", each().map(|row| row.array))
        .text("typinput", function("in"))
        .text("typoutput", function("out"))
        .text("typreceive", function("recv"))
        .text("typsend", function("send"))
        .text("typmodin", each().map(|_| "-"))
        .text("typmodout", each().map(|_| "-"))
        .text("typanalyze", each().map(|_| "-"))
        .text("typalign", each().map(|_| "i"))
        .text("typstorage", each().map(|_| "p"))
        .flag("typnotnull", each().map(|_| false))
        .number("typbasetype", number(0))
        .number("typtypmod", number(-1))
        .number("typndims", number(0))
        .number("typcollation", each().map(|row| if row.category == "S" { COLLATION } else { 0 }))
        .maybe_text("typdefaultbin", each().map(|_| None::<&str>))
        .maybe_text("typdefault", each().map(|_| None::<&str>))
        .column("typacl", texts(), no_lists(rows.len()))
        .finish()
}

fn databases() -> RecordBatch {
    Answer::new()
        .number("oid", [DATABASE])
        .text("datname", [CATALOG])
        .number("datdba", [OWNER])
        .number("encoding", [6])
        .text("datlocprovider", ["c"])
        .flag("datistemplate", [false])
        .flag("datallowconn", [true])
        .number("datconnlimit", [-1])
        .number("datfrozenxid", [0])
        .number("datminmxid", [0])
        .number("dattablespace", [1663])
        .text("datcollate", ["C"])
        .text("datctype", ["C"])
        .maybe_text("daticulocale", [None::<&str>])
        .maybe_text("datcollversion", [None::<&str>])
        .column("datacl", texts(), no_lists(1))
        .text("datowner", [ADMIN])
        .finish()
}

fn roles(known: &Known) -> RecordBatch {
    let each = || known.roles.iter();
    let admins = || each().map(|role| role.is_admin);
    let no = || each().map(|_| false);
    let nothing = || each().map(|_| None::<&str>);
    Answer::new()
        .number("oid", each().map(|role| role.oid))
        .text("rolname", each().map(|role| &role.name))
        .flag("rolsuper", admins())
        .flag("rolinherit", each().map(|_| true))
        .flag("rolcreaterole", admins())
        .flag("rolcreatedb", no())
        .flag("rolcanlogin", each().map(|role| role.can_login))
        .flag("rolreplication", no())
        .flag("rolbypassrls", admins())
        .number("rolconnlimit", each().map(|_| -1))
        .maybe_text("rolpassword", nothing())
        .maybe_text("rolvaliduntil", nothing())
        .column("rolconfig", texts(), no_lists(known.roles.len()))
        .text("usename", each().map(|role| &role.name))
        .number("usesysid", each().map(|role| role.oid))
        .flag("usecreatedb", no())
        .flag("usesuper", admins())
        .finish()
}

fn settings(known: &Known) -> RecordBatch {
    let each = || known.client.settings.iter();
    let nothing = || each().map(|_| None::<&str>);
    Answer::new()
        .text("name", each().map(|(name, _)| name))
        .text("setting", each().map(|(_, value)| value))
        .maybe_text("unit", nothing())
        .text("category", each().map(|_| "Session"))
        .text("short_desc", each().map(|_| ""))
        .maybe_text("extra_desc", nothing())
        .text("context", each().map(|_| "user"))
        .text("vartype", each().map(|_| "string"))
        .text("source", each().map(|_| "session"))
        .maybe_text("min_val", nothing())
        .maybe_text("max_val", nothing())
        .maybe_text("enumvals", nothing())
        .text("boot_val", each().map(|(_, value)| value))
        .text("reset_val", each().map(|(_, value)| value))
        .flag("pending_restart", each().map(|_| false))
        .finish()
}

fn descriptions(known: &Known) -> RecordBatch {
    let mut rows: Vec<(i64, Option<i64>, i64, &str)> = Vec::new();
    for one in &known.namespaces {
        let comment = one.comment.as_deref();
        rows.extend(comment.map(|text| (one.oid, catalog_oid("pg_namespace"), 0, text)));
    }
    for one in &known.relations {
        let comment = one.comment.as_deref();
        let of_columns = one.column_comments();
        let all = comment.map(|text| (0, text)).into_iter().chain(of_columns);
        rows.extend(all.map(|(column, text)| (one.oid, catalog_oid(PG_CLASS), column, text)));
    }
    let each = || rows.iter();
    Answer::new()
        .number("objoid", each().map(|(oid, ..)| *oid))
        .number("classoid", each().map(|(_, class, ..)| *class))
        .number("objsubid", each().map(|(_, _, column, _)| *column))
        .text("description", each().map(|(.., text)| text))
        .finish()
}

/// Whether a list has the columns themselves, or an option of each: none of ours has any.
#[derive(Debug, Clone, Copy)]
enum Lists {
    Columns,
    Options,
}

/// A list for each relation's primary key.
fn key_lists(known: &Known, lists: Lists) -> ArrayRef {
    let mut built = ListBuilder::new(Int64Builder::new());
    for relation in with_keys(known) {
        let numbers = relation.key_columns().into_iter().map(|number| match lists {
            Lists::Columns => i64::try_from(number).ok(),
            Lists::Options => Some(0),
        });
        built.append_value(numbers);
    }
    Arc::new(built.finish())
}

fn whole_numbers() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
}

/// The number of a function, by its name.
pub(super) fn function_oid(name: &str) -> i64 {
    oid(&format!("function {}", name.trim_start_matches("pg_catalog.")))
}

/// The functions of types: some clients tell arrays by them.
fn functions() -> RecordBatch {
    let mut names: Vec<String> = type_rows::all()
        .iter()
        .flat_map(|row| ["in", "out", "recv", "send"].map(|end| row.function(end)))
        .collect();
    names.sort();
    names.dedup();
    let each = || names.iter();
    let number = |value: i64| each().map(move |_| value);
    let no = || each().map(|_| false);
    let nothing = || each().map(|_| None::<&str>);
    let lists = || no_lists(names.len());
    Answer::new()
        .number("oid", each().map(|name| function_oid(name)))
        .text("proname", each())
        .number("pronamespace", number(namespace_oid("pg_catalog")))
        .number("proowner", number(OWNER))
        .number("prolang", number(12))
        .number("procost", number(1))
        .number("prorows", number(0))
        .number("provariadic", number(0))
        .text("prokind", each().map(|_| "f"))
        .flag("prosecdef", no())
        .flag("proleakproof", no())
        .flag("proisstrict", each().map(|_| true))
        .flag("proretset", no())
        .text("provolatile", each().map(|_| "i"))
        .text("proparallel", each().map(|_| "s"))
        .number("pronargs", number(1))
        .number("pronargdefaults", number(0))
        .number("prorettype", number(2275))
        .text("proargtypes", each().map(|_| ""))
        .column("proallargtypes", texts(), lists())
        .column("proargmodes", texts(), lists())
        .column("proargnames", texts(), lists())
        .maybe_text("proargdefaults", nothing())
        .text("prosrc", each())
        .maybe_text("probin", nothing())
        .column("proconfig", texts(), lists())
        .column("proacl", texts(), lists())
        .flag("proisagg", no())
        .finish()
}

fn indexes(known: &Known) -> RecordBatch {
    let each = || with_keys(known);
    let columns = || each().map(|one| i64::try_from(one.primary_key.len()).unwrap_or(0));
    let yes = || each().map(|_| true);
    let no = || each().map(|_| false);
    Answer::new()
        .number("indexrelid", each().map(Relation::key_oid))
        .number("indrelid", each().map(|one| one.oid))
        .number("indnatts", columns())
        .number("indnkeyatts", columns())
        .flag("indisunique", yes())
        .flag("indnullsnotdistinct", no())
        .flag("indisprimary", yes())
        .flag("indisexclusion", no())
        .flag("indimmediate", yes())
        .flag("indisclustered", no())
        .flag("indisvalid", yes())
        .flag("indcheckxmin", no())
        .flag("indisready", yes())
        .flag("indislive", yes())
        .flag("indisreplident", no())
        .column("indkey", whole_numbers(), key_lists(known, Lists::Columns))
        .column("indcollation", whole_numbers(), key_lists(known, Lists::Options))
        .column("indclass", whole_numbers(), key_lists(known, Lists::Options))
        .column("indoption", whole_numbers(), key_lists(known, Lists::Options))
        .maybe_text("indexprs", each().map(|_| None::<&str>))
        .maybe_text("indpred", each().map(|_| None::<&str>))
        .finish()
}

/// A row of `pg_constraint`: the primary key of a relation, or a check.
struct Constraint<'a> {
    relation: &'a Relation,
    check: Option<&'a Check>,
}

impl Constraint<'_> {
    fn oid(&self) -> i64 {
        self.check.map_or_else(|| self.relation.key_oid(), |check| check.oid)
    }

    fn name(&self) -> String {
        self.check.map_or_else(|| self.relation.key_name(), |check| check.name.clone())
    }
}

/// The columns of each key. A check does not say which it is about.
fn constrained(rows: &[Constraint<'_>]) -> ArrayRef {
    let mut built = ListBuilder::new(Int64Builder::new());
    for row in rows {
        let numbers =
            row.relation.key_columns().into_iter().map(|number| i64::try_from(number).ok());
        match row.check {
            None => built.append_value(numbers),
            Some(_) => built.append_null(),
        }
    }
    Arc::new(built.finish())
}

fn constraints(known: &Known) -> RecordBatch {
    let keys = with_keys(known).map(|relation| Constraint { relation, check: None });
    let checks = known.relations.iter().flat_map(|relation| {
        relation.checks.iter().map(move |check| Constraint { relation, check: Some(check) })
    });
    let rows: Vec<Constraint<'_>> = keys.chain(checks).collect();
    let each = || rows.iter();
    let unset = || new_null_array(&whole_numbers(), rows.len());
    let number = |value: i64| each().map(move |_| value);
    let no = || each().map(|_| false);
    let nothing = || each().map(|_| None::<&str>);
    Answer::new()
        .number("oid", each().map(Constraint::oid))
        .text("conname", each().map(Constraint::name))
        .number("connamespace", each().map(|one| one.relation.namespace))
        .text("contype", each().map(|one| if one.check.is_some() { "c" } else { "p" }))
        .flag("condeferrable", no())
        .flag("condeferred", no())
        .flag("convalidated", each().map(|_| true))
        .number("conrelid", each().map(|one| one.relation.oid))
        .number("contypid", number(0))
        .number(
            "conindid",
            each().map(|one| if one.check.is_some() { 0 } else { one.relation.key_oid() }),
        )
        .number("conparentid", number(0))
        .number("confrelid", number(0))
        .text("confupdtype", each().map(|_| " "))
        .text("confdeltype", each().map(|_| " "))
        .text("confmatchtype", each().map(|_| " "))
        .flag("conislocal", each().map(|_| true))
        .number("coninhcount", number(0))
        .flag("connoinherit", each().map(|_| true))
        .column("conkey", whole_numbers(), constrained(&rows))
        .column("confkey", whole_numbers(), unset())
        .column("conpfeqop", whole_numbers(), unset())
        .column("conppeqop", whole_numbers(), unset())
        .column("conffeqop", whole_numbers(), unset())
        .column("confdelsetcols", whole_numbers(), unset())
        .column("conexclop", whole_numbers(), unset())
        .maybe_text("conbin", nothing())
        .finish()
}

fn relations(known: &Known) -> RecordBatch {
    let each = || known.relations.iter().filter(|one| one.kind == "r");
    let no = || each().map(|_| false);
    Answer::new()
        .text("schemaname", each().map(|one| &one.schema))
        .text("tablename", each().map(|one| &one.name))
        .text("tableowner", each().map(|one| &one.owner))
        .maybe_text("tablespace", each().map(|_| None::<&str>))
        .flag("hasindexes", each().map(|one| !one.primary_key.is_empty()))
        .flag("hasrules", no())
        .flag("hastriggers", no())
        .flag("rowsecurity", no())
        .finish()
}

fn views(known: &Known, kind: &'static str) -> RecordBatch {
    let each = || known.relations.iter().filter(move |one| one.kind == kind);
    let (name, owner) = match kind {
        "m" => ("matviewname", "matviewowner"),
        _ => ("viewname", "viewowner"),
    };
    Answer::new()
        .text("schemaname", each().map(|one| &one.schema))
        .text(name, each().map(|one| &one.name))
        .text(owner, each().map(|one| &one.owner))
        .maybe_text("tablespace", each().map(|_| None::<&str>))
        .flag("hasindexes", each().map(|_| false))
        .flag("ispopulated", each().map(|_| true))
        .maybe_text("definition", each().map(|one| one.definition.as_deref()))
        .finish()
}

fn access_methods() -> RecordBatch {
    Answer::new()
        .number("oid", [ACCESS_METHOD])
        .text("amname", ["delta"])
        .text("amhandler", ["-"])
        .text("amtype", ["t"])
        .finish()
}

fn languages() -> RecordBatch {
    Answer::new()
        .number("oid", [14])
        .text("lanname", ["sql"])
        .number("lanowner", [OWNER])
        .flag("lanispl", [false])
        .flag("lanpltrusted", [true])
        // It is not one that was added: the clients leave such a one out.
        .number("lanplcallfoid", [0])
        .number("laninline", [0])
        .number("lanvalidator", [0])
        .column("lanacl", texts(), no_lists(1))
        .finish()
}

fn tablespaces() -> RecordBatch {
    Answer::new()
        .number("oid", [1663])
        .text("spcname", ["pg_default"])
        .number("spcowner", [OWNER])
        .column("spcacl", texts(), no_lists(1))
        .column("spcoptions", texts(), no_lists(1))
        .finish()
}

fn zones() -> RecordBatch {
    Answer::new()
        .text("name", ["UTC"])
        .text("abbrev", ["UTC"])
        .text("utc_offset", ["00:00:00"])
        .flag("is_dst", [false])
        .finish()
}

fn keywords() -> RecordBatch {
    const WORDS: [&str; 8] =
        ["describe", "merge", "optimize", "refresh", "restore", "show", "vacuum", "validate"];
    Answer::new()
        .text("word", WORDS)
        .text("catcode", WORDS.map(|_| "U"))
        .text("catdesc", WORDS.map(|_| "unreserved"))
        .finish()
}
