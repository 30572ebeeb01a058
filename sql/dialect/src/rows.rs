//! The query that says which rows of a table a statement is about.
//!
//! It exists because a statement that changes rows has no SELECT, and the planner reads queries
//! only. It never knows what becomes of the rows.

use std::ops::ControlFlow;

use sqlparser::{
    ast::{
        self, Expr, GroupByExpr, Ident, ObjectName, SelectFlavor, SelectItem, SetExpr, TableAlias,
        TableFactor, TableWithJoins, VisitMut, VisitorMut, helpers::attached_token::AttachedToken,
    },
    keywords::{Keyword, RESERVED_FOR_TABLE_ALIAS},
    tokenizer::Token,
};

use crate::{cursor::Cursor, error::SyntaxError, scope::ident_name, statement::NameParts};

/// Words that follow a table's name in a statement that changes it, and so are no alias.
const NO_ALIASES: [Keyword; 4] = [Keyword::WHEN, Keyword::VALUES, Keyword::INTO, Keyword::REPLACE];

/// The table that a statement is about, by the name that its rows go by.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: NameParts,
    parts: Vec<Ident>,
    alias: Ident,
}

impl Target {
    /// What its rows go by.
    pub(crate) fn ident(&self) -> &Ident {
        &self.alias
    }

    /// A name; its last part is what the rows go by. An old version cannot change.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let parts = match cursor.idents("the name of a table") {
            Ok(parts) => parts,
            Err(error) if cursor.travel(cursor.here()).is_some() => {
                return Err(error.with_hint(
                    "only the newest version of a table can change; RESTORE goes back to an old one",
                ));
            }
            Err(error) => return Err(error),
        };
        let Some(alias) = parts.last().cloned() else {
            return Err(cursor.expected("the name of a table"));
        };
        Ok(Self { name: parts.iter().map(ident_name).collect(), parts, alias })
    }

    /// `name [[AS] alias]`.
    pub(crate) fn read_with_alias(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let target = Self::read(cursor)?;
        let said = cursor.take("AS");
        let follows = match cursor.peek() {
            Token::Word(word) => {
                word.quote_style.is_some()
                    || !(RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword)
                        || NO_ALIASES.contains(&word.keyword))
            }
            _ => false,
        };
        if !said && !follows {
            return Ok(target);
        }
        let at = cursor.here();
        let mut names = cursor.idents("an alias")?;
        match names.pop() {
            Some(alias) if names.is_empty() => Ok(Self { alias, ..target }),
            _ => Err(SyntaxError::new(at, "an alias is a single name")),
        }
    }

    /// What its rows go by.
    pub(crate) fn alias(&self) -> String {
        ident_name(&self.alias)
    }

    /// The table as the first of a FROM clause.
    pub(crate) fn relation(&self) -> TableFactor {
        TableFactor::Table {
            name: ObjectName::from(self.parts.clone()),
            alias: Some(alias(self.alias.clone())),
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        }
    }

    /// `SELECT condition FROM target AS … WHERE condition`.
    pub(crate) fn fulfilling(&self, condition: Expr) -> Box<ast::Query> {
        let from = vec![TableWithJoins { relation: self.relation(), joins: Vec::new() }];
        let selected = crate::statement::on_large_stack(|| condition.clone());
        select(vec![selected], from, Some(condition))
    }
}

/// A table by its name, as if it had been written in a FROM clause.
pub(crate) fn named(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

/// `AS name`.
pub(crate) fn alias(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new(), at: None }
}

/// `SELECT expressions FROM from WHERE selection`, as if it had been written.
pub(crate) fn select(
    expressions: Vec<Expr>,
    from: Vec<TableWithJoins>,
    selection: Option<Expr>,
) -> Box<ast::Query> {
    let select = ast::Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: expressions.into_iter().map(SelectItem::UnnamedExpr).collect(),
        exclude: None,
        into: None,
        from,
        lateral_views: Vec::new(),
        prewhere: None,
        selection,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    };
    Box::new(ast::Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    })
}

/// Lets every name without a table in an expression mean a column of `side`; names within queries
/// have tables of their own to choose from, and stay.
pub(crate) fn bare_names_of(expr: &mut Expr, side: &Ident) {
    let _ = expr.visit(&mut BareNames { side, queries: 0 });
}

struct BareNames<'a> {
    side: &'a Ident,
    queries: usize,
}

impl VisitorMut for BareNames<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<()> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<()> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.queries == 0
            && let Expr::Identifier(name) = expr
        {
            *expr = Expr::CompoundIdentifier(vec![self.side.clone(), name.clone()]);
        }
        ControlFlow::Continue(())
    }
}
