//! `LIKE … ESCAPE`: the planner knows the backslash only, so patterns with another sign are written
//! with it.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, Value, ValueWithSpan,
};

/// The function that writes a pattern anew where it is no literal; [`like_pattern`] is what it does.
pub const LIKE_PATTERN: &str = "like_pattern";

/// A LIKE pattern in which `escape` stands before what is meant as it is, with a backslash in its
/// place. A sign at the end that nothing follows is meant as it is.
#[must_use]
pub fn like_pattern(pattern: &str, escape: char) -> String {
    let mut written = String::with_capacity(pattern.len());
    let mut signs = pattern.chars();
    while let Some(sign) = signs.next() {
        let meant = if sign == escape { Some(signs.next().unwrap_or(sign)) } else { None };
        match meant {
            Some(meant @ ('%' | '_' | '\\')) => written.extend(['\\', meant]),
            Some(meant) => written.push(meant),
            None if sign == '\\' => written.push_str("\\\\"),
            None => written.push(sign),
        }
    }
    written
}

/// Gives a LIKE with an ESCAPE of one other sign a pattern that needs none.
pub(crate) fn without_escape(expr: &mut Expr) {
    let (Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. }) = expr
    else {
        return;
    };
    let Some(Value::SingleQuotedString(text)) = escape_char.as_ref().map(|said| &said.value) else {
        return;
    };
    let mut signs = text.chars();
    let (Some(escape), None) = (signs.next(), signs.next()) else { return };
    if escape == '\\' {
        return;
    }
    if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(literal), .. }) =
        &mut **pattern
    {
        *literal = like_pattern(literal, escape);
    } else {
        let escape = Expr::value(Value::SingleQuotedString(escape.to_string()));
        let inner = std::mem::replace(&mut **pattern, Expr::value(Value::Null));
        **pattern = call(LIKE_PATTERN, [inner, escape]);
    }
    *escape_char = None;
}

fn call(name: &str, arguments: impl IntoIterator<Item = Expr>) -> Expr {
    let argument = |argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into_iter().map(argument).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sign_protects_is_meant_as_it_is() {
        for (pattern, escape, written) in [
            ("a/%b%", '/', "a\\%b%"),
            ("a//b_", '/', "a/b_"),
            ("a\\b", '/', "a\\\\b"),
            ("#_#", '#', "\\_#"),
            ("100!%!!", '!', "100\\%!"),
            ("%%%", '%', "\\%\\%"),
            ("ü/ü", '/', "üü"),
        ] {
            assert_eq!(like_pattern(pattern, escape), written, "{pattern} ESCAPE {escape}");
        }
    }
}
