//! `information_schema` as Postgres has it: names of types, numbers from 1, and the columns that tools
//! ask for. The planner's own one speaks of Arrow's types.

use arrow::{datatypes::DataType, record_batch::RecordBatch};
use model::{name::CATALOG, rights::Privilege};

use super::{
    known::{Check, Known, Relation},
    type_rows::{self, TypeRow},
    types::{ColumnType, PgType},
};
use crate::answer::Answer;

/// Its tables with rows.
pub(super) const FILLED: [&str; 13] = [
    "character_sets",
    "check_constraints",
    "column_privileges",
    "columns",
    "constraint_column_usage",
    "information_schema_catalog_name",
    "key_column_usage",
    "role_table_grants",
    "schemata",
    "table_constraints",
    "table_privileges",
    "tables",
    "views",
];

/// Its tables that are always empty, written as those of `pg_catalog` are.
pub(super) const EMPTY: [(&str, &str); 3] = [
    (
        "referential_constraints",
        "constraint_catalog constraint_schema constraint_name unique_constraint_catalog \
         unique_constraint_schema unique_constraint_name match_option update_rule delete_rule",
    ),
    (
        "sequences",
        "sequence_catalog sequence_schema sequence_name data_type #numeric_precision \
         #numeric_precision_radix #numeric_scale start_value minimum_value maximum_value increment \
         cycle_option",
    ),
    (
        "triggers",
        "trigger_catalog trigger_schema trigger_name event_manipulation event_object_catalog \
         event_object_schema event_object_table #action_order action_condition action_statement \
         action_orientation action_timing",
    ),
];

pub(super) fn table(known: &Known, name: &str) -> Option<RecordBatch> {
    Some(match name {
        "character_sets" => character_sets(),
        "check_constraints" => check_constraints(known),
        "column_privileges" => column_privileges(known),
        "columns" => columns(known),
        "constraint_column_usage" => constraint_columns(known),
        "information_schema_catalog_name" => Answer::new().text("catalog_name", [CATALOG]).finish(),
        "key_column_usage" => key_columns(known),
        "role_table_grants" | "table_privileges" => table_privileges(known),
        "schemata" => schemata(known),
        "table_constraints" => table_constraints(known),
        "tables" => tables(known),
        "views" => views(known),
        _ => return None,
    })
}

fn yes_or_no(truth: bool) -> &'static str {
    if truth { "YES" } else { "NO" }
}

fn tables(known: &Known) -> RecordBatch {
    let each = || known.relations.iter();
    let nothing = || each().map(|_| None::<&str>);
    Answer::new()
        .text("table_catalog", each().map(|_| CATALOG))
        .text("table_schema", each().map(|one| &one.schema))
        .text("table_name", each().map(|one| &one.name))
        // Whoever cannot write to it reads it as a view, also where its rows are kept.
        .text("table_type", each().map(|one| if one.kind == "r" { "BASE TABLE" } else { "VIEW" }))
        .maybe_text("self_referencing_column_name", nothing())
        .maybe_text("reference_generation", nothing())
        .maybe_text("user_defined_type_catalog", nothing())
        .maybe_text("user_defined_type_schema", nothing())
        .maybe_text("user_defined_type_name", nothing())
        .text("is_insertable_into", each().map(|one| yes_or_no(one.kind == "r")))
        .text("is_typed", each().map(|_| "NO"))
        .maybe_text("commit_action", nothing())
        .finish()
}

fn views(known: &Known) -> RecordBatch {
    let each = || known.relations.iter().filter(|one| one.kind != "r");
    let no = || each().map(|_| "NO");
    Answer::new()
        .text("table_catalog", each().map(|_| CATALOG))
        .text("table_schema", each().map(|one| &one.schema))
        .text("table_name", each().map(|one| &one.name))
        // As in Postgres: only its owner sees what a view is made of.
        .maybe_text(
            "view_definition",
            each().map(|one| one.definition.as_deref().filter(|_| one.allowed.owns)),
        )
        .text("check_option", each().map(|_| "NONE"))
        .text("is_updatable", no())
        .text("is_insertable_into", no())
        .text("is_trigger_updatable", no())
        .text("is_trigger_deletable", no())
        .text("is_trigger_insertable_into", no())
        .finish()
}

fn schemata(known: &Known) -> RecordBatch {
    let each = || known.namespaces.iter();
    let nothing = || each().map(|_| None::<&str>);
    Answer::new()
        .text("catalog_name", each().map(|_| CATALOG))
        .text("schema_name", each().map(|one| &one.name))
        .text("schema_owner", each().map(|_| model::rights::ADMIN))
        .maybe_text("default_character_set_catalog", nothing())
        .maybe_text("default_character_set_schema", nothing())
        .maybe_text("default_character_set_name", nothing())
        .maybe_text("sql_path", nothing())
        .finish()
}

fn character_sets() -> RecordBatch {
    Answer::new()
        .maybe_text("character_set_catalog", [None::<&str>])
        .maybe_text("character_set_schema", [None::<&str>])
        .text("character_set_name", ["UTF8"])
        .text("character_repertoire", ["UCS"])
        .text("form_of_use", ["UTF8"])
        .text("default_collate_catalog", [CATALOG])
        .text("default_collate_schema", ["pg_catalog"])
        .text("default_collate_name", ["C"])
        .finish()
}

/// A column as `columns` shows it.
struct Column<'a> {
    relation: &'a Relation,
    at: usize,
    data_type: &'a DataType,
    column: ColumnType,
    row: Option<TypeRow>,
}

impl Column<'_> {
    fn scalar(&self) -> Option<PgType> {
        match self.column {
            ColumnType::Scalar(scalar) => Some(scalar),
            ColumnType::Array(_) => None,
        }
    }

    fn data_type(&self) -> &'static str {
        match (self.column, self.row) {
            (ColumnType::Array(_), _) => "ARRAY",
            (ColumnType::Scalar(_), Some(row)) => row.sql,
            (ColumnType::Scalar(_), None) => "text",
        }
    }

    fn octets(&self) -> Option<i64> {
        (self.scalar() == Some(PgType::Text)).then_some(1 << 30)
    }

    /// Digits, their base, and those behind the point.
    fn precision(&self) -> (Option<i64>, Option<i64>, Option<i64>) {
        let whole = |bits| (Some(bits), Some(2), Some(0));
        let float = |bits| (Some(bits), Some(2), None);
        match self.scalar() {
            Some(PgType::Int2) => whole(16),
            Some(PgType::Int4) => whole(32),
            Some(PgType::Int8) => whole(64),
            Some(PgType::Float4) => float(24),
            Some(PgType::Float8) => float(53),
            Some(PgType::Numeric) => match self.data_type {
                DataType::Decimal32(digits, scale)
                | DataType::Decimal64(digits, scale)
                | DataType::Decimal128(digits, scale)
                | DataType::Decimal256(digits, scale) => {
                    (Some(i64::from(*digits)), Some(10), Some(i64::from(*scale)))
                }
                _ => (None, Some(10), None),
            },
            _ => (None, None, None),
        }
    }

    /// Digits of a part of a second.
    fn time_precision(&self) -> Option<i64> {
        match self.scalar()? {
            PgType::Date => Some(0),
            PgType::Time | PgType::Timestamp | PgType::Timestamptz | PgType::Interval => Some(6),
            _ => None,
        }
    }
}

fn columns_of(relation: &Relation) -> Vec<Column<'_>> {
    let fields = relation.columns.iter().flat_map(|columns| columns.fields()).enumerate();
    fields
        .map(|(at, field)| {
            let column = ColumnType::of(field.data_type());
            let row = type_rows::by_oid(i64::from(column.oid()));
            Column { relation, at, data_type: field.data_type(), column, row }
        })
        .collect()
}

fn columns(known: &Known) -> RecordBatch {
    let rows: Vec<Column<'_>> = known.relations.iter().flat_map(columns_of).collect();
    let each = || rows.iter();
    let nothing = || each().map(|_| None::<&str>);
    let no_number = || each().map(|_| None::<i64>);
    let name = |row: &Column<'_>| row.row.map_or_else(String::new, |row| row.typname());
    let generated = |row: &Column<'_>| row.relation.generated(row.at).map(str::to_owned);
    Answer::new()
        .text("table_catalog", each().map(|_| CATALOG))
        .text("table_schema", each().map(|row| &row.relation.schema))
        .text("table_name", each().map(|row| &row.relation.name))
        .text("column_name", each().map(|row| row.relation.column_name(row.at)))
        .number("ordinal_position", each().map(|row| ordinal(row.at)))
        .maybe_text("column_default", nothing())
        .text("is_nullable", each().map(|row| yes_or_no(!row.relation.is_required(row.at))))
        .text("data_type", each().map(Column::data_type))
        .number("character_maximum_length", no_number())
        .number("character_octet_length", each().map(Column::octets))
        .number("numeric_precision", each().map(|row| row.precision().0))
        .number("numeric_precision_radix", each().map(|row| row.precision().1))
        .number("numeric_scale", each().map(|row| row.precision().2))
        .number("datetime_precision", each().map(Column::time_precision))
        .maybe_text("interval_type", nothing())
        .number("interval_precision", no_number())
        .maybe_text("character_set_catalog", nothing())
        .maybe_text("character_set_schema", nothing())
        .maybe_text("character_set_name", nothing())
        .maybe_text("collation_catalog", nothing())
        .maybe_text("collation_schema", nothing())
        .maybe_text("collation_name", nothing())
        .maybe_text("domain_catalog", nothing())
        .maybe_text("domain_schema", nothing())
        .maybe_text("domain_name", nothing())
        .text("udt_catalog", each().map(|_| CATALOG))
        .text("udt_schema", each().map(|_| "pg_catalog"))
        .text("udt_name", each().map(name))
        .maybe_text("scope_catalog", nothing())
        .maybe_text("scope_schema", nothing())
        .maybe_text("scope_name", nothing())
        .number("maximum_cardinality", no_number())
        .text("dtd_identifier", each().map(|row| ordinal(row.at).to_string()))
        .text("is_self_referencing", each().map(|_| "NO"))
        .text("is_identity", each().map(|_| "NO"))
        .maybe_text("identity_generation", nothing())
        .maybe_text("identity_start", nothing())
        .maybe_text("identity_increment", nothing())
        .maybe_text("identity_maximum", nothing())
        .maybe_text("identity_minimum", nothing())
        .text("identity_cycle", each().map(|_| "NO"))
        .text(
            "is_generated",
            each().map(|row| if generated(row).is_some() { "ALWAYS" } else { "NEVER" }),
        )
        .maybe_text("generation_expression", each().map(generated))
        .text("is_updatable", each().map(|row| yes_or_no(row.relation.kind == "r")))
        .finish()
}

/// The number of a column, which begin with 1.
fn ordinal(at: usize) -> i64 {
    i64::try_from(at + 1).unwrap_or(i64::MAX)
}

fn with_keys(known: &Known) -> impl Iterator<Item = &Relation> {
    known.relations.iter().filter(|relation| !relation.primary_key.is_empty())
}

fn checks(known: &Known) -> impl Iterator<Item = (&Relation, &Check)> {
    known.relations.iter().flat_map(|one| one.checks.iter().map(move |check| (one, check)))
}

fn table_constraints(known: &Known) -> RecordBatch {
    let keys = with_keys(known).map(|one| (one, one.key_name(), "PRIMARY KEY", "NO"));
    let checks = checks(known).map(|(one, check)| (one, check.name.clone(), "CHECK", "YES"));
    let rows: Vec<_> = keys.chain(checks).collect();
    let each = || rows.iter();
    Answer::new()
        .text("constraint_catalog", each().map(|_| CATALOG))
        .text("constraint_schema", each().map(|(one, ..)| &one.schema))
        .text("constraint_name", each().map(|(_, name, ..)| name))
        .text("table_catalog", each().map(|_| CATALOG))
        .text("table_schema", each().map(|(one, ..)| &one.schema))
        .text("table_name", each().map(|(one, ..)| &one.name))
        .text("constraint_type", each().map(|(_, _, kind, _)| kind))
        .text("is_deferrable", each().map(|_| "NO"))
        .text("initially_deferred", each().map(|_| "NO"))
        .text("enforced", each().map(|(.., enforced)| enforced))
        .maybe_text("nulls_distinct", each().map(|_| None::<&str>))
        .finish()
}

fn check_constraints(known: &Known) -> RecordBatch {
    let each = || checks(known);
    Answer::new()
        .text("constraint_catalog", each().map(|_| CATALOG))
        .text("constraint_schema", each().map(|(one, _)| &one.schema))
        .text("constraint_name", each().map(|(_, check)| &check.name))
        .text("check_clause", each().map(|(_, check)| &check.condition))
        .finish()
}

/// Each column of a primary key, with its number in it.
fn keyed(known: &Known) -> Vec<(&Relation, i64, &String)> {
    with_keys(known)
        .flat_map(|one| (1..).zip(&one.primary_key).map(move |(n, name)| (one, n, name)))
        .collect()
}

fn key_columns(known: &Known) -> RecordBatch {
    let rows = keyed(known);
    let each = || rows.iter();
    Answer::new()
        .text("constraint_catalog", each().map(|_| CATALOG))
        .text("constraint_schema", each().map(|(one, ..)| &one.schema))
        .text("constraint_name", each().map(|(one, ..)| one.key_name()))
        .text("table_catalog", each().map(|_| CATALOG))
        .text("table_schema", each().map(|(one, ..)| &one.schema))
        .text("table_name", each().map(|(one, ..)| &one.name))
        .text("column_name", each().map(|(.., name)| name))
        .number("ordinal_position", each().map(|(_, n, _)| *n))
        .number("position_in_unique_constraint", each().map(|_| None::<i64>))
        .finish()
}

fn constraint_columns(known: &Known) -> RecordBatch {
    let rows = keyed(known);
    let each = || rows.iter();
    Answer::new()
        .text("table_catalog", each().map(|_| CATALOG))
        .text("table_schema", each().map(|(one, ..)| &one.schema))
        .text("table_name", each().map(|(one, ..)| &one.name))
        .text("column_name", each().map(|(.., name)| name))
        .text("constraint_catalog", each().map(|_| CATALOG))
        .text("constraint_schema", each().map(|(one, ..)| &one.schema))
        .text("constraint_name", each().map(|(one, ..)| one.key_name()))
        .finish()
}

/// What the user may do with each table. What others may is theirs to know.
fn table_privileges(known: &Known) -> RecordBatch {
    const ASKED: [Privilege; 4] =
        [Privilege::Select, Privilege::Insert, Privilege::Update, Privilege::Delete];
    let rows: Vec<(&Relation, &str)> = known
        .relations
        .iter()
        .flat_map(|one| ASKED.map(|privilege| (one, privilege.as_sql())))
        .filter(|(one, privilege)| one.allowed.may(privilege))
        .collect();
    let each = || rows.iter();
    Answer::new()
        .text("grantor", each().map(|(one, _)| &one.owner))
        .text("grantee", each().map(|_| &known.user))
        .text("table_catalog", each().map(|_| CATALOG))
        .text("table_schema", each().map(|(one, _)| &one.schema))
        .text("table_name", each().map(|(one, _)| &one.name))
        .text("privilege_type", each().map(|(_, privilege)| privilege))
        .text("is_grantable", each().map(|(one, _)| yes_or_no(one.allowed.owns)))
        .text(
            "with_hierarchy",
            each().map(|(_, privilege)| yes_or_no(*privilege == Privilege::Select.as_sql())),
        )
        .finish()
}

fn column_privileges(known: &Known) -> RecordBatch {
    const ASKED: [Privilege; 3] = [Privilege::Select, Privilege::Insert, Privilege::Update];
    let rows: Vec<(&Relation, &String, &str)> = known
        .relations
        .iter()
        .flat_map(|one| {
            let fields = one.columns.iter().flat_map(|columns| columns.fields());
            fields.flat_map(move |field| ASKED.map(|p| (one, field.name(), p.as_sql())))
        })
        .filter(|(one, column, privilege)| one.allowed.may_with(column, privilege))
        .collect();
    let each = || rows.iter();
    Answer::new()
        .text("grantor", each().map(|(one, ..)| &one.owner))
        .text("grantee", each().map(|_| &known.user))
        .text("table_catalog", each().map(|_| CATALOG))
        .text("table_schema", each().map(|(one, ..)| &one.schema))
        .text("table_name", each().map(|(one, ..)| &one.name))
        .text("column_name", each().map(|(_, column, _)| column))
        .text("privilege_type", each().map(|(.., privilege)| privilege))
        .text("is_grantable", each().map(|(one, ..)| yes_or_no(one.allowed.owns)))
        .finish()
}
