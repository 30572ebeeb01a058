//! `PARTITION (column = value, …)` of INSERT.
//!
//! It exists because scripts for Spark and Hive write one partition at a time. What it says becomes
//! the last columns of the query; which columns a table is partitioned by, it never knows.

use sqlparser::ast::{
    self, BinaryOperator, Expr, Ident, SelectItem, SetExpr, TableFactor, TableWithJoins,
    UnaryOperator, Value,
};
use sqlparser::tokenizer::{Location, Token};

use crate::{
    cursor::Cursor,
    error::SyntaxError,
    rows,
    scope::ident_name,
    statement::{Partition, on_large_stack},
};

/// A clause as it was read.
pub(super) struct Clause {
    at: Location,
    /// Columns with their values.
    fixed: Vec<(Ident, Expr)>,
    /// Columns without one.
    open: Vec<Ident>,
}

/// The clause, if it comes next.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Option<Clause>, SyntaxError> {
    let at = cursor.here();
    if !cursor.take("PARTITION") {
        return Ok(None);
    }
    let mut clause = Clause { at, fixed: Vec::new(), open: Vec::new() };
    cursor.expect_token(&Token::LParen)?;
    loop {
        let at = cursor.here();
        let column = cursor.written_ident("a column")?;
        let name = ident_name(&column);
        if clause.columns().any(|known| ident_name(known) == name) {
            return Err(SyntaxError::new(at, format!("PARTITION names the column '{name}' twice")));
        }
        if cursor.take_token(&Token::Eq) {
            let at = cursor.here();
            let value = cursor.expression()?;
            if !is_constant(&value) {
                return Err(SyntaxError::new(at, "the value of a partition is a constant")
                    .with_hint("leave PARTITION out, and select the value as one of the columns"));
            }
            clause.fixed.push((column, value));
        } else {
            clause.open.push(column);
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    Ok(Some(clause))
}

/// Whether an expression has one value whatever the row, and none that a client binds later.
fn is_constant(value: &Expr) -> bool {
    match value {
        Expr::Value(value) => !matches!(value.value, Value::Placeholder(_)),
        Expr::TypedString(_) => true,
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr }
        | Expr::Cast { expr, .. }
        | Expr::Nested(expr) => is_constant(expr),
        _ => false,
    }
}

impl Clause {
    fn columns(&self) -> impl Iterator<Item = &Ident> {
        self.fixed.iter().map(|(column, _)| column).chain(&self.open)
    }

    /// Refuses columns of a list that have their value already.
    pub(super) fn check_list(&self, columns: &[(String, Location)]) -> Result<(), SyntaxError> {
        let is_fixed =
            |name: &String| self.fixed.iter().any(|(column, _)| ident_name(column) == *name);
        match columns.iter().find(|(name, _)| is_fixed(name)) {
            Some((name, at)) => Err(SyntaxError::new(
                *at,
                format!("PARTITION gives the column '{name}' its value already"),
            )
            .with_hint("leave it out of one of them")),
            None => Ok(()),
        }
    }

    /// The rows that OVERWRITE is to replace. Engines disagree about those of a column without a value.
    pub(super) fn condition(&self) -> Result<Expr, SyntaxError> {
        let is_it = |(column, value): &(Ident, Expr)| {
            let column = Box::new(Expr::Identifier(column.clone()));
            match value {
                Expr::Value(null) if null.value == Value::Null => Expr::IsNull(column),
                value => Expr::BinaryOp {
                    left: column,
                    op: BinaryOperator::Eq,
                    right: Box::new(value.clone()),
                },
            }
        };
        let and = |left, right| Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::And,
            right: Box::new(right),
        };
        let conditions = self.fixed.iter().map(is_it).reduce(and);
        match conditions.filter(|_| self.open.is_empty()) {
            Some(condition) => Ok(condition),
            None => Err(SyntaxError::new(
                self.at,
                "OVERWRITE … PARTITION has to give each of its columns a value",
            )
            .with_hint(
                "leave PARTITION out to replace all rows; INSERT INTO t REPLACE WHERE condition \
                 replaces those of some partitions",
            )),
        }
    }

    /// The query with the values behind its columns, by their names if those are what counts.
    pub(super) fn append_to(&self, query: &mut Box<ast::Query>, by_name: bool) {
        if self.fixed.is_empty() {
            return;
        }
        if let SetExpr::Values(values) = query.body.as_mut()
            && !by_name
        {
            for row in &mut values.rows {
                row.content.extend(self.fixed.iter().map(|(_, value)| value.clone()));
            }
            return;
        }
        let items = self.fixed.iter().map(|(column, value)| SelectItem::ExprWithAlias {
            expr: value.clone(),
            alias: match by_name {
                true => column.clone(),
                // No column of the query has that name by chance.
                false => Ident::with_quote('"', format!("PARTITION {}", ident_name(column))),
            },
        });
        let items: Vec<SelectItem> = items.collect();
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.projection.extend(items);
            return;
        }
        let inner = on_large_stack(|| query.clone());
        let relation = TableFactor::Derived {
            lateral: false,
            subquery: inner,
            alias: Some(rows::alias(Ident::new("rows_of_partition"))),
            sample: None,
        };
        let from = vec![TableWithJoins { relation, joins: Vec::new() }];
        *query = rows::select(Vec::new(), from, None);
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.projection.push(SelectItem::Wildcard(ast::WildcardAdditionalOptions::default()));
            select.projection.extend(items);
        }
    }

    /// What is left for the planner.
    pub(super) fn named(&self) -> Partition {
        let names = |columns: &mut dyn Iterator<Item = &Ident>| columns.map(ident_name).collect();
        Partition {
            fixed: names(&mut self.fixed.iter().map(|(column, _)| column)),
            open: names(&mut self.open.iter()),
        }
    }
}
