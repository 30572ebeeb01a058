//! What becomes of each row that a change is about: the first clause that fits decides, and the row's
//! columns get the values of that clause.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::{
    common::{Column, DFSchema, ScalarValue, TableReference, tree_node::TreeNode},
    execution::SessionState,
    logical_expr::{
        Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, expr::Placeholder, ident,
        lit, when,
    },
};
use dialect::statement::{Change, ChangeAction, ChangeClause, ChangeKind, When};
use lake::{CHANGE_COLUMN, FILE_COLUMN, ROW_COLUMN, Repeats, RowChange, Snapshot};

use super::{
    generated::{self, Computed, Rows},
    struct_values,
};
use crate::{barrier, error::QueryError};

/// Says of a joined row that it has a source row. No column of a table holds this character.
pub(super) const SOURCE_COLUMN: &str = "@source";
/// The number of the clause that decides about a row.
const CLAUSE_COLUMN: &str = "@clause";

/// Where the columns are in the rows that a change is about.
pub(super) struct Places {
    target: TableReference,
    pub(super) source: Option<TableReference>,
}

impl Places {
    pub(super) fn find(schema: &DFSchema) -> Option<Self> {
        let of = |column: &str| {
            let mut found = schema.iter().filter(|(_, field)| field.name() == column);
            found.next().and_then(|(qualifier, _)| qualifier.cloned())
        };
        Some(Self { target: of(ROW_COLUMN)?, source: of(SOURCE_COLUMN) })
    }

    fn target(&self, column: &str) -> Expr {
        Expr::Column(Column::new(Some(self.target.clone()), column))
    }

    fn source(&self, column: &str) -> Expr {
        Expr::Column(Column::new(self.source.clone(), column))
    }
}

/// A change over planned rows.
pub(super) struct Changes<'a> {
    pub(super) change: &'a Change,
    pub(super) target: &'a Snapshot,
    /// The columns that rows have afterwards.
    pub(super) table: SchemaRef,
    pub(super) values: &'a [Expr],
    pub(super) places: Places,
    pub(super) patched: Option<Vec<usize>>,
    pub(super) state: &'a SessionState,
}

impl Changes<'_> {
    /// A row that would become two different ones is an error; one that only goes is not.
    pub(super) fn repeats(&self, input: &LogicalPlan) -> Repeats {
        let updates = self.change.clauses.iter().any(|clause| {
            matches!(clause.action, ChangeAction::Update(_) | ChangeAction::UpdateAll)
        });
        if !updates {
            return Repeats::Once;
        }
        let mut keys = Vec::new();
        let of_target = |column: &&Column| column.relation.as_ref() == Some(&self.places.target);
        if let LogicalPlan::Join(join) = input {
            let pairs = join.on.iter().flat_map(|(left, right)| [left, right]);
            for expr in pairs.chain(&join.filter) {
                for column in expr.column_refs().into_iter().filter(of_target) {
                    if !keys.contains(&column.name) {
                        keys.push(column.name.clone());
                    }
                }
            }
        }
        keys.sort_by_key(|key| self.target.schema().index_of(key).ok());
        Repeats::Refused { keys }
    }

    /// The plan that the lake expects: places, what becomes of the row, the new row.
    pub(super) fn plan(&self, input: LogicalPlan) -> Result<LogicalPlan, QueryError> {
        if self.change.kind != ChangeKind::Merge {
            let [clause] = self.change.clauses.as_slice() else {
                return Err(QueryError::Unsupported("this form of a change".to_owned()));
            };
            let schema = Arc::clone(input.schema());
            let mut items = self.leading(lit(kind_of(&clause.action)));
            items.extend(self.row(&clause.action, &schema)?);
            let plan = LogicalPlanBuilder::from(input).project(items)?.build()?;
            return self.with_generated(plan, |field| {
                match self.gives(&clause.action, field.name(), &schema) {
                    true => Computed::Nowhere,
                    false => Computed::Everywhere,
                }
            });
        }
        self.check_sides()?;
        let input = if self.may_fail()? { barrier::above(input) } else { input };
        let mut decided: Vec<Expr> =
            input.schema().columns().into_iter().map(Expr::Column).collect();
        decided.push(self.deciding()?.alias(CLAUSE_COLUMN));
        let clause = ident(CLAUSE_COLUMN);
        let input = LogicalPlanBuilder::from(input)
            .project(decided)?
            .filter(clause.clone().is_not_null())?
            .build()?;
        let schema = Arc::clone(input.schema());
        let kinds = self.change.clauses.iter().map(|c| lit(kind_of(&c.action)));
        let mut items = self.leading(self.by_clause(kinds.collect())?);
        let rows = self
            .change
            .clauses
            .iter()
            .map(|clause| self.row(&clause.action, &schema))
            .collect::<Result<Vec<_>, _>>()?;
        for (n, field) in self.table.fields().iter().enumerate() {
            let values = rows.iter().map(|row| row[n].clone().unalias()).collect();
            items.push(self.by_clause(values)?.alias(field.name()));
        }
        items.push(clause.clone());
        let plan = LogicalPlanBuilder::from(input).project(items)?.build()?;
        self.with_generated(plan, |field| {
            let gives = |clause: &ChangeClause| self.gives(&clause.action, field.name(), &schema);
            let all = || self.change.clauses.iter().enumerate();
            let computing: Vec<Expr> =
                all().filter(|(_, clause)| !gives(clause)).map(|(n, _)| lit(number(n))).collect();
            match computing.len() {
                0 => Computed::Nowhere,
                some if some == self.change.clauses.len() => Computed::Everywhere,
                _ => Computed::Where(clause.clone().in_list(computing, false)),
            }
        })
    }

    /// The plan that the lake expects, with values in the generated columns.
    fn with_generated(
        &self,
        plan: LogicalPlan,
        computed: impl Fn(&Field) -> Computed,
    ) -> Result<LogicalPlan, QueryError> {
        let leading = self.leading(lit(0)).len();
        generated::filled(self.state, &self.table, Rows { plan, leading }, computed)
    }

    /// Whether an action gives a value to a column that is generated.
    fn gives(&self, action: &ChangeAction, column: &str, schema: &DFSchema) -> bool {
        match action {
            ChangeAction::Delete => false,
            ChangeAction::Update(assignments) => assignments.iter().any(|(name, _)| name == column),
            ChangeAction::Insert { columns, .. } => {
                columns.is_empty() || columns.iter().any(|name| name == column)
            }
            ChangeAction::UpdateAll | ChangeAction::InsertAll => {
                self.of_source(column, schema).is_ok()
            }
        }
    }

    fn leading(&self, kind: Expr) -> Vec<Expr> {
        vec![
            self.places.target(FILE_COLUMN).alias(FILE_COLUMN),
            self.places.target(ROW_COLUMN).alias(ROW_COLUMN),
            kind.alias(CHANGE_COLUMN),
        ]
    }

    /// The number of the first clause that fits a row; NULL when none does. A condition is asked only of
    /// the rows that its clause is about: of others it may fail.
    fn deciding(&self) -> Result<Expr, QueryError> {
        let target_is = self.places.target(ROW_COLUMN).is_not_null();
        let source_is = self.places.source(SOURCE_COLUMN).is_not_null();
        let mut cases = Vec::new();
        for (kind, pair) in [
            (When::Matched, target_is.and(source_is)),
            (When::NotMatchedByTarget, self.places.target(ROW_COLUMN).is_null()),
            (When::NotMatchedBySource, self.places.source(SOURCE_COLUMN).is_null()),
        ] {
            let clauses = self.change.clauses.iter().enumerate();
            let mut fitting = Vec::new();
            for (n, clause) in clauses.filter(|(_, clause)| clause.when == kind) {
                let fits = clause.condition.map_or(Ok(lit(true)), |n| self.value(n))?;
                fitting.push((fits, lit(number(n))));
            }
            if !fitting.is_empty() {
                cases.push((pair, case(fitting)?));
            }
        }
        case(cases)
    }

    /// Whether a condition may fail, so that it must not come to rows before it is known which these are.
    fn may_fail(&self) -> Result<bool, QueryError> {
        let conditions = self.change.clauses.iter().filter_map(|clause| clause.condition);
        for condition in conditions {
            let fails = self.value(condition)?.exists(|expr| {
                Ok(match expr {
                    Expr::BinaryExpr(binary) => !matches!(
                        binary.op,
                        Operator::Eq
                            | Operator::NotEq
                            | Operator::Lt
                            | Operator::LtEq
                            | Operator::Gt
                            | Operator::GtEq
                            | Operator::IsDistinctFrom
                            | Operator::IsNotDistinctFrom
                            | Operator::And
                            | Operator::Or
                    ),
                    Expr::Column(_)
                    | Expr::Literal(..)
                    | Expr::Placeholder(_)
                    | Expr::Alias(_)
                    | Expr::Not(_)
                    | Expr::IsNull(_)
                    | Expr::IsNotNull(_)
                    | Expr::IsTrue(_)
                    | Expr::IsFalse(_)
                    | Expr::IsUnknown(_)
                    | Expr::IsNotTrue(_)
                    | Expr::IsNotFalse(_)
                    | Expr::IsNotUnknown(_)
                    | Expr::Between(_)
                    | Expr::InList(_) => false,
                    _ => true,
                })
            })?;
            if fails {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Refuses a clause that names a side which its rows do not have: all that it would find is NULL.
    fn check_sides(&self) -> Result<(), QueryError> {
        for clause in &self.change.clauses {
            let has_no = |column: &Column| {
                let is_of_target = column.relation.as_ref() == Some(&self.places.target);
                match clause.when {
                    When::Matched => None,
                    When::NotMatchedByTarget => is_of_target.then_some("target"),
                    When::NotMatchedBySource => (!is_of_target).then_some("source"),
                }
            };
            let values: Vec<usize> = match &clause.action {
                ChangeAction::Update(assignments) => assignments.iter().map(|(_, n)| *n).collect(),
                ChangeAction::Insert { values, .. } => values.clone(),
                ChangeAction::Delete | ChangeAction::UpdateAll | ChangeAction::InsertAll => {
                    Vec::new()
                }
            };
            for n in clause.condition.into_iter().chain(values) {
                let value = self.value(n)?;
                let columns = value.column_refs();
                if let Some((column, side)) =
                    columns.iter().find_map(|column| Some((column, has_no(column)?)))
                {
                    let words = match clause.when {
                        When::NotMatchedBySource => "NOT MATCHED BY SOURCE",
                        When::Matched | When::NotMatchedByTarget => "NOT MATCHED",
                    };
                    return Err(QueryError::Invalid(format!(
                        "WHEN {words} is about rows without a {side}, and names its column '{}'",
                        column.flat_name()
                    )));
                }
            }
        }
        Ok(())
    }

    fn by_clause(&self, values: Vec<Expr>) -> Result<Expr, QueryError> {
        let first = values.first().cloned();
        match first {
            Some(first) if values.iter().all(|value| *value == first) => Ok(first),
            _ => {
                let clause = |n| ident(CLAUSE_COLUMN).eq(lit(number(n)));
                case(values.into_iter().enumerate().map(|(n, value)| (clause(n), value)).collect())
            }
        }
    }

    fn value(&self, n: usize) -> Result<Expr, QueryError> {
        let value = self.values.get(n).cloned();
        value.ok_or_else(|| QueryError::Unsupported("this form of a change".to_owned()))
    }

    /// The values that a row has after an action, one for each column of the table, of its type.
    fn row(&self, action: &ChangeAction, schema: &DFSchema) -> Result<Vec<Expr>, QueryError> {
        let table = Arc::clone(&self.table);
        let unknown = |column: &str| {
            let known = table.fields().iter().map(|field| field.name().as_str());
            QueryError::NoColumn {
                table: self.change.target.join("."),
                column: column.to_owned(),
                known: known.collect::<Vec<_>>().join(", "),
            }
        };
        let named: Vec<(&str, usize)> = match action {
            ChangeAction::Update(assignments) => {
                assignments.iter().map(|(column, n)| (column.as_str(), *n)).collect()
            }
            ChangeAction::Insert { columns, values } if columns.is_empty() => {
                let columns = table.fields().iter().map(|field| field.name().as_str());
                if values.len() != table.fields().len() {
                    return Err(QueryError::Invalid(format!(
                        "INSERT has {} values but the table has {} columns",
                        values.len(),
                        table.fields().len()
                    )));
                }
                columns.zip(values.iter().copied()).collect()
            }
            ChangeAction::Insert { columns, values } => {
                columns.iter().map(String::as_str).zip(values.iter().copied()).collect()
            }
            ChangeAction::Delete | ChangeAction::UpdateAll | ChangeAction::InsertAll => Vec::new(),
        };
        for (column, _) in &named {
            table.index_of(column).map_err(|_| unknown(column))?;
        }
        let old = self.target.schema();
        let is_old = |field: &Field| old.index_of(field.name()).is_ok();
        let mut row = Vec::with_capacity(table.fields().len());
        for (n, field) in table.fields().iter().enumerate() {
            let copied = matches!(action, ChangeAction::Update(_))
                && self.patched.as_ref().is_some_and(|columns| !columns.contains(&n));
            let is_computed = generated::expression_of(field).is_some()
                && !self.gives(action, field.name(), schema);
            let assigned = named.iter().find(|(column, _)| column == field.name());
            let value = match action {
                ChangeAction::Delete => lit(ScalarValue::try_from(field.data_type())?),
                _ if copied || is_computed => lit(ScalarValue::try_from(field.data_type())?),
                ChangeAction::UpdateAll | ChangeAction::InsertAll => {
                    match self.of_source(field.name(), schema) {
                        // What the source does not have stays as it is, or is NULL in a new row.
                        Err(_) if self.change.schema_evolution => match action {
                            ChangeAction::UpdateAll => self.places.target(field.name()),
                            _ => lit(ScalarValue::try_from(field.data_type())?),
                        },
                        value => value?,
                    }
                }
                ChangeAction::Update(_) | ChangeAction::Insert { .. } => match assigned {
                    Some((_, n)) => self.value(*n)?,
                    None if matches!(action, ChangeAction::Update(_)) && is_old(field) => {
                        self.places.target(field.name())
                    }
                    None => lit(ScalarValue::try_from(field.data_type())?),
                },
            };
            let value = typed(value, field.data_type(), schema).map_err(|error| {
                QueryError::Invalid(format!("column '{}': {error}", field.name()))
            })?;
            row.push(value.alias(field.name()));
        }
        Ok(row)
    }

    fn of_source(&self, column: &str, schema: &DFSchema) -> Result<Expr, QueryError> {
        let is_there = schema
            .iter()
            .any(|(from, field)| from == self.places.source.as_ref() && field.name() == column);
        if is_there {
            return Ok(self.places.source(column));
        }
        Err(QueryError::Invalid(format!(
            "the source has no column '{column}', which * needs; name the columns instead"
        )))
    }
}

/// The value as one of a column's type, under the rules of INSERT.
pub(super) fn typed(
    value: Expr,
    data_type: &DataType,
    schema: &DFSchema,
) -> Result<Expr, QueryError> {
    let value = match value {
        Expr::Placeholder(Placeholder { id, field: None }) => {
            let field = Field::new(&id, data_type.clone(), true);
            return Ok(Expr::Placeholder(Placeholder { id, field: Some(Arc::new(field)) }));
        }
        value => value,
    };
    if data_type.is_nested() {
        struct_values::keeps_fields(&value.get_type(schema)?, data_type)?;
    }
    let is_of_type = matches!(value, Expr::Column(_) | Expr::Literal(..));
    let cast = value.cast_to(data_type, schema)?;
    // The planner tells the type of a CASE before its branches are brought to one type.
    let said_of_type = !is_of_type && !matches!(cast, Expr::Cast(_));
    Ok(if said_of_type && !data_type.is_nested() {
        datafusion::logical_expr::cast(cast, data_type.clone())
    } else {
        cast
    })
}

fn kind_of(action: &ChangeAction) -> i8 {
    let kind = match action {
        ChangeAction::Delete => RowChange::Delete,
        ChangeAction::Update(_) | ChangeAction::UpdateAll => RowChange::Update,
        ChangeAction::Insert { .. } | ChangeAction::InsertAll => RowChange::Insert,
    };
    kind as i8
}

fn number(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn case(cases: Vec<(Expr, Expr)>) -> Result<Expr, QueryError> {
    let mut cases = cases.into_iter();
    let Some((first, value)) = cases.next() else {
        return Err(QueryError::Unsupported("a MERGE without clauses".to_owned()));
    };
    let mut builder = when(first, value);
    for (fits, value) in cases {
        builder = builder.when(fits, value);
    }
    Ok(builder.end()?)
}
