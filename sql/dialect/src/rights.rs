//! Roles, GRANT and REVOKE, owners, row filters and masks.

use model::{limits::Limit, rights::Privilege};
use sqlparser::{ast::Expr, tokenizer::Token};

use crate::{
    cursor::Cursor,
    error::SyntaxError,
    parse::parse,
    rows,
    statement::{
        DropKind, Granted, NameParts, OwnedObject, PolicyAction, PrivilegeOf, RightsStatement,
        SecurableName, Statement,
    },
    users,
};

/// What GRANT can be about, in the words of SQL.
const SECURABLES: [&str; 5] = ["CATALOG", "SCHEMA", "TABLE", "VIEW", "MATERIALIZED VIEW"];

/// After CREATE, when the next word is ROLE, USER or TOKEN.
pub(crate) fn create(cursor: &mut Cursor<'_>) -> Result<Option<Statement>, SyntaxError> {
    if cursor.take("USER") {
        return users::create(cursor).map(Some);
    }
    if cursor.take("TOKEN") {
        return users::create_token(cursor).map(Some);
    }
    if !cursor.take("ROLE") {
        return Ok(None);
    }
    let if_not_exists = cursor.if_not_exists();
    let name = principal(cursor)?;
    Ok(Some(Statement::Rights(RightsStatement::CreateRole { name, if_not_exists })))
}

/// After ALTER ROLE: `name SET LIMITS (limit = value, …)` or `name RESET LIMITS`.
pub(crate) fn alter_role(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let role = cursor.ident("the name of a role")?;
    if cursor.take("RESET LIMITS") {
        let (limits, reset) = (Vec::new(), true);
        return Ok(Statement::Rights(RightsStatement::Limit { role, limits, reset }));
    }
    if !cursor.take("SET LIMITS") {
        return Err(cursor.expected_one_of(&["SET LIMITS", "RESET LIMITS"]));
    }
    let at = cursor.here();
    let mut limits = Vec::new();
    for (name, value) in cursor.properties()? {
        let known = Limit::ALL.into_iter().find(|limit| limit.as_str() == name);
        let Some(limit) = known else {
            let words: Vec<_> = Limit::ALL.iter().map(|limit| limit.as_str()).collect();
            return Err(SyntaxError::new(at, format!("there is no limit '{name}'"))
                .with_hint(format!("there are {}", words.join(", "))));
        };
        let value = limit.parse(&value).map_err(|why| SyntaxError::new(at, why))?;
        limits.push((limit, value));
    }
    if limits.is_empty() {
        return Err(SyntaxError::new(at, "there is no limit in the parentheses"));
    }
    Ok(Statement::Rights(RightsStatement::Limit { role, limits, reset: false }))
}

/// After DROP, when the next word is ROLE, USER or TOKEN.
pub(crate) fn drop(cursor: &mut Cursor<'_>) -> Result<Option<Statement>, SyntaxError> {
    if cursor.take("TOKEN") {
        return users::drop_token(cursor).map(Some);
    }
    let user = cursor.take("USER");
    if !user && !cursor.take("ROLE") {
        return Ok(None);
    }
    let if_exists = cursor.take("IF EXISTS");
    let name = principal(cursor)?;
    Ok(Some(Statement::Rights(match user {
        true => RightsStatement::DropUser { name, if_exists },
        false => RightsStatement::DropRole { name, if_exists },
    })))
}

/// `GRANT privileges ON what TO who` or `GRANT role TO who`.
pub(crate) fn grant(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("GRANT")?;
    let statement = if is_about_roles(cursor) {
        let roles = principals(cursor)?;
        cursor.expect("TO")?;
        RightsStatement::GrantRoles { roles, to: principals(cursor)? }
    } else {
        let granted = granted(cursor)?;
        cursor.expect("TO")?;
        RightsStatement::Grant { granted, to: principals(cursor)? }
    };
    for what in ["WITH GRANT OPTION", "WITH ADMIN OPTION", "GRANTED BY"] {
        if cursor.sees(what) {
            let only = "owners grant on what they own, and admins on everything";
            return Err(cursor.unsupported(what).with_hint(only));
        }
    }
    Ok(Statement::Rights(statement))
}

/// `REVOKE privileges ON what FROM who` or `REVOKE role FROM who`.
pub(crate) fn revoke(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("REVOKE")?;
    for what in ["GRANT OPTION FOR", "ADMIN OPTION FOR"] {
        if cursor.sees(what) {
            return Err(cursor.unsupported(what));
        }
    }
    let statement = if is_about_roles(cursor) {
        let roles = principals(cursor)?;
        cursor.expect("FROM")?;
        RightsStatement::RevokeRoles { roles, from: principals(cursor)? }
    } else {
        let granted = granted(cursor)?;
        cursor.expect("FROM")?;
        RightsStatement::Revoke { granted, from: principals(cursor)? }
    };
    for what in ["CASCADE", "RESTRICT"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("REVOKE … {what}"))
                .with_hint("leave it out: nothing depends on a grant"));
        }
    }
    Ok(Statement::Rights(statement))
}

/// Whether roles come next and no privileges: the list ends in TO or FROM, and not in ON.
fn is_about_roles(cursor: &Cursor<'_>) -> bool {
    let ahead = (0..).map(|n| cursor.peek_at(n));
    let until = ahead.take_while(|token| **token != Token::EOF);
    let mut words = until.filter_map(|token| match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    });
    words.find(|word| matches!(word.as_str(), "TO" | "FROM" | "ON")).is_some_and(|w| w != "ON")
}

fn granted(cursor: &mut Cursor<'_>) -> Result<Granted, SyntaxError> {
    let mut privileges = Vec::new();
    if cursor.take("ALL") {
        let _said = cursor.take("PRIVILEGES");
    } else {
        loop {
            privileges.push(privilege(cursor)?);
            if !cursor.take_token(&Token::Comma) {
                break;
            }
        }
    }
    cursor.expect("ON")?;
    let at = cursor.here();
    let on = securable(cursor)?;
    let of_columns = privileges.iter().any(|granted| !granted.columns.is_empty());
    if of_columns && !matches!(on, SecurableName::Object(_)) {
        return Err(SyntaxError::new(at, "columns are those of one table or view"));
    }
    Ok(Granted { privileges, on })
}

fn privilege(cursor: &mut Cursor<'_>) -> Result<PrivilegeOf, SyntaxError> {
    let at = cursor.here();
    let known = Privilege::ALL.into_iter().find(|privilege| cursor.sees(privilege.as_sql()));
    let Some(privilege) = known else {
        let words: Vec<_> = Privilege::ALL.iter().map(|p| p.as_sql()).chain(["ALL"]).collect();
        return Err(cursor.expected_one_of(&words));
    };
    cursor.take(privilege.as_sql());
    let mut columns = Vec::new();
    if matches!(cursor.peek(), Token::LParen) {
        if privilege != Privilege::Select {
            return Err(SyntaxError::unsupported(
                at,
                format!("{privilege} of single columns is not supported in this version"),
            )
            .with_hint("only SELECT can be granted on columns"));
        }
        columns = cursor.columns()?.into_iter().map(|(column, _)| column).collect();
    }
    Ok(PrivilegeOf { privilege, columns })
}

/// `CATALOG`, `SCHEMA s`, or the name of a table or view with or without the word for it.
fn securable(cursor: &mut Cursor<'_>) -> Result<SecurableName, SyntaxError> {
    let is_name = |cursor: &Cursor<'_>| {
        // A table may be called `schema`.
        matches!(cursor.peek_at(1), Token::Period)
            || ["TO", "FROM"].iter().any(|w| crate::tokens::is_unquoted(cursor.peek_at(1), w))
    };
    if cursor.sees("CATALOG") {
        let called = matches!(cursor.peek_at(1), Token::Word(_)) && !is_name(cursor);
        cursor.skip(1);
        if called {
            let at = cursor.here();
            let name = cursor.ident("the name of the catalog")?;
            if name != model::name::CATALOG {
                let only = model::name::CATALOG;
                let text = format!("catalog '{name}' does not exist; the only catalog is '{only}'");
                return Err(SyntaxError::new(at, text));
            }
        }
        return Ok(SecurableName::Catalog);
    }
    if !is_name(cursor) && (cursor.take("SCHEMA") || cursor.take("DATABASE")) {
        return Ok(SecurableName::Schema(cursor.name("the name of a schema")?));
    }
    if !is_name(cursor) {
        for what in ["MATERIALIZED VIEW", "STREAMING TABLE", "TABLE", "VIEW"] {
            if cursor.take(what) {
                break;
            }
        }
    }
    if cursor.sees("ALL TABLES") {
        return Err(cursor
            .unsupported("ON ALL TABLES")
            .with_hint("ON SCHEMA s holds for all tables that are and will be in it"));
    }
    let known = matches!(cursor.peek(), Token::Word(_));
    match known {
        true => Ok(SecurableName::Object(cursor.name("the name of a table or view")?)),
        false => Err(cursor.expected_one_of(&SECURABLES)),
    }
}

/// The name of a user or role.
fn principal(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    for what in ["USER", "ROLE", "GROUP"] {
        let a_name_follows = matches!(cursor.peek_at(1), Token::Word(_));
        if a_name_follows && cursor.take(what) {
            break;
        }
    }
    cursor.ident("the name of a user or role")
}

fn principals(cursor: &mut Cursor<'_>) -> Result<Vec<String>, SyntaxError> {
    let mut names = vec![principal(cursor)?];
    while cursor.take_token(&Token::Comma) {
        names.push(principal(cursor)?);
    }
    Ok(names)
}

/// After `ALTER TABLE t` and its like: `[SET] OWNER TO who`.
pub(crate) fn owner(
    cursor: &mut Cursor<'_>,
    object: OwnedObject,
) -> Result<Option<Statement>, SyntaxError> {
    if !(cursor.take("OWNER TO") || cursor.take("SET OWNER TO")) {
        return Ok(None);
    }
    let owner = principal(cursor)?;
    Ok(Some(Statement::Rights(RightsStatement::Owner { object, owner })))
}

/// After ALTER: `VIEW v OWNER TO who`, and nothing else.
pub(crate) fn alter_view(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let at = cursor.here();
    cursor.expect("VIEW")?;
    let name = cursor.name("the name of a view")?;
    match owner(cursor, OwnedObject { kind: Some(DropKind::View), name: name.clone() })? {
        Some(statement) => Ok(statement),
        None => match policy(cursor, &name)? {
            Some(statement) => Ok(statement),
            None => Err(SyntaxError::unsupported(
                at,
                "ALTER VIEW other than OWNER TO is not supported in this version",
            )
            .with_hint("create it again with CREATE OR REPLACE")),
        },
    }
}

/// After `ALTER TABLE t`: `SET ROW FILTER (condition)`, `DROP ROW FILTER`,
/// `ALTER COLUMN c SET MASK (expression)`, `ALTER COLUMN c DROP MASK`.
pub(crate) fn policy(
    cursor: &mut Cursor<'_>,
    target: &NameParts,
) -> Result<Option<Statement>, SyntaxError> {
    let action = if cursor.take("SET ROW FILTER") {
        PolicyAction::SetRowFilter(expression(cursor, "region = 'EMEA' OR has_role('sales')")?)
    } else if cursor.take("DROP ROW FILTER") {
        PolicyAction::DropRowFilter
    } else if cursor.sees("ALTER COLUMN") && is_about_masks(cursor) {
        cursor.skip(2);
        let column = cursor.ident("the name of a column")?;
        if cursor.take("DROP MASK") {
            PolicyAction::DropMask { column }
        } else {
            cursor.expect("SET MASK")?;
            let mask = expression(cursor, "CASE WHEN has_role('hr') THEN name END")?;
            PolicyAction::SetMask { column, mask }
        }
    } else {
        return Ok(None);
    };
    Ok(Some(Statement::Rights(RightsStatement::Policy { target: target.clone(), action })))
}

fn is_about_masks(cursor: &Cursor<'_>) -> bool {
    let says = |n: usize, word: &str| crate::tokens::is_unquoted(cursor.peek_at(n), word);
    (says(3, "SET") || says(3, "DROP")) && says(4, "MASK")
}

/// `(expression)`, as text. It may read other tables.
fn expression(cursor: &mut Cursor<'_>, example: &str) -> Result<String, SyntaxError> {
    if !cursor.take_token(&Token::LParen) {
        return Err(cursor
            .expected("an expression in parentheses")
            .with_hint(format!("write ({example})")));
    }
    let from = cursor.here();
    let read: Expr = cursor.expression()?;
    let text = cursor.text_until_here(from);
    if !cursor.take_token(&Token::RParen) {
        return Err(cursor.expected(")"));
    }
    cursor.refuse_parameters("a row filter or mask")?;
    // Read for what is wrong with it.
    cursor.finish(rows::select(vec![read], Vec::new(), None))?;
    Ok(text)
}

/// After SHOW: `GRANTS [ON what] [TO who]`, `ROLES`, `USERS`, `TOKENS`, as queries on system tables.
pub(crate) fn show(cursor: &mut Cursor<'_>) -> Result<Option<Statement>, SyntaxError> {
    if cursor.take("TOKENS") {
        return users::show_tokens(cursor).map(Some);
    }
    let text = if cursor.take("USERS") {
        "SELECT * FROM system.users ORDER BY name".to_owned()
    } else if cursor.take("ROLES") {
        "SELECT * FROM system.roles ORDER BY role, member".to_owned()
    } else if cursor.take("LIMITS") {
        "SELECT * FROM system.limits ORDER BY role, \"limit\"".to_owned()
    } else if cursor.take("GRANTS") {
        grants(cursor)?
    } else {
        return Ok(None);
    };
    parse(&text).map(Some)
}

/// A text as SQL has it.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn grants(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let mut conditions = Vec::new();
    if cursor.take("ON") {
        conditions.push(match securable(cursor)? {
            SecurableName::Catalog => "on_kind = 'CATALOG'".to_owned(),
            SecurableName::Schema(parts) => {
                let name = parts.last().map_or("", String::as_str);
                format!("on_kind = 'SCHEMA' AND on_name = {}", literal(name))
            }
            SecurableName::Object(parts) if parts.len() == 1 => {
                let in_default = format!("{}.{}", model::name::DEFAULT_SCHEMA, parts[0]);
                format!("on_name = {}", literal(&in_default))
            }
            SecurableName::Object(parts) => {
                let last_two = &parts[parts.len().saturating_sub(2)..];
                format!("on_name = {}", literal(&last_two.join(".")))
            }
        });
    }
    if cursor.take("TO") || cursor.take("FOR") {
        conditions.push(format!("grantee = {}", literal(&principal(cursor)?)));
    }
    let filter = match conditions.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", conditions.join(" AND ")),
    };
    Ok(format!("SELECT * FROM system.grants{filter} ORDER BY grantee, on_kind, on_name, privilege"))
}

#[cfg(test)]
mod tests;
