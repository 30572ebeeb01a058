//! `has_table_privilege` and its like: what the user of the session may do, as it would be allowed.
//!
//! What another user may do is not told: the answer is NULL, which no tool takes for a yes.

use datafusion::common::ScalarValue;
use model::{
    name::RESERVED_SCHEMAS,
    object::{Object, ObjectKind},
    rights::{Columns, Privilege, Rights},
};

use super::{
    functions::{string, truth},
    known::{Known, Relation},
    tables,
};

/// What somebody may do with a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) owns: bool,
    /// The columns that may be read; `None` for none.
    select: Option<Columns>,
    insert: bool,
    update: bool,
    delete: bool,
}

impl Allowed {
    /// Everybody reads what the server tells of itself.
    pub(super) fn to_read() -> Self {
        let select = Some(Columns::All);
        Self { owns: false, select, insert: false, update: false, delete: false }
    }

    /// Views and transforms are written by nobody, whatever was granted.
    pub(super) fn of(rights: &Rights, object: &Object) -> Self {
        let takes_rows = object.kind() == ObjectKind::Table;
        let may = |privilege| takes_rows && rights.allows(privilege, object);
        Self {
            owns: rights.owns(object),
            select: rights.columns(object),
            insert: may(Privilege::Insert),
            update: may(Privilege::Update),
            delete: may(Privilege::Delete),
        }
    }

    /// Whether all of it may be used so: `SELECT`, `insert with grant option`.
    pub(super) fn may(&self, privilege: &str) -> bool {
        self.asked(privilege, |columns| *columns == Columns::All)
    }

    /// Whether one of its columns may be used so.
    fn may_with_some(&self, privilege: &str) -> bool {
        self.asked(privilege, |_| true)
    }

    /// Whether this column may be used so.
    pub(super) fn may_with(&self, column: &str, privilege: &str) -> bool {
        self.asked(privilege, |columns| match columns {
            Columns::All => true,
            Columns::Some(names) => names.contains(column),
        })
    }

    fn asked(&self, privilege: &str, columns: impl Fn(&Columns) -> bool) -> bool {
        let privilege = privilege.trim().to_uppercase();
        let (word, grants) = match privilege.strip_suffix(" WITH GRANT OPTION") {
            Some(word) => (word.trim_end(), true),
            None => (privilege.as_str(), false),
        };
        let may = match word {
            "SELECT" => self.select.as_ref().is_some_and(columns),
            "INSERT" => self.insert,
            "UPDATE" => self.update,
            "DELETE" | "TRUNCATE" => self.delete,
            _ => false,
        };
        may && (!grants || self.owns)
    }
}

/// The arguments behind the user that may stand before `count` others, when it is the one who asks.
fn asked_for<'a>(
    known: &Known,
    arguments: &'a [ScalarValue],
    count: usize,
) -> Option<&'a [ScalarValue]> {
    if arguments.len() <= count {
        return Some(arguments);
    }
    let user = string(arguments, 0)?;
    let is_self = user == known.user || user.parse().is_ok_and(|oid: i64| oid == known.user_oid());
    is_self.then_some(&arguments[1..])
}

fn answer(answer: Option<bool>) -> ScalarValue {
    ScalarValue::Boolean(answer)
}

/// Whether one of the privileges of a list is held.
fn any(asked: &str, may: impl Fn(&str) -> bool) -> bool {
    asked.split(',').any(may)
}

/// By its number or by its name.
fn relation<'a>(known: &'a Known, text: &str) -> Option<&'a Relation> {
    match text.trim().parse() {
        Ok(oid) => known.relation(oid),
        Err(_) => known.named(text),
    }
}

/// Asks the rights on a relation; the catalog itself is there to be read.
fn on_relation(
    known: &Known,
    text: &str,
    asked: &str,
    may: impl Fn(&Allowed, &str) -> bool,
) -> Option<bool> {
    match relation(known, text) {
        Some(relation) => Some(any(asked, |one| may(&relation.allowed, one))),
        None if tables::catalog_oid(text).is_some() => {
            Some(any(asked, |one| may(&Allowed::to_read(), one)))
        }
        None => None,
    }
}

pub(super) fn has_table_privilege(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    answer(
        asked_for(known, arguments, 2).and_then(|asked| {
            on_relation(known, &string(asked, 0)?, &string(asked, 1)?, Allowed::may)
        }),
    )
}

pub(super) fn has_any_column_privilege(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    answer(asked_for(known, arguments, 2).and_then(|asked| {
        on_relation(known, &string(asked, 0)?, &string(asked, 1)?, Allowed::may_with_some)
    }))
}

pub(super) fn has_column_privilege(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    answer(asked_for(known, arguments, 3).and_then(|asked| {
        let table = string(asked, 0)?;
        let column = string(asked, 1)?;
        // By its number or by its name.
        let named = match (column.parse::<usize>(), relation(known, &table)) {
            (Ok(number), Some(relation)) => relation.column_name(number.checked_sub(1)?).to_owned(),
            _ => column,
        };
        on_relation(known, &table, &string(asked, 2)?, |allowed, one| allowed.may_with(&named, one))
    }))
}

pub(super) fn has_schema_privilege(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    answer(asked_for(known, arguments, 2).and_then(|asked| {
        let (text, privileges) = (string(asked, 0)?, string(asked, 1)?);
        let namespace = match text.trim().parse::<i64>() {
            Ok(oid) => known.namespaces.iter().find(|namespace| namespace.oid == oid),
            Err(_) => known.namespace(&text),
        }?;
        let name = namespace.name.as_str();
        let creates = !RESERVED_SCHEMAS.contains(&name)
            && name != super::SCHEMA
            && known.rights.allows_in(Privilege::Create, name);
        Some(any(&privileges, |one| match one.trim().to_uppercase().as_str() {
            "USAGE" => true,
            "CREATE" => creates,
            _ => false,
        }))
    }))
}

pub(super) fn has_database_privilege(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    answer(asked_for(known, arguments, 2).and_then(|asked| {
        Some(any(&string(asked, 1)?, |one| match one.trim().to_uppercase().as_str() {
            "CONNECT" => true,
            "CREATE" => known.rights.allows_everywhere(Privilege::Create),
            _ => false,
        }))
    }))
}

pub(super) fn has_role(known: &Known, arguments: &[ScalarValue]) -> ScalarValue {
    answer(asked_for(known, arguments, 2).and_then(|asked| {
        let text = string(asked, 0)?;
        let role = match text.parse::<i64>() {
            Ok(oid) => &known.role(oid)?.name,
            Err(_) => &text,
        };
        Some(known.rights.is_admin() || known.rights.is_member(role))
    }))
}

/// There is nothing of the kind that would be forbidden to somebody.
pub(super) fn always(_: &Known, _: &[ScalarValue]) -> ScalarValue {
    truth(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_are_read_as_postgres_writes_them() {
        let some = Columns::Some(["a".to_owned()].into());
        let allowed = Allowed { insert: true, select: Some(some), ..Allowed::to_read() };
        assert!(!allowed.may("SELECT"));
        assert!(allowed.may_with_some("select"));
        assert!(allowed.may_with("a", "SELECT") && !allowed.may_with("b", "SELECT"));
        assert!(allowed.may(" insert ") && !allowed.may("INSERT WITH GRANT OPTION"));
        assert!(!allowed.may("UPDATE") && !allowed.may("TRUNCATE") && !allowed.may("REFERENCES"));
        assert!(any("DELETE, INSERT", |one| allowed.may(one)));
    }
}
