//! Struct values as statements write them, matched with the fields of the column that they are for.
//!
//! The planner casts a struct by the names of its fields: it drops those that the column does not
//! have, without a word, and knows no fields by position. Here `{'a': 1}` and `named_struct('a', 1)`
//! are matched by name and `struct(1)` by position; what is left out is NULL, as a column is that an
//! INSERT does not name, and a name that the column does not have is an error.

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::sql::sqlparser::ast::{
    DictionaryField, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, SelectItem,
    SetExpr, Value,
};
use dialect::statement::Query;

use crate::error::QueryError;

/// Names the fields of the struct values that a query gives to columns, in their order.
pub(super) fn name_fields(rows: &mut Query, columns: &[FieldRef]) -> Result<(), QueryError> {
    if !columns.iter().any(|column| column.data_type().is_nested()) {
        return Ok(());
    }
    match rows.ast.body.as_mut() {
        SetExpr::Values(values) => {
            for row in &mut values.rows {
                for (value, column) in row.content.iter_mut().zip(columns) {
                    name_fields_of(value, column)?;
                }
            }
        }
        SetExpr::Select(select) => {
            for (item, column) in select.projection.iter_mut().zip(columns) {
                match item {
                    SelectItem::UnnamedExpr(value)
                    | SelectItem::ExprWithAlias { expr: value, .. } => {
                        name_fields_of(value, column)?;
                    }
                    // Which columns come after it only the planner knows.
                    _ => break,
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Names the fields of one value for a column.
pub(super) fn name_fields_of(value: &mut Expr, column: &Field) -> Result<(), QueryError> {
    match column.data_type() {
        DataType::Struct(fields) => match literal(value) {
            Some(Literal::Positions(values)) if values.len() == fields.len() => {
                let names = fields.iter().map(|field| field.name().clone());
                *value = struct_of(names.zip(values).collect(), column, fields)?;
            }
            Some(Literal::Positions(values)) => {
                return Err(QueryError::Invalid(format!(
                    "'{}' has the fields {}, and struct(…) gives {} values: \
                     write {{'field': value, …}} to leave some out",
                    column.name(),
                    names_of(fields),
                    values.len()
                )));
            }
            Some(Literal::Names(values)) => *value = struct_of(values, column, fields)?,
            None => {}
        },
        DataType::List(item) => {
            let item = item.as_ref().clone().with_name(column.name());
            for element in elements(value) {
                name_fields_of(element, &item)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Refuses a value whose fields a cast would drop.
pub(super) fn keeps_fields(from: &DataType, to: &DataType) -> Result<(), QueryError> {
    match (from, to) {
        (DataType::Struct(from), DataType::Struct(to)) => {
            for field in from {
                let Some((_, same)) = to.find(field.name()) else {
                    return Err(unknown(field.name(), "the struct", to));
                };
                keeps_fields(field.data_type(), same.data_type())?;
            }
            Ok(())
        }
        (
            DataType::List(from) | DataType::LargeList(from) | DataType::FixedSizeList(from, _),
            DataType::List(to),
        ) => keeps_fields(from.data_type(), to.data_type()),
        _ => Ok(()),
    }
}

enum Literal {
    Names(Vec<(String, Expr)>),
    Positions(Vec<Expr>),
}

/// The fields of a struct that is written out, however that is done.
fn literal(value: &Expr) -> Option<Literal> {
    match value {
        Expr::Nested(inner) => literal(inner),
        Expr::Dictionary(fields) => {
            let named = fields.iter().map(|field| (field.key.value.clone(), *field.value.clone()));
            Some(Literal::Names(named.collect()))
        }
        Expr::Struct { values, fields } if fields.is_empty() => {
            if !values.iter().any(|value| matches!(value, Expr::Named { .. })) {
                return Some(Literal::Positions(values.clone()));
            }
            let named = values.iter().map(|value| match value {
                Expr::Named { expr, name } => Some((name.value.clone(), *expr.clone())),
                _ => None,
            });
            Some(Literal::Names(named.collect::<Option<Vec<_>>>()?))
        }
        Expr::Function(function) => {
            let name = function.name.to_string().to_ascii_lowercase();
            let values = arguments(&function.args)?;
            match name.as_str() {
                "struct" => Some(Literal::Positions(values)),
                "named_struct" => {
                    let pairs = values.chunks(2).map(|pair| match pair {
                        [Expr::Value(name), value] => match &name.value {
                            Value::SingleQuotedString(name) => Some((name.clone(), value.clone())),
                            _ => None,
                        },
                        _ => None,
                    });
                    Some(Literal::Names(pairs.collect::<Option<Vec<_>>>()?))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Arguments that are plain expressions.
fn arguments(arguments: &FunctionArguments) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = arguments else { return None };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Named { .. })) => None,
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

/// The elements of an array that is written out.
fn elements(value: &mut Expr) -> Vec<&mut Expr> {
    match value {
        Expr::Nested(inner) => elements(inner),
        Expr::Array(array) => array.elem.iter_mut().collect(),
        Expr::Function(function)
            if function.name.to_string().eq_ignore_ascii_case("make_array") =>
        {
            let FunctionArguments::List(list) = &mut function.args else { return Vec::new() };
            let plain = list.args.iter_mut().filter_map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
                _ => None,
            });
            plain.collect()
        }
        _ => Vec::new(),
    }
}

/// All fields of a column in their order.
fn struct_of(
    mut values: Vec<(String, Expr)>,
    column: &Field,
    fields: &Fields,
) -> Result<Expr, QueryError> {
    let mut all = Vec::with_capacity(fields.len());
    for field in fields {
        let given = values.iter().position(|(name, _)| name == field.name());
        let mut value = match given {
            Some(n) => values.swap_remove(n).1,
            None => Expr::value(Value::Null),
        };
        let path = format!("{}.{}", column.name(), field.name());
        name_fields_of(&mut value, &field.as_ref().clone().with_name(path))?;
        let key = Ident::with_quote('\'', field.name());
        all.push(DictionaryField { key, value: Box::new(value) });
    }
    match values.first() {
        Some((name, _)) if fields.find(name).is_some() => {
            Err(QueryError::Invalid(format!("'{}': field '{name}' is given twice", column.name())))
        }
        Some((name, _)) => Err(unknown(name, &format!("'{}'", column.name()), fields)),
        None => Ok(Expr::Dictionary(all)),
    }
}

fn unknown(name: &str, what: &str, fields: &Fields) -> QueryError {
    QueryError::Invalid(format!("{what} has no field '{name}'; it has {}", names_of(fields)))
}

fn names_of(fields: &Fields) -> String {
    fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
}
