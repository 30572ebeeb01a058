//! Queries in the words of Postgres, in the words of the planner.
//!
//! What is taken away changes no answer here: there is one collation, one operator of each name, and
//! a subquery over a table that is always empty has a known answer.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{
        AccessExpr, Array, ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, Function,
        FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, JoinOperator,
        ObjectName, ObjectNamePart, Query as Ast, Select, SelectItem,
        SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins,
        TimezoneInfo, Value, VisitMut, VisitorMut,
    },
    tokenizer::Span,
};
use dialect::statement::{Query, TableUse};

use super::{SCHEMA, empty, kinds, reads_catalog, tables};
use crate::error::QueryError;

/// The type `oid[]`.
const OIDS: u32 = 1028;

/// Functions that need to know the tables.
const ASK_FOR_TABLES: [&str; 20] = [
    "has_any_column_privilege",
    "has_column_privilege",
    "has_database_privilege",
    "has_schema_privilege",
    "has_table_privilege",
    "pg_get_userbyid",
    "pg_has_role",
    "to_regclass",
    "whimbrel_regclass",
    "whimbrel_regclass_name",
    "to_regnamespace",
    "whimbrel_namespace_name",
    "pg_get_viewdef",
    "pg_table_is_visible",
    "obj_description",
    "col_description",
    "pg_get_constraintdef",
    "pg_get_indexdef",
    "current_schemas",
    "pg_relation_size",
];

/// Rewrites a query. The parameters that it gives a type of Postgres alone, with that type's number.
pub(super) fn query(query: &mut Query) -> Result<Vec<(usize, u32)>, QueryError> {
    let mut catalog: Vec<String> = Vec::new();
    for table in &mut query.tables {
        if let Some(name) = tables::name_of(&table.name) {
            let parts = vec![SCHEMA.to_owned(), name.to_owned()];
            catalog.push(name.to_owned());
            *table = TableUse { name: parts.clone(), at: None, planned_name: parts };
        }
    }
    let mut walk = Walk { catalog, ..Walk::default() };
    let _ = query.ast.visit(&mut walk);
    query.tables.sort_by(|a, b| a.name.cmp(&b.name));
    query.tables.dedup();
    for table in walk.functions {
        reads_catalog(query, &table);
    }
    if walk.asks_for_tables {
        reads_catalog(query, "pg_class");
    }
    Ok(walk.parameters)
}

#[derive(Default)]
struct Walk {
    /// Tables of the catalog that are named.
    catalog: Vec<String>,
    /// Other names of them.
    aliases: Vec<(String, &'static str)>,
    /// Those that were written as functions.
    functions: Vec<String>,
    asks_for_tables: bool,
    /// Parameters of types that only Postgres has.
    parameters: Vec<(usize, u32)>,
}

impl VisitorMut for Walk {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let Some(parts) = idents(name) else { return ControlFlow::Continue(()) };
        let Some(table) = tables::name_of(&parts) else {
            if let (Some(_), [schema, function]) = (&args, parts.as_slice())
                && schema == SCHEMA
            {
                *name = ObjectName::from(vec![Ident::new(function.clone())]);
            }
            return ControlFlow::Continue(());
        };
        let known = self.catalog.iter().any(|known| known == table);
        if args.is_some() {
            *args = None;
            self.functions.push(table.to_owned());
        } else if !known {
            return ControlFlow::Continue(());
        }
        // A name that the query itself may use for it.
        if alias.is_none() {
            let name = Ident::new(parts.last().cloned().unwrap_or_default());
            *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        }
        *name = ObjectName::from(vec![Ident::new(SCHEMA), Ident::with_quote('"', table)]);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if self.catalog.is_empty() {
            return ControlFlow::Continue(());
        }
        for from in &select.from {
            self.aliases.extend(alias(&from.relation));
            self.aliases.extend(from.joins.iter().filter_map(|join| alias(&join.relation)));
        }
        // No row of it is ever seen, so nothing in it is ever asked.
        if from_nothing(select) {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                {
                    let _ = expr.visit(&mut Unasked);
                }
            }
        }
        rename_repeated(&mut select.projection);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // Before what is inside of it is looked at: it may be more than the planner can do.
        match expr {
            Expr::Subquery(query) if reads_nothing(query) => *expr = null(),
            Expr::Exists { subquery, negated } if reads_nothing(subquery) => {
                *expr = truth(*negated);
            }
            Expr::InSubquery { subquery, negated, .. } if reads_nothing(subquery) => {
                *expr = truth(*negated);
            }
            Expr::Subquery(query) => one_row(query),
            Expr::Case { .. } if !self.catalog.is_empty() => kinds::asked(expr),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let taken = std::mem::replace(expr, null());
        *expr = self.rewritten(taken);
        ControlFlow::Continue(())
    }
}

impl Walk {
    fn rewritten(&mut self, expr: Expr) -> Expr {
        match expr {
            Expr::CompoundFieldAccess { root, access_chain } if !self.catalog.is_empty() => {
                match access_chain.as_slice() {
                    [AccessExpr::Dot(Expr::Identifier(field))] => {
                        let field = text(&field.value.to_lowercase());
                        self.call("get_field", vec![*root, field])
                    }
                    _ => Expr::CompoundFieldAccess { root, access_chain },
                }
            }
            Expr::CompoundIdentifier(parts) if !self.catalog.is_empty() => self.column(parts),
            Expr::Collate { expr, collation } if is_by_bytes(&collation) => *expr,
            Expr::BinaryOp { left, op: BinaryOperator::PGCustomBinaryOperator(name), right } => {
                let op = operator(name);
                Expr::BinaryOp { left, op, right }
            }
            Expr::BinaryOp {
                left,
                op: op @ (BinaryOperator::Eq | BinaryOperator::NotEq),
                right,
            } if !self.catalog.is_empty() => self.compared(*left, op, *right),
            Expr::Like { negated, any, expr, pattern, escape_char: Some(escape) } => {
                match escaped(&pattern, &escape.value, !self.catalog.is_empty()) {
                    Some(pattern) => {
                        let pattern = Box::new(self.pattern(pattern));
                        Expr::Like { negated, any, expr, pattern, escape_char: None }
                    }
                    None => Expr::Like { negated, any, expr, pattern, escape_char: Some(escape) },
                }
            }
            Expr::Cast { kind, expr, data_type, array, format } => {
                self.cast(kind, expr, data_type, array, format)
            }
            Expr::Function(function) => self.function(function),
            Expr::Identifier(ident) if ident.quote_style.is_none() && is_variable(&ident.value) => {
                self.call(&ident.value.to_lowercase(), Vec::new())
            }
            other => other,
        }
    }

    /// `c.tableoid` is a column of every table, and no `*` has it.
    fn column(&self, parts: Vec<Ident>) -> Expr {
        let table = match parts.as_slice() {
            [alias, column] if column.value.eq_ignore_ascii_case("tableoid") => {
                let named = self.aliases.iter().rfind(|(name, _)| *name == alias.value);
                named.and_then(|(_, table)| tables::catalog_oid(table))
            }
            _ => None,
        };
        match table {
            Some(oid) => value(Value::Number(oid.to_string(), false)),
            None => Expr::CompoundIdentifier(parts),
        }
    }

    /// Comparisons of types that Postgres turns into each other.
    fn compared(&mut self, left: Expr, op: BinaryOperator, right: Expr) -> Expr {
        let (mut left, mut right) = (left, right);
        for _ in 0..2 {
            if is_column(&left, &TRUTHS)
                && let Some(word) = literal(&right)
                && let Some(found) = word_of_truth(word)
            {
                right = truth(found);
            } else if literal(&right).is_some_and(|text| text.starts_with('{'))
                && matches!(left, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
                && let Some(items) = literal(&right).and_then(items)
            {
                right = array_of(&items);
            } else if is_column(&left, &PROCEDURES) {
                if is_number(&right) {
                    // None: Postgres shows it so.
                    right = text("-");
                } else if matches!(right, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
                    left = self.call("to_regproc", vec![left]);
                }
            }
            std::mem::swap(&mut left, &mut right);
        }
        Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
    }

    /// A pattern whose escapes are backslashes.
    fn pattern(&mut self, pattern: Pattern) -> Expr {
        match pattern {
            Pattern::Literal(pattern) => text(&pattern),
            Pattern::Computed { pattern, escape } => {
                self.call("replace", vec![*pattern, text(&escape), text("\\")])
            }
        }
    }

    fn function(&mut self, mut function: Function) -> Expr {
        if let FunctionArguments::Subquery(_) = function.args {
            // ARRAY(SELECT …): of roles, of rights; there are none.
            let name = function.name.to_string();
            if name.eq_ignore_ascii_case("array") && !self.catalog.is_empty() {
                return Expr::Array(Array { elem: Vec::new(), named: true });
            }
        }
        if let Some(parts) = idents(&function.name)
            && let [schema, name] = parts.as_slice()
            && schema == SCHEMA
        {
            function.name = ObjectName::from(vec![Ident::new(name.clone())]);
        }
        let name = function.name.to_string().to_lowercase();
        if let FunctionArguments::None = function.args
            && is_variable(&name)
        {
            return self.call(&name, Vec::new());
        }
        if let Some(kind) = local_time(&name) {
            return Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(self.call("now", Vec::new())),
                data_type: kind,
                array: false,
                format: None,
            };
        }
        if name.ends_with("_pg_expandarray")
            && let FunctionArguments::List(list) = &function.args
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(items))) = list.args.first()
        {
            let numbered = self.call("whimbrel_numbered", vec![items.clone()]);
            return self.call("unnest", vec![numbered]);
        }
        if name == "generate_subscripts"
            && !self.catalog.is_empty()
            && let FunctionArguments::List(list) = &function.args
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(items))) = list.args.first()
        {
            // The numbers of a list's items, beside whatever else is unnested.
            let count = self.call("array_length", vec![items.clone()]);
            let count = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(count),
                data_type: DataType::BigInt(None),
                array: false,
                format: None,
            };
            let one = value(Value::Number("1".to_owned(), false));
            let numbers = self.call("generate_series", vec![one, count]);
            return self.call("unnest", vec![numbers]);
        }
        self.asks_for_tables |= ASK_FOR_TABLES.contains(&name.as_str());
        Expr::Function(function)
    }

    fn call(&mut self, name: &str, arguments: Vec<Expr>) -> Expr {
        self.asks_for_tables |= ASK_FOR_TABLES.contains(&name);
        let args = arguments
            .into_iter()
            .map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)))
            .collect();
        Expr::Function(Function {
            name: ObjectName::from(vec![Ident::new(name)]),
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args: FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: None,
                args,
                clauses: Vec::new(),
            }),
            filter: None,
            null_treatment: None,
            over: None,
            within_group: Vec::new(),
        })
    }

    fn cast(
        &mut self,
        kind: CastKind,
        expr: Box<Expr>,
        data_type: DataType,
        array: bool,
        format: Option<datafusion::sql::sqlparser::ast::CastFormat>,
    ) -> Expr {
        let as_type = |data_type| Expr::Cast {
            kind: kind.clone(),
            expr: expr.clone(),
            data_type,
            array,
            format: format.clone(),
        };
        let name = type_name(&data_type);
        let is_named = literal(&expr).is_some() || is_placeholder(&expr);
        match name.as_str() {
            "regclass" if is_named => self.call("whimbrel_regclass", vec![*expr]),
            "regclass" => self.call("whimbrel_regclass_name", vec![*expr]),
            "regtype" if is_named => self.call("to_regtype", vec![*expr]),
            "regtype" => self.call("format_type", vec![*expr, null()]),
            "regnamespace" if is_named => self.call("to_regnamespace", vec![*expr]),
            "regnamespace" => self.call("whimbrel_namespace_name", vec![*expr]),
            "regproc" | "regprocedure" if literal(&expr).is_some() => {
                text(literal(&expr).unwrap_or_default().trim_start_matches("pg_catalog."))
            }
            "oid" | "xid" | "cid" => as_type(DataType::BigInt(None)),
            "regproc" | "regprocedure" | "regoper" | "regoperator" | "regrole" | "regconfig"
            | "name" | "char" | "bpchar" | "text" | "varchar" | "sql_identifier"
            | "character_data" | "yes_or_no" | "cstring" | "tid" | "int2vector" | "oidvector"
            | "unknown" | "anyarray" | "aclitem" => as_type(DataType::Text),
            "int2" => as_type(DataType::SmallInt(None)),
            "int4" | "cardinal_number" => as_type(DataType::Int(None)),
            "int8" => as_type(DataType::BigInt(None)),
            "float8" => {
                as_type(DataType::Double(datafusion::sql::sqlparser::ast::ExactNumberInfo::None))
            }
            "bool" => as_type(DataType::Boolean),
            // There are no types of these names: their values are texts.
            _ if matches!(data_type, DataType::Uuid | DataType::JSON | DataType::JSONB) => {
                as_type(DataType::Text)
            }
            _ if is_oids(&data_type) && is_placeholder(&expr) => {
                self.parameters.extend(placeholder(&expr).map(|number| (number, OIDS)));
                let item = Box::new(DataType::BigInt(None));
                as_type(DataType::Array(ArrayElemTypeDef::SquareBracket(item, None)))
            }
            _ if matches!(data_type, DataType::Array(_)) => match literal(&expr).map(items) {
                Some(Some(items)) => array_of(&items),
                // What holds lists in the catalog is text already.
                _ if !self.catalog.is_empty() => *expr,
                _ => as_type(data_type),
            },
            _ => as_type(data_type),
        }
    }
}

/// The name that a FROM gives to a table of the catalog.
fn alias(factor: &TableFactor) -> Option<(String, &'static str)> {
    let TableFactor::Table { name, alias: Some(alias), .. } = factor else { return None };
    Some((alias.name.value.clone(), tables::name_of(&idents(name)?)?))
}

/// Texts are compared by their bytes, under whichever of these names.
fn is_by_bytes(collation: &ObjectName) -> bool {
    let name = idents(collation).and_then(|mut parts| parts.pop()).unwrap_or_default();
    matches!(name.as_str(), "default" | "C" | "c" | "POSIX" | "posix" | "ucs_basic")
}

/// Columns of the catalog that are true or false.
const TRUTHS: [&str; 16] = [
    "indisprimary",
    "indisunique",
    "indisvalid",
    "indisclustered",
    "indisreplident",
    "relhasindex",
    "relhasrules",
    "relhastriggers",
    "relispartition",
    "attnotnull",
    "atthasdef",
    "attisdropped",
    "condeferrable",
    "condeferred",
    "datistemplate",
    "datallowconn",
];

/// Columns of the catalog that hold a function.
const PROCEDURES: [&str; 6] =
    ["typinput", "typoutput", "typreceive", "typsend", "typmodin", "typmodout"];

fn is_column(expr: &Expr, names: &[&str]) -> bool {
    let name = match expr {
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(ident) => ident,
            None => return false,
        },
        _ => return false,
    };
    names.iter().any(|known| name.value.eq_ignore_ascii_case(known))
}

fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Number(..)))
}

fn word_of_truth(word: &str) -> Option<bool> {
    match word.to_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The pattern of a LIKE whose ESCAPE is another character than a backslash.
enum Pattern {
    Literal(String),
    /// One that is put together while the query runs; it has no backslashes of its own.
    Computed {
        pattern: Box<Expr>,
        escape: String,
    },
}

fn escaped(pattern: &Expr, escape: &Value, computed: bool) -> Option<Pattern> {
    let Value::SingleQuotedString(escape) = escape else { return None };
    let [escape] = escape.chars().collect::<Vec<_>>()[..] else { return None };
    if let Some(pattern) = literal(pattern) {
        let mut written = String::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            match c {
                c if c == escape => {
                    written.push('\\');
                    written.extend(chars.next());
                }
                '\\' => written.push_str("\\\\"),
                c => written.push(c),
            }
        }
        return Some(Pattern::Literal(written));
    }
    let (pattern, escape) = (Box::new(pattern.clone()), escape.to_string());
    computed.then_some(Pattern::Computed { pattern, escape })
}

/// Nothing in there is ever asked: subqueries need no plan.
struct Unasked;

impl VisitorMut for Unasked {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Subquery(_)) {
            *expr = null();
        }
        ControlFlow::Continue(())
    }
}

/// `SELECT c.oid, c.*`: Postgres takes two columns of one name, the planner does not. The one of the
/// star keeps its name: clients that look by name find that one.
fn rename_repeated(projection: &mut [SelectItem]) {
    let stars: Vec<String> = projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                Some(name.to_string())
            }
            _ => None,
        })
        .collect();
    for item in projection {
        let SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) = item else { continue };
        let [table, column] = parts.as_slice() else { continue };
        if stars.contains(&table.to_string()) {
            let alias = Ident::with_quote('"', format!("{}_1", column.value));
            *item =
                SelectItem::ExprWithAlias { expr: Expr::CompoundIdentifier(parts.clone()), alias };
        }
    }
}

/// What a clock of this place shows: that of the server is UTC.
fn local_time(function: &str) -> Option<DataType> {
    match function {
        "localtimestamp" => Some(DataType::Timestamp(None, TimezoneInfo::None)),
        "localtime" => Some(DataType::Time(None, TimezoneInfo::None)),
        _ => None,
    }
}

/// The last part of a type's name, for those that the SQL parser does not know as its own.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => {
            idents(name).and_then(|mut parts| parts.pop()).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// `OPERATOR(pg_catalog.~)` is `~`.
fn operator(name: Vec<String>) -> BinaryOperator {
    match name.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("~~*") => BinaryOperator::PGILikeMatch,
        Some("!~~") => BinaryOperator::PGNotLikeMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some(">") => BinaryOperator::Gt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">=") => BinaryOperator::GtEq,
        Some("+") => BinaryOperator::Plus,
        Some("-") => BinaryOperator::Minus,
        Some("||") => BinaryOperator::StringConcat,
        _ => BinaryOperator::PGCustomBinaryOperator(name),
    }
}

/// Names without brackets that stand for a value of the session.
fn is_variable(name: &str) -> bool {
    const VARIABLES: [&str; 6] = [
        "current_user",
        "session_user",
        "user",
        "current_role",
        "current_catalog",
        "current_schema",
    ];
    VARIABLES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether the query joins something with a table that is always empty, and counts nothing.
fn reads_nothing(query: &Ast) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    from_nothing(select) && !counts(select)
}

/// Whether one side of its joins is always empty.
fn from_nothing(select: &Select) -> bool {
    let is_empty = |factor: &TableFactor| match factor {
        TableFactor::Table { name, args: None, .. } => idents(name)
            .and_then(|parts| tables::name_of(&parts))
            .is_some_and(empty::is_always_empty),
        _ => false,
    };
    // Other joins could keep the rows of the other side.
    let keeps_nothing = |from: &TableWithJoins| {
        from.joins.iter().all(|join| {
            matches!(
                join.join_operator,
                JoinOperator::Join(_)
                    | JoinOperator::Inner(_)
                    | JoinOperator::Left(_)
                    | JoinOperator::LeftOuter(_)
                    | JoinOperator::CrossJoin(_)
            )
        })
    };
    select.from.iter().any(|from| is_empty(&from.relation) && keeps_nothing(from))
}

/// Whether it has a row even when there are none.
fn counts(select: &Select) -> bool {
    select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            matches!(expr, Expr::Function(function)
                if matches!(function.name.to_string().to_lowercase().as_str(),
                    "count" | "coalesce" | "array_agg" | "string_agg" | "sum" | "max" | "min"))
        }
        _ => false,
    })
}

/// The planner wants to see that a subquery has one row at most. One over the catalog has: Postgres
/// would refuse it otherwise.
fn one_row(query: &mut Ast) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let of_catalog = select.from.iter().all(|from| match &from.relation {
        TableFactor::Table { name, args: None, .. } => {
            idents(name).is_some_and(|parts| tables::name_of(&parts).is_some())
        }
        _ => false,
    });
    if select.from.is_empty() || !of_catalog || query.limit_clause.is_some() {
        return;
    }
    let [item] = select.projection.as_mut_slice() else { return };
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
        return;
    };
    if let Expr::Function(function) = expr {
        const AGGREGATES: [&str; 7] =
            ["count", "max", "min", "sum", "string_agg", "array_agg", "bool_or"];
        let name = function.name.to_string().to_lowercase();
        if AGGREGATES.contains(&name.trim_start_matches("pg_catalog.")) {
            return;
        }
    }
    let mut walk = Walk::default();
    let inner = std::mem::replace(expr, null());
    *expr = walk.call("max", vec![inner]);
    query.order_by = None;
}

fn idents(name: &ObjectName) -> Option<Vec<String>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) if ident.quote_style.is_none() => {
                Some(ident.value.to_lowercase())
            }
            ObjectNamePart::Identifier(ident) => Some(ident.value.clone()),
            ObjectNamePart::Function(_) => None,
        })
        .collect()
}

/// A text in quotes.
fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => literal(inner),
        Expr::Cast { expr, .. } => literal(expr),
        _ => None,
    }
}

fn is_placeholder(expr: &Expr) -> bool {
    placeholder(expr).is_some()
}

/// The number of a parameter.
fn placeholder(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name.strip_prefix('$')?.parse().ok(),
            _ => None,
        },
        Expr::Nested(expr) | Expr::Cast { expr, .. } => placeholder(expr),
        _ => None,
    }
}

/// Whether a type is `oid[]`.
fn is_oids(data_type: &DataType) -> bool {
    match data_type {
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(item, None) | ArrayElemTypeDef::AngleBracket(item),
        ) => type_name(item) == "oid",
        _ => false,
    }
}

/// The items of `'{a,b}'`.
fn items(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.contains(['"', '{', '\\']) {
        return None;
    }
    Some(
        inner
            .split(',')
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect(),
    )
}

fn array_of(items: &[String]) -> Expr {
    Expr::Array(Array { elem: items.iter().map(|item| text(item)).collect(), named: true })
}

pub(super) fn value(value: Value) -> Expr {
    Expr::Value(value.with_span(Span::empty()))
}

fn null() -> Expr {
    value(Value::Null)
}

fn truth(truth: bool) -> Expr {
    value(Value::Boolean(truth))
}

fn text(text: &str) -> Expr {
    value(Value::SingleQuotedString(text.to_owned()))
}
