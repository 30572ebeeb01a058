//! The query of a statement, checked and planned for the first time.

use datafusion::{
    logical_expr::LogicalPlan,
    sql::parser::{DFParser, Statement as DataFusionStatement},
};
use dialect::statement::Query;

use super::Inner;
use crate::{
    authorize,
    error::QueryError,
    plan,
    resolve::{Hidden, Purpose, Resolved},
    session::Session,
    untyped,
};

/// A statement's query with its plan, parameters still open.
pub(crate) struct Checked {
    pub(crate) resolved: Resolved,
    pub(crate) plan: LogicalPlan,
    pub(crate) parameters: usize,
    /// Whether the parameters were taken for text, because the plan needed types.
    pub(crate) guessed: bool,
}

/// Plans the query of a statement, or its EXPLAIN.
pub(crate) async fn check_query(
    inner: &Inner,
    session: &Session,
    query: &Query,
    explain: Option<Explain>,
) -> Result<Checked, QueryError> {
    let purpose = match explain {
        Some(Explain { analyze: false, .. }) => Purpose::Describe,
        _ => Purpose::Read,
    };
    let resolved = inner.resolve(session, query.into(), purpose).await?;
    if explain.is_some() {
        may_explain(inner, session, &resolved).await?;
    }
    let mut guessed = false;
    let plan = match explain {
        None => match plan::logical(&resolved.state, query).await {
            Err(error) if query.parameters > 0 => {
                guessed = true;
                let as_text = plan::logical(&resolved.state, &untyped::as_text(query)).await;
                as_text.map_err(|_| error)?
            }
            other => other?,
        },
        Some(explain) => plan::logical_from(&resolved.state, explain.statement(query)?).await?,
    };
    Ok(Checked { resolved, plan, parameters: query.parameters, guessed })
}

/// A plan tells of values: those of a policy or of a view, and those by which files are left out.
pub(crate) async fn may_explain(
    inner: &Inner,
    session: &Session,
    resolved: &Resolved,
) -> Result<(), QueryError> {
    let rights = inner.rights(session.principal()).await?;
    let what = match resolved.hidden_from(&rights) {
        None => return Ok(()),
        Some(Hidden::Part(table)) => {
            format!("see the plan of a query on '{table}', of which it sees a part only")
        }
        Some(Hidden::Other) => {
            format!("see the plan of a query that reads what '{}' may not", rights.name())
        }
    };
    Err(authorize::denied(&rights, &what, "whoever owns the tables may EXPLAIN the query"))
}

/// How to explain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Explain {
    pub(crate) analyze: bool,
    pub(crate) verbose: bool,
}

impl Explain {
    /// DataFusion's own EXPLAIN of a query.
    fn statement(self, query: &Query) -> Result<DataFusionStatement, QueryError> {
        let analyze = if self.analyze { "ANALYZE " } else { "" };
        let verbose = if self.verbose { "VERBOSE " } else { "" };
        let mut parsed = DFParser::parse_sql(&format!("EXPLAIN {analyze}{verbose}SELECT 1"))?;
        match parsed.pop_front() {
            Some(DataFusionStatement::Explain(mut explain)) => {
                let query = datafusion::sql::sqlparser::ast::Statement::Query(query.ast.clone());
                *explain.statement = DataFusionStatement::Statement(Box::new(query));
                Ok(DataFusionStatement::Explain(explain))
            }
            _ => Err(QueryError::Unsupported("EXPLAIN of this statement".to_owned())),
        }
    }
}
