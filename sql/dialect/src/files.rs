//! Functions that read files in the place of a table: `read_csv('place', header => true)`, and
//! `read_files`, which is Databricks' word for them and can be a STREAM.
//!
//! They exist in the dialect and not as functions of the planner, which asks its functions for their
//! columns without waiting, and columns of files are read from the files.

use model::object::{Properties, TableFormat};
use sqlparser::{
    ast::{
        BinaryOperator, Expr, FunctionArg, FunctionArgExpr, Ident, Spanned, TableFunctionArgs,
        Value,
    },
    tokenizer::Location,
};

use crate::{
    error::SyntaxError,
    query::unsupported,
    scope::ident_name,
    statement::{FilesFunction, FilesUse},
};

/// The one function that a STREAM can be read from.
pub(crate) const READ_FILES: &str = "read_files";

/// The files that a call in FROM reads; `None` for any other function. `at` is where the call stands.
pub(crate) fn read(
    name: &[String],
    arguments: &TableFunctionArgs,
    at: Location,
) -> Result<Option<FilesUse>, SyntaxError> {
    let [function] = name else { return Ok(None) };
    let Some(which) = which(function) else { return Ok(None) };
    if arguments.settings.is_some() {
        return Err(unsupported(at, "SETTINGS of a function"));
    }
    let mut place = None;
    let mut options = Properties::new();
    for argument in &arguments.args {
        let Some((option, value)) = named(argument) else {
            let text = text_of(argument, which);
            let (Some(text), None) = (text, &place) else {
                return Err(call(function, argument, at));
            };
            place = Some(text);
            continue;
        };
        let option = ident_name(option).to_ascii_lowercase();
        let Some(value) = value.and_then(|value| value_of(value, which)) else {
            return Err(call(function, argument, at));
        };
        if options.insert(option.clone(), value).is_some() {
            let text = format!("{function} has the option '{option}' twice");
            return Err(SyntaxError::new(start(argument, at), text));
        }
    }
    let Some(place) = place else {
        let error = SyntaxError::new(at, format!("{function} needs the place of the files"));
        return Err(error.with_hint(format!("write {function}('folder/file')")));
    };
    Ok(Some(FilesUse {
        function: which,
        place,
        options,
        is_stream: false,
        has_metadata: false,
        found: None,
    }))
}

fn which(function: &str) -> Option<FilesFunction> {
    match function {
        "read_parquet" => Some(FilesFunction::Of(TableFormat::Parquet)),
        "read_csv" => Some(FilesFunction::Of(TableFormat::Csv)),
        "read_json" => Some(FilesFunction::Of(TableFormat::Json)),
        READ_FILES => Some(FilesFunction::Any),
        _ => None,
    }
}

/// An argument that is no text, or a second place.
fn call(function: &str, argument: &FunctionArg, at: Location) -> SyntaxError {
    let text = format!("'{argument}' is no argument of {function}");
    SyntaxError::new(start(argument, at), text).with_hint(format!(
        "write {function}('place', option => 'value', …), with values as they are"
    ))
}

/// The name and the value of an option. The parser reads `a = b` as a comparison.
fn named(argument: &FunctionArg) -> Option<(&Ident, Option<&Expr>)> {
    match argument {
        FunctionArg::Named { name, arg, .. } => Some((name, value_in(arg))),
        FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => {
            Some((name, value_in(arg)))
        }
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp { left, op, right })) => {
            match (left.as_ref(), op) {
                (Expr::Identifier(name), BinaryOperator::Eq) => Some((name, Some(right))),
                _ => None,
            }
        }
        _ => None,
    }
}

fn value_in(argument: &FunctionArgExpr) -> Option<&Expr> {
    match argument {
        FunctionArgExpr::Expr(value) => Some(value),
        _ => None,
    }
}

fn text_of(argument: &FunctionArg, of: FilesFunction) -> Option<String> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = argument else { return None };
    match value {
        Expr::Value(value) => text(&value.value),
        other => in_double_quotes(other, of),
    }
}

/// A text as Databricks has it too. No name can stand in a call of `read_files`.
fn in_double_quotes(value: &Expr, of: FilesFunction) -> Option<String> {
    match value {
        Expr::Identifier(ident) if of == FilesFunction::Any && ident.quote_style == Some('"') => {
            Some(ident.value.clone())
        }
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text.clone()),
        _ => None,
    }
}

/// A value as OPTIONS would have it: a text.
fn value_of(value: &Expr, of: FilesFunction) -> Option<String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => Some(number.to_string()),
            Value::Boolean(flag) => Some(flag.to_string()),
            other => text(other),
        },
        other => in_double_quotes(other, of),
    }
}

fn start(argument: &FunctionArg, at: Location) -> Location {
    let found = argument.span().start;
    if found.line == 0 { at } else { found }
}

#[cfg(test)]
mod tests;
