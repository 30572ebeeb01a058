//! Functions that Postgres has and tools call: each looks at what is known, row by row.
//!
//! Answers are few and small, so that the plainest way is fast enough.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, Int64Array, ListArray, StructArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field},
};
use datafusion::{
    common::ScalarValue,
    error::DataFusionError,
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
        Volatility,
    },
};
use model::name::CATALOG;

use super::{
    known::{Known, Role},
    privileges, tables, type_rows,
};
use crate::error::QueryError;

type Body = fn(&Known, &[ScalarValue]) -> ScalarValue;

struct PgFunction {
    name: &'static str,
    returns: DataType,
    signature: Signature,
    known: Arc<Known>,
    body: Body,
}

impl std::fmt::Debug for PgFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

// A statement has one function of a name.
impl PartialEq for PgFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.known, &other.known)
    }
}

impl Eq for PgFunction {}

impl Hash for PgFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for PgFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        if self.name == "set_config" {
            only_what_changes_nothing(&self.known, &args.args)?;
        }
        let constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let mut answers = Vec::with_capacity(rows);
        for row in 0..rows {
            let values = args
                .args
                .iter()
                .map(|value| match value {
                    ColumnarValue::Scalar(value) => Ok(value.clone()),
                    ColumnarValue::Array(array) => ScalarValue::try_from_array(array, row),
                })
                .collect::<Result<Vec<_>, _>>()?;
            let answer = (self.body)(&self.known, &values);
            if self.name == REGCLASS && answer.is_null() {
                is_there(&values)?;
            }
            answers.push(answer.cast_to(&self.returns)?);
        }
        if constant {
            let answer = answers.pop().unwrap_or(ScalarValue::Null);
            return Ok(ColumnarValue::Scalar(answer));
        }
        if answers.is_empty() {
            return Ok(ColumnarValue::Array(arrow::array::new_empty_array(&self.returns)));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(answers)?))
    }
}

/// A query that sets something would have an effect.
fn only_what_changes_nothing(
    known: &Known,
    arguments: &[ColumnarValue],
) -> Result<(), DataFusionError> {
    let text = |at| match arguments.get(at) {
        Some(ColumnarValue::Scalar(value)) => value.try_as_str().flatten(),
        _ => None,
    };
    match (text(0), text(1)) {
        (Some("jit"), _) => Ok(()),
        (Some(name), Some(value)) if known.setting(name) == Some(value) => Ok(()),
        _ => Err(DataFusionError::Plan(
            "set_config sets nothing here; send SET key = value".to_owned(),
        )),
    }
}

/// A cast of a name to `regclass`: `to_regclass`, and an error where there is no such relation.
const REGCLASS: &str = "whimbrel_regclass";

/// A relation that is cast has to be there.
fn is_there(arguments: &[ScalarValue]) -> Result<(), DataFusionError> {
    let Some(name) = string(arguments, 0) else { return Ok(()) };
    let text = format!("relation '{name}' does not exist");
    let error = QueryError::NoRelation(text);
    Err(DataFusionError::External(Box::new(error)))
}

fn text(text: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(text.into()))
}

fn maybe_text(text: Option<impl Into<String>>) -> ScalarValue {
    ScalarValue::Utf8(text.map(Into::into))
}

fn maybe_number(number: Option<i64>) -> ScalarValue {
    ScalarValue::Int64(number)
}

pub(super) fn truth(truth: bool) -> ScalarValue {
    ScalarValue::Boolean(Some(truth))
}

/// A whole number among the arguments.
fn number(arguments: &[ScalarValue], at: usize) -> Option<i64> {
    match arguments.get(at)?.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(number) => number,
        _ => None,
    }
}

pub(super) fn string(arguments: &[ScalarValue], at: usize) -> Option<String> {
    match arguments.get(at)?.cast_to(&DataType::Utf8).ok()? {
        ScalarValue::Utf8(text) => text,
        _ => None,
    }
}

fn list(items: &[&str]) -> ScalarValue {
    let items: Vec<_> = items.iter().map(|item| text(*item)).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&items, &DataType::Utf8))
}

/// Everything that a query may call.
pub(super) fn all(known: &Arc<Known>) -> Vec<Arc<ScalarUDF>> {
    let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    let numbered = DataType::List(Arc::new(Field::new_list_field(item_and_number(), true)));
    let (utf8, int, boolean) = (DataType::Utf8, DataType::Int64, DataType::Boolean);
    let functions: Vec<(&'static str, &DataType, Body)> = vec![
        ("version", &utf8, |known, _| text(known.client.version.clone())),
        ("current_database", &utf8, |_, _| text(CATALOG)),
        ("current_catalog", &utf8, |_, _| text(CATALOG)),
        ("current_schema", &utf8, |known, _| text(known.schema.clone())),
        ("current_schemas", &texts, current_schemas),
        ("current_user", &utf8, user),
        ("session_user", &utf8, user),
        ("current_role", &utf8, user),
        ("user", &utf8, user),
        ("pg_backend_pid", &DataType::Int32, |known, _| ScalarValue::Int32(Some(known.client.pid))),
        ("pg_is_in_recovery", &boolean, |_, _| truth(false)),
        ("pg_is_other_temp_schema", &boolean, |_, _| truth(false)),
        ("pg_my_temp_schema", &int, |_, _| maybe_number(Some(0))),
        ("txid_current", &int, |_, _| maybe_number(Some(0))),
        ("inet_server_addr", &utf8, |_, _| ScalarValue::Utf8(None)),
        ("inet_server_port", &int, |_, _| maybe_number(None)),
        ("inet_client_addr", &utf8, |_, _| ScalarValue::Utf8(None)),
        ("current_setting", &utf8, current_setting),
        ("pg_encoding_to_char", &utf8, |_, _| text("UTF8")),
        ("getdatabaseencoding", &utf8, |_, _| text("UTF8")),
        ("pg_client_encoding", &utf8, |_, _| text("UTF8")),
        ("pg_get_userbyid", &utf8, |known, arguments| {
            let Some(oid) = number(arguments, 0) else { return ScalarValue::Utf8(None) };
            let found = known.role(oid).map(|role: &Role| role.name.clone());
            text(found.unwrap_or_else(|| format!("unknown (OID={oid})")))
        }),
        ("format_type", &utf8, format_type),
        ("pg_get_expr", &utf8, |_, arguments| maybe_text(string(arguments, 0))),
        ("pg_get_viewdef", &utf8, view_definition),
        ("pg_get_constraintdef", &utf8, constraint_definition),
        ("pg_get_indexdef", &utf8, index_definition),
        ("pg_get_partkeydef", &utf8, |_, _| ScalarValue::Utf8(None)),
        ("pg_get_ruledef", &utf8, |_, _| ScalarValue::Utf8(None)),
        ("pg_get_triggerdef", &utf8, |_, _| ScalarValue::Utf8(None)),
        ("pg_get_functiondef", &utf8, |_, _| ScalarValue::Utf8(None)),
        ("pg_get_function_sqlbody", &utf8, |_, _| ScalarValue::Utf8(None)),
        ("pg_get_function_arguments", &utf8, |_, _| text("")),
        ("pg_get_function_identity_arguments", &utf8, |_, _| text("")),
        ("pg_get_function_result", &utf8, |_, _| ScalarValue::Utf8(None)),
        ("pg_get_statisticsobjdef_columns", &utf8, |_, _| ScalarValue::Utf8(None)),
        ("pg_get_serial_sequence", &utf8, |_, _| ScalarValue::Utf8(None)),
        ("pg_tablespace_location", &utf8, |_, _| text("")),
        ("pg_table_is_visible", &boolean, is_visible),
        ("pg_type_is_visible", &boolean, |_, _| truth(true)),
        ("pg_function_is_visible", &boolean, |_, _| truth(true)),
        ("pg_operator_is_visible", &boolean, |_, _| truth(true)),
        ("pg_opclass_is_visible", &boolean, |_, _| truth(true)),
        ("pg_opfamily_is_visible", &boolean, |_, _| truth(true)),
        ("pg_ts_config_is_visible", &boolean, |_, _| truth(true)),
        ("pg_ts_dict_is_visible", &boolean, |_, _| truth(true)),
        ("pg_ts_parser_is_visible", &boolean, |_, _| truth(true)),
        ("pg_ts_template_is_visible", &boolean, |_, _| truth(true)),
        ("pg_collation_is_visible", &boolean, |_, _| truth(true)),
        ("pg_conversion_is_visible", &boolean, |_, _| truth(true)),
        ("pg_statistics_obj_is_visible", &boolean, |_, _| truth(true)),
        ("pg_relation_is_publishable", &boolean, |_, _| truth(false)),
        ("pg_relation_is_updatable", &int, |_, _| maybe_number(Some(28))),
        ("pg_column_is_updatable", &boolean, |_, _| truth(true)),
        ("row_security_active", &boolean, |_, _| truth(false)),
        ("has_table_privilege", &boolean, privileges::has_table_privilege),
        ("has_schema_privilege", &boolean, privileges::has_schema_privilege),
        ("has_database_privilege", &boolean, privileges::has_database_privilege),
        ("has_column_privilege", &boolean, privileges::has_column_privilege),
        ("has_any_column_privilege", &boolean, privileges::has_any_column_privilege),
        ("has_function_privilege", &boolean, privileges::always),
        ("has_language_privilege", &boolean, privileges::always),
        ("has_sequence_privilege", &boolean, privileges::always),
        ("has_tablespace_privilege", &boolean, privileges::always),
        ("has_type_privilege", &boolean, privileges::always),
        ("pg_has_role", &boolean, privileges::has_role),
        ("obj_description", &utf8, description),
        ("col_description", &utf8, |known, arguments| {
            let relation = number(arguments, 0).and_then(|oid| known.relation(oid));
            let at = number(arguments, 1).and_then(|column| usize::try_from(column - 1).ok());
            maybe_text(relation.and_then(|relation| relation.column_comment(at?)))
        }),
        ("shobj_description", &utf8, |_, _| ScalarValue::Utf8(None)),
        ("pg_relation_size", &int, |_, _| maybe_number(None)),
        ("pg_table_size", &int, |_, _| maybe_number(None)),
        ("pg_total_relation_size", &int, |_, _| maybe_number(None)),
        ("pg_indexes_size", &int, |_, _| maybe_number(Some(0))),
        ("pg_tablespace_size", &int, |_, _| maybe_number(None)),
        ("pg_database_size", &int, |_, _| maybe_number(None)),
        ("pg_size_pretty", &utf8, |_, arguments| {
            maybe_text(number(arguments, 0).map(|bytes| format!("{bytes} bytes")))
        }),
        ("pg_stat_get_numscans", &int, |_, _| maybe_number(Some(0))),
        ("to_regclass", &int, regclass),
        (REGCLASS, &int, regclass),
        ("whimbrel_regclass_name", &utf8, |known, arguments| {
            let Some(oid) = number(arguments, 0) else { return ScalarValue::Utf8(None) };
            let shown = known.relation(oid).map(|relation| known.shown(relation));
            let of_catalog = || tables::catalog_name(oid).map(str::to_owned);
            text(shown.or_else(of_catalog).unwrap_or_else(|| oid.to_string()))
        }),
        ("to_regtype", &int, |_, arguments| {
            let Some(name) = string(arguments, 0) else { return maybe_number(None) };
            let oid = name.trim().parse().ok();
            maybe_number(oid.or_else(|| type_rows::by_name(&name).map(|row| row.oid)))
        }),
        ("pg_char_to_encoding", &int, |_, _| maybe_number(Some(6))),
        ("set_config", &utf8, |_, arguments| maybe_text(string(arguments, 1))),
        ("whimbrel_numbered", &numbered, |_, arguments| match arguments.first() {
            Some(ScalarValue::List(list)) if !list.is_null(0) => numbered_items(&list.value(0)),
            _ => ScalarValue::Null,
        }),
        ("to_regproc", &int, |_, arguments| {
            maybe_number(string(arguments, 0).map(|name| tables::function_oid(&name)))
        }),
        ("to_regnamespace", &int, |known, arguments| {
            let Some(name) = string(arguments, 0) else { return maybe_number(None) };
            let oid = name.trim().parse().ok();
            maybe_number(oid.or_else(|| known.namespace(&name).map(|namespace| namespace.oid)))
        }),
        ("whimbrel_namespace_name", &utf8, |known, arguments| {
            let Some(oid) = number(arguments, 0) else { return ScalarValue::Utf8(None) };
            let found = known.namespaces.iter().find(|namespace| namespace.oid == oid);
            text(found.map_or_else(|| oid.to_string(), |namespace| namespace.name.clone()))
        }),
        ("quote_ident", &utf8, |_, arguments| {
            maybe_text(string(arguments, 0).map(|name| model::name::quote(&name)))
        }),
        ("quote_literal", &utf8, |_, arguments| {
            let quoted = |text: String| format!("'{}'", text.replace('\'', "''"));
            maybe_text(string(arguments, 0).map(quoted))
        }),
        ("format", &utf8, formatted),
        ("array_upper", &int, |_, arguments| {
            let items = match arguments.first() {
                Some(ScalarValue::List(list)) if !list.is_null(0) => list.value(0).len(),
                _ => 0,
            };
            maybe_number(i64::try_from(items).ok().filter(|items| *items > 0))
        }),
        ("pg_typeof", &utf8, |_, arguments| {
            let kind = arguments.first().map(|value| {
                let oid = super::types::ColumnType::of(&value.data_type()).oid();
                type_rows::by_oid(i64::from(oid)).map_or_else(String::new, |row| row.shown(-1))
            });
            maybe_text(kind)
        }),
    ];
    functions
        .into_iter()
        .map(|(name, returns, body)| {
            let any = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
            Arc::new(ScalarUDF::new_from_impl(PgFunction {
                name,
                returns: returns.clone(),
                signature: Signature::one_of(any, Volatility::Stable),
                known: Arc::clone(known),
                body,
            }))
        })
        .collect()
}

/// The number of a relation, by its name; a number stays what it is.
fn regclass(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    let Some(name) = string(arguments, 0) else { return maybe_number(None) };
    let named = || known.named(&name).map(|relation| relation.oid);
    let oid = name.trim().parse().ok();
    maybe_number(oid.or_else(named).or_else(|| tables::catalog_oid(&name)))
}

/// The comment of a relation or a schema.
fn description(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    let Some(oid) = number(arguments, 0) else { return ScalarValue::Utf8(None) };
    let comment = match known.relation(oid) {
        Some(relation) => relation.comment.as_ref(),
        None => {
            let namespace = known.namespaces.iter().find(|namespace| namespace.oid == oid);
            namespace.and_then(|namespace| namespace.comment.as_ref())
        }
    };
    maybe_text(comment)
}

/// `format('%I.%I', schema, name)`: texts, names and literals in their places.
fn formatted(_: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    let Some(pattern) = string(arguments, 0) else { return ScalarValue::Utf8(None) };
    let (mut written, mut chars, mut next) = (String::new(), pattern.chars(), 1);
    while let Some(c) = chars.next() {
        if c != '%' {
            written.push(c);
            continue;
        }
        let kind = chars.next();
        if kind == Some('%') {
            written.push('%');
            continue;
        }
        let value = string(arguments, next);
        next += 1;
        match (kind, value) {
            (Some('I'), Some(value)) => written.push_str(&model::name::quote(&value)),
            (Some('L'), Some(value)) => {
                written.push_str(&format!("'{}'", value.replace('\'', "''")));
            }
            (Some('L'), None) => written.push_str("NULL"),
            (_, value) => written.push_str(&value.unwrap_or_default()),
        }
    }
    text(written)
}

/// What `_pg_expandarray` makes of each item.
fn item_and_number() -> DataType {
    DataType::Struct(
        vec![Field::new("x", DataType::Int64, true), Field::new("n", DataType::Int64, true)].into(),
    )
}

fn numbered_items(items: &ArrayRef) -> ScalarValue {
    let DataType::Struct(fields) = item_and_number() else { return ScalarValue::Null };
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((1..).take(items.len())));
    let Ok(items) = arrow::compute::cast(items, &DataType::Int64) else { return ScalarValue::Null };
    let offsets = OffsetBuffer::from_lengths([items.len()]);
    let rows = StructArray::new(fields, vec![items, numbers], None);
    let item = Arc::new(Field::new_list_field(item_and_number(), true));
    ScalarValue::List(Arc::new(ListArray::new(item, offsets, Arc::new(rows), None)))
}

fn user(known: &Known, _: &[ScalarValue]) -> ScalarValue {
    text(known.user.clone())
}

fn current_schemas(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    match arguments.first() {
        Some(ScalarValue::Boolean(Some(true))) => list(&["pg_catalog", &known.schema]),
        _ => list(&[&known.schema]),
    }
}

fn current_setting(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    let name = string(arguments, 0).unwrap_or_default();
    maybe_text(known.setting(&name))
}

fn format_type(_: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    let Some(oid) = number(arguments, 0) else { return ScalarValue::Utf8(None) };
    let modifier = number(arguments, 1).unwrap_or(-1);
    if oid == 0 {
        return text("-");
    }
    text(type_rows::by_oid(oid).map_or_else(|| "???".to_owned(), |row| row.shown(modifier)))
}

fn is_visible(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    let relation = number(arguments, 0).and_then(|oid| known.relation(oid));
    truth(relation.is_some_and(|relation| relation.schema == known.schema))
}

fn view_definition(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    let relation = match number(arguments, 0) {
        Some(oid) => known.relation(oid),
        None => string(arguments, 0).and_then(|name| known.named(&name)),
    };
    maybe_text(relation.and_then(|relation| relation.definition.clone()))
}

fn constraint_definition(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    let oid = number(arguments, 0);
    let keyed = known.relations.iter().find(|relation| Some(relation.key_oid()) == oid);
    if let Some(relation) = keyed {
        return text(format!("PRIMARY KEY ({})", columns(&relation.primary_key)));
    }
    let mut checks = known.relations.iter().flat_map(|relation| &relation.checks);
    let found = checks.find(|check| Some(check.oid) == oid);
    maybe_text(found.map(|check| format!("CHECK ({})", check.condition)))
}

fn index_definition(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    let oid = number(arguments, 0);
    let Some(keyed) = known.relations.iter().find(|relation| Some(relation.key_oid()) == oid)
    else {
        return ScalarValue::Utf8(None);
    };
    match number(arguments, 1).and_then(|column| usize::try_from(column).ok()) {
        // One column of it.
        Some(column) if column > 0 => {
            maybe_text(keyed.primary_key.get(column - 1).map(|name| model::name::quote(name)))
        }
        _ => text(format!(
            "CREATE UNIQUE INDEX {} ON {}.{} USING delta ({})",
            model::name::quote(&keyed.key_name()),
            model::name::quote(&keyed.schema),
            model::name::quote(&keyed.name),
            columns(&keyed.primary_key)
        )),
    }
}

fn columns(names: &[String]) -> String {
    names.iter().map(|name| model::name::quote(name)).collect::<Vec<_>>().join(", ")
}
