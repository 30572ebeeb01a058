//! Queries back to text: with full names, and in a form that only a change of meaning changes.

use std::{collections::BTreeMap, ops::ControlFlow};

use sqlparser::{
    ast::{
        self, Expr, Ident, ObjectName, ObjectNamePart, SelectItem, TableAlias, TableFactor, Value,
        ValueWithSpan, VisitMut, VisitorMut,
    },
    keywords::{
        ALL_KEYWORDS, ALL_KEYWORDS_INDEX, Keyword, RESERVED_FOR_COLUMN_ALIAS,
        RESERVED_FOR_IDENTIFIER, RESERVED_FOR_TABLE_ALIAS,
    },
};

use crate::{
    scope::{Scope, name_parts},
    statement::{
        FilesUse, OnChange, Query, StreamRead, StreamStart, TableUse, TimeTravel, on_large_stack,
    },
    tokens::CHANGES,
};

/// Words that begin something else than a name where a table is expected.
const TABLE_FORMS: [Keyword; 7] = [
    Keyword::TABLE,
    Keyword::LATERAL,
    Keyword::UNNEST,
    Keyword::VALUES,
    Keyword::JSON_TABLE,
    Keyword::OPENJSON,
    Keyword::XMLTABLE,
];

/// The query as text that is equal for texts which differ only in whitespace, comments, the case
/// of keywords and the case of names without quotes. It parses back to the same query.
#[must_use]
pub fn normal_form(query: &Query) -> String {
    print(query, Form::Normal)
}

/// The query as text in which each table says its schema, `default_schema` where none was written.
/// It parses back to the same tables at the same versions.
#[must_use]
pub fn qualify(query: &Query, default_schema: &str) -> String {
    print(query, Form::Qualified { default_schema })
}

/// As [`qualify`], with the queries of views in the place of those names: `views` has them by a name
/// without a schema, themselves with full names.
#[must_use]
pub fn inlined(query: &Query, default_schema: &str, views: &BTreeMap<String, String>) -> String {
    print(query, Form::Inlined { default_schema, views })
}

/// An expression that was read as the only item of a SELECT, in its normal form.
pub(crate) fn expression(selected: &Query) -> String {
    let text = normal_form(selected);
    text.strip_prefix("SELECT ").map(str::to_owned).unwrap_or(text)
}

fn print(query: &Query, form: Form<'_>) -> String {
    on_large_stack(|| {
        let mut ast = query.ast.clone();
        let (scope, tables, files) = (Scope::default(), &query.tables, &query.files);
        let mut walk = Print { scope, tables, files, form };
        match ast.visit(&mut walk) {
            ControlFlow::Continue(()) => ast.to_string(),
            ControlFlow::Break(never) => match never {},
        }
    })
}

#[derive(Clone, Copy)]
enum Form<'a> {
    Normal,
    Qualified { default_schema: &'a str },
    Inlined { default_schema: &'a str, views: &'a BTreeMap<String, String> },
}

impl<'a> Form<'a> {
    /// The schema of names that say none, where names are to say one.
    fn default_schema(self) -> Option<&'a str> {
        match self {
            Self::Normal => None,
            Self::Qualified { default_schema } | Self::Inlined { default_schema, .. } => {
                Some(default_schema)
            }
        }
    }

    /// The query that stands for a name.
    fn view(self, parts: &[String]) -> Option<&'a str> {
        match (self, parts) {
            (Self::Inlined { views, .. }, [name]) => views.get(name).map(String::as_str),
            _ => None,
        }
    }
}

struct Print<'a> {
    scope: Scope,
    tables: &'a [TableUse],
    files: &'a [FilesUse],
    form: Form<'a>,
}

type Step = ControlFlow<std::convert::Infallible>;

impl VisitorMut for Print<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> Step {
        self.scope.enter(query);
        if matches!(self.form, Form::Normal) {
            for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
                lower(&mut cte.alias.name);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut ast::Query) -> Step {
        self.scope.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> Step {
        if matches!(self.form, Form::Normal) {
            lower_alias(table);
        }
        let TableFactor::Table { name, alias, args: None, .. } = table else {
            return ControlFlow::Continue(());
        };
        let Some(parts) = name_parts(name) else { return ControlFlow::Continue(()) };
        let read = self.files.iter().find(|files| parts == [files.planned_name()]);
        if let Some(files) = read {
            // The call itself, which is no name that could be quoted.
            *name = ObjectName::from(vec![Ident::new(files.to_string())]);
            return ControlFlow::Continue(());
        }
        if self.scope.is_with_query(&parts) {
            if matches!(self.form, Form::Normal) {
                *name = printed(&parts, None);
            }
            return ControlFlow::Continue(());
        }
        let known = self.tables.iter().find(|table| table.planned_name == parts);
        let (mut parts, at) =
            known.map_or((parts, None), |table| (table.name.clone(), table.at.as_ref()));
        if let Some(query) = self.form.view(&parts) {
            // As the calls above: printed as it is, and by its own name where it has no other.
            *name = ObjectName::from(vec![Ident::new(format!("({query})"))]);
            alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: Ident::with_quote('"', parts.concat()),
                columns: Vec::new(),
                at: None,
            });
            return ControlFlow::Continue(());
        }
        if let (Some(default_schema), 1) = (self.form.default_schema(), parts.len()) {
            parts.insert(0, default_schema.to_owned());
        }
        *name = printed(&parts, at);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> Step {
        if matches!(self.form, Form::Normal) {
            select.optimizer_hints.clear();
            for item in &mut select.projection {
                if let SelectItem::ExprWithAlias { alias, .. } = item {
                    lower(alias);
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The syntax tree takes two quotes in a row, or one after a backslash, for an escape that is
    /// there already, and would print another text than the one it holds. Whatever is printed as a
    /// placeholder is printed as it is.
    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> Step {
        let (prefix, text) = match &value.value {
            Value::SingleQuotedString(text) => ("", text),
            Value::NationalStringLiteral(text) => ("N", text),
            Value::SingleQuotedByteStringLiteral(text) => ("B", text),
            _ => return ControlFlow::Continue(()),
        };
        value.value = Value::Placeholder(format!("{prefix}'{}'", text.replace('\'', "''")));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> Step {
        if !matches!(self.form, Form::Normal) {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Identifier(ident) => lower(ident),
            Expr::CompoundIdentifier(idents) => idents.iter_mut().for_each(lower),
            Expr::Function(function) => {
                for part in &mut function.name.0 {
                    if let ObjectNamePart::Identifier(ident) = part {
                        lower(ident);
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn lower_alias(table: &mut TableFactor) {
    let alias = match table {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias,
        _ => return,
    };
    if let Some(alias) = alias {
        alias.explicit = true;
        lower(&mut alias.name);
    }
}

/// Names without quotes mean the same in any case; those of variables (`@x`) do not.
fn lower(ident: &mut Ident) {
    if ident.quote_style.is_none() && !ident.value.starts_with('@') {
        ident.value.make_ascii_lowercase();
    }
}

/// A name that prints as SQL. The clause rides in the last part, since the syntax tree would print
/// it after the alias.
fn printed(parts: &[String], at: Option<&TimeTravel>) -> ObjectName {
    let mut texts: Vec<String> = parts.iter().map(|part| quoted(part)).collect();
    if let (Some(last), Some(at)) = (texts.last_mut(), at) {
        match at {
            TimeTravel::Version(version) => last.push_str(&format!(" VERSION AS OF {version}")),
            TimeTravel::Timestamp(text) => {
                last.push_str(&format!(" TIMESTAMP AS OF {}", literal(text)))
            }
            TimeTravel::Changes { from, to } => {
                let bounds = [Some(from), to.as_ref()].into_iter().flatten();
                let bounds = bounds.map(|bound| match &**bound {
                    TimeTravel::Version(version) => format!(", {version}"),
                    TimeTravel::Timestamp(text) => format!(", {}", literal(text)),
                    _ => String::new(),
                });
                let bounds: String = bounds.collect();
                let call = format!("{CHANGES}({}{bounds})", literal(&texts.join(".")));
                return ObjectName::from(vec![Ident::new(call)]);
            }
            TimeTravel::Stream(read) => {
                return ObjectName::from(vec![Ident::new(stream(&texts.join("."), read))]);
            }
            TimeTravel::Quarantine => {
                let call = format!("QUARANTINE({})", texts.join("."));
                return ObjectName::from(vec![Ident::new(call)]);
            }
        }
    }
    ObjectName::from(texts.into_iter().map(Ident::new).collect::<Vec<_>>())
}

/// `STREAM name`, or a call when it has options.
pub(crate) fn stream(name: &str, StreamRead { start, on_change }: &StreamRead) -> String {
    let start = match start {
        StreamStart::Earliest => None,
        StreamStart::Latest => Some(literal("latest")),
        StreamStart::Version(version) => Some(version.to_string()),
        StreamStart::Timestamp(text) => Some(literal(text)),
    };
    let start = start.map(|start| format!(", START => {start}")).unwrap_or_default();
    let on_change = match on_change {
        OnChange::Fail => String::new(),
        other => format!(", ON_CHANGE => {}", literal(other.as_sql())),
    };
    if start.is_empty() && on_change.is_empty() {
        return format!("STREAM {name}");
    }
    format!("STREAM({name}{start}{on_change})")
}

pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// An identifier as SQL: quoted unless it is plain lower case and no word of a query.
pub(crate) fn quoted(part: &str) -> String {
    let upper = part.to_ascii_uppercase();
    let keyword =
        ALL_KEYWORDS.binary_search(&upper.as_str()).ok().and_then(|n| ALL_KEYWORDS_INDEX.get(n));
    let has_meaning = keyword.is_some_and(|keyword| {
        RESERVED_FOR_TABLE_ALIAS.contains(keyword)
            || RESERVED_FOR_COLUMN_ALIAS.contains(keyword)
            || RESERVED_FOR_IDENTIFIER.contains(keyword)
            || TABLE_FORMS.contains(keyword)
    });
    // In what declares, `live.` before a name means nothing.
    if has_meaning || part == "live" {
        format!("\"{}\"", part.replace('"', "\"\""))
    } else {
        model::name::quote(part)
    }
}

#[cfg(test)]
mod tests;
