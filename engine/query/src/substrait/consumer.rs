//! Reads the relations of a plan, over the tables that there are.
//!
//! The library's own reading is used where it does what the plan says. What it passes over in silence,
//! what it does not check before it uses it, and what would make a large plan of a short one is here.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use async_trait::async_trait;
use datafusion::{
    catalog::TableProvider,
    common::{Column, DFSchema, TableReference, not_impl_err, plan_err, substrait_err},
    datasource::provider_as_source,
    error::Result,
    execution::{FunctionRegistry, SessionState},
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, expr::Placeholder},
};
use datafusion_substrait::{
    extensions::Extensions,
    logical_plan::consumer::{
        SubstraitConsumer, from_aggregate_rel, from_field_reference, from_project_rel,
        from_read_rel, from_set_rel, from_substrait_named_struct, from_substrait_type,
    },
    substrait::proto::{
        AggregateRel, DynamicParameter, ExchangeRel, ProjectRel, ReadRel, Rel, SetRel,
        expression::{
            FieldReference, MaskExpression,
            field_reference::{ReferenceType, RootType},
            reference_segment,
        },
        extensions::AdvancedExtension,
        read_rel::ReadType,
        rel::RelType,
    },
};
use parking_lot::Mutex;
use prost::Message;

use super::emit::emit;
use crate::{resolve::Described, size, wire::wire_type};

/// Columns of one relation, expressions of one operator.
const COLUMNS_MAX: usize = 5_000;
/// Inputs of one UNION: each is a level of the plan.
const INPUTS_MAX: usize = 1_000;
/// Parameters of one plan.
const PARAMETERS_MAX: u32 = 10_000;

/// Which tables a plan is read over.
pub(super) enum Tables {
    /// None: their names are noted, and they have the columns that the plan says.
    Named,
    /// Those of the session.
    Found,
}

/// Reads one plan once.
pub(super) struct Consumer<'a> {
    extensions: &'a Extensions,
    state: &'a SessionState,
    tables: Tables,
    names: Mutex<Vec<Vec<String>>>,
    /// Schemas of the queries around the one that is read, the outermost first.
    outer: Mutex<Vec<Arc<DFSchema>>>,
    parameters: AtomicUsize,
    /// What is in the plan more than once though it is written once.
    copied: AtomicU64,
}

impl<'a> Consumer<'a> {
    pub(super) fn new(extensions: &'a Extensions, state: &'a SessionState, tables: Tables) -> Self {
        Self {
            extensions,
            state,
            tables,
            names: Mutex::default(),
            outer: Mutex::default(),
            parameters: AtomicUsize::default(),
            copied: AtomicU64::default(),
        }
    }

    /// The names of tables that were read.
    pub(super) fn into_names(self) -> Vec<Vec<String>> {
        self.names.into_inner()
    }

    /// How many parameters the plan takes.
    pub(super) fn parameters(&self) -> usize {
        self.parameters.load(Relaxed)
    }

    /// Counts parts that are copied.
    fn copies(&self, parts: u64) -> Result<()> {
        let before = self.copied.fetch_add(parts, Relaxed);
        match before.saturating_add(parts) > size::COPIED_MAX {
            false => Ok(()),
            true => plan_err!(
                "written out, with each view in the place of its name and each expression wherever it is \
                 used, the plan has more than {} parts more than were sent: keep a part of it as a table \
                 or a materialized view",
                size::COPIED_MAX
            ),
        }
    }

    /// A table of the catalog, with the columns that the plan takes it to have, in their order.
    async fn table(&self, names: &[String], read: &ReadRel) -> Result<LogicalPlan> {
        let Some(schema) = &read.base_schema else {
            return substrait_err!("a read of a table has to say its columns");
        };
        let claimed = from_substrait_named_struct(self, schema)?;
        let table = match names {
            [table] => TableReference::bare(table.as_str()),
            [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
            [catalog, schema, table] => {
                TableReference::full(catalog.as_str(), schema.as_str(), table.as_str())
            }
            _ => return substrait_err!("the name of a table has one to three parts"),
        };
        let provider: Arc<dyn TableProvider> = match self.tables {
            Tables::Named => {
                self.names.lock().push(names.to_vec());
                Arc::new(Described::new(Arc::clone(claimed.inner()), None))
            }
            Tables::Found => match self.resolve_table_ref(&table).await? {
                Some(provider) => provider,
                None => return plan_err!("table '{table}' does not exist"),
            },
        };
        if let Some(view) = provider.get_logical_plan() {
            self.copies(size::size_of(&view)?)?;
        }
        let source = provider_as_source(provider);
        let mut plan = LogicalPlanBuilder::scan(table.clone(), source, None)?;
        let mut columns = Vec::with_capacity(claimed.fields().len());
        for field in claimed.fields() {
            let (qualifier, found) =
                plan.schema().qualified_field_with_unqualified_name(field.name())?;
            let (has, says) = (wire_type(found.data_type()), wire_type(field.data_type()));
            if !DFSchema::datatype_is_logically_equal(&has, &says) {
                return plan_err!(
                    "the plan takes column '{}' of '{table}' for {says}, and it is {has}",
                    field.name()
                );
            }
            columns.push(Expr::Column(Column::from((qualifier, found))));
        }
        let kept = kept(read.projection.as_ref(), columns.len())?;
        if let Some(filter) = &read.filter {
            let claimed = claimed.replace_qualifier(table);
            plan = plan.filter(self.consume_expression(filter, &claimed).await?)?;
        }
        let columns: Vec<_> = match kept {
            Some(kept) => kept.into_iter().map(|n| columns[n].clone()).collect(),
            None => columns,
        };
        let all = plan.schema().iter().map(|field| Expr::Column(Column::from(field)));
        if !all.eq(columns.iter().cloned()) {
            plan = plan.project(columns)?;
        }
        plan.build()
    }
}

#[async_trait]
impl SubstraitConsumer for Consumer<'_> {
    async fn resolve_table_ref(
        &self,
        table: &TableReference,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        self.state.schema_for_ref(table.clone())?.table(table.table()).await
    }

    fn get_extensions(&self) -> &Extensions {
        self.extensions
    }

    fn get_function_registry(&self) -> &impl FunctionRegistry {
        self.state
    }

    async fn consume_rel(&self, rel: &Rel) -> Result<LogicalPlan> {
        let (plan, common, extension) = match &rel.rel_type {
            Some(RelType::Read(rel)) => {
                (self.consume_read(rel).await?, &rel.common, &rel.advanced_extension)
            }
            Some(RelType::Filter(rel)) => {
                required(&[&rel.input])?;
                (self.consume_filter(rel).await?, &rel.common, &rel.advanced_extension)
            }
            Some(RelType::Fetch(rel)) => {
                required(&[&rel.input])?;
                (self.consume_fetch(rel).await?, &rel.common, &rel.advanced_extension)
            }
            Some(RelType::Aggregate(rel)) => {
                required(&[&rel.input])?;
                (self.consume_aggregate(rel).await?, &rel.common, &rel.advanced_extension)
            }
            Some(RelType::Sort(rel)) => {
                required(&[&rel.input])?;
                (self.consume_sort(rel).await?, &rel.common, &rel.advanced_extension)
            }
            Some(RelType::Join(rel)) => {
                required(&[&rel.left, &rel.right])?;
                (self.consume_join(rel).await?, &rel.common, &rel.advanced_extension)
            }
            Some(RelType::Project(rel)) => {
                required(&[&rel.input])?;
                (self.consume_project(rel).await?, &rel.common, &rel.advanced_extension)
            }
            Some(RelType::Set(rel)) => {
                (self.consume_set(rel).await?, &rel.common, &rel.advanced_extension)
            }
            Some(RelType::Cross(rel)) => {
                required(&[&rel.left, &rel.right])?;
                (self.consume_cross(rel).await?, &rel.common, &rel.advanced_extension)
            }
            Some(RelType::Exchange(rel)) => {
                (self.consume_exchange(rel).await?, &rel.common, &rel.advanced_extension)
            }
            Some(RelType::Write(_) | RelType::Ddl(_) | RelType::Update(_)) => {
                return not_impl_err!("a Substrait plan that changes something: send SQL");
            }
            Some(_) => return not_impl_err!("a relation of this kind in a Substrait plan"),
            None => return substrait_err!("a relation without a kind"),
        };
        refuse_enhancement(extension.as_ref())?;
        let Some(common) = common else { return Ok(plan) };
        refuse_enhancement(common.advanced_extension.as_ref())?;
        emit(plan, common, COLUMNS_MAX, |parts| self.copies(parts))
    }

    async fn consume_read(&self, rel: &ReadRel) -> Result<LogicalPlan> {
        match &rel.read_type {
            Some(ReadType::NamedTable(table)) => {
                refuse_enhancement(table.advanced_extension.as_ref())?;
                self.table(&table.names, rel).await
            }
            Some(ReadType::VirtualTable(_)) if rel.filter.is_none() && rel.projection.is_none() => {
                from_read_rel(self, rel).await
            }
            Some(ReadType::VirtualTable(_)) => {
                not_impl_err!("a filter or a projection in a read of values")
            }
            Some(ReadType::LocalFiles(_)) => {
                not_impl_err!(
                    "files in a Substrait plan: read them with SQL, or make a table of them"
                )
            }
            _ => not_impl_err!("a read of this kind in a Substrait plan"),
        }
    }

    async fn consume_project(&self, rel: &ProjectRel) -> Result<LogicalPlan> {
        bounded(rel.expressions.len(), COLUMNS_MAX, "expressions")?;
        from_project_rel(self, rel).await
    }

    async fn consume_set(&self, rel: &SetRel) -> Result<LogicalPlan> {
        bounded(rel.inputs.len(), INPUTS_MAX, "inputs")?;
        from_set_rel(self, rel).await
    }

    async fn consume_aggregate(&self, rel: &AggregateRel) -> Result<LogicalPlan> {
        bounded(rel.measures.len(), COLUMNS_MAX, "measures")?;
        bounded(rel.grouping_expressions.len(), COLUMNS_MAX, "grouping expressions")?;
        for grouping in &rel.groupings {
            bounded(grouping.expression_references.len(), COLUMNS_MAX, "grouping expressions")?;
            for reference in &grouping.expression_references {
                let expression = usize::try_from(*reference).ok();
                match expression.and_then(|n| rel.grouping_expressions.get(n)) {
                    Some(expression) => self.copies(expression.encoded_len() as u64)?,
                    None => return substrait_err!("there is no grouping expression {reference}"),
                }
            }
        }
        from_aggregate_rel(self, rel).await
    }

    /// How rows are spread over partitions is for the planner to say.
    async fn consume_exchange(&self, rel: &ExchangeRel) -> Result<LogicalPlan> {
        match &rel.input {
            Some(input) => self.consume_rel(input).await,
            None => substrait_err!("a relation lacks its input"),
        }
    }

    async fn consume_field_reference(
        &self,
        reference: &FieldReference,
        schema: &DFSchema,
    ) -> Result<Expr> {
        let width = match &reference.root_type {
            Some(RootType::OuterReference(outer)) => {
                let outer = self.get_outer_schema(outer.steps_out as usize);
                outer.map_or(0, |schema| schema.fields().len())
            }
            _ => schema.fields().len(),
        };
        if let Some(ReferenceType::DirectReference(segment)) = &reference.reference_type
            && let Some(reference_segment::ReferenceType::StructField(field)) =
                &segment.reference_type
        {
            index(field.field, width)?;
        }
        from_field_reference(self, reference, schema).await
    }

    async fn consume_dynamic_parameter(
        &self,
        parameter: &DynamicParameter,
        _: &DFSchema,
    ) -> Result<Expr> {
        let number = parameter.parameter_reference;
        if number >= PARAMETERS_MAX {
            return plan_err!("a plan has at most {PARAMETERS_MAX} parameters");
        }
        self.parameters.fetch_max(number as usize + 1, Relaxed);
        let id = format!("${}", number + 1);
        let field = match &parameter.r#type {
            None => None,
            Some(declared) => {
                let declared = from_substrait_type(self, declared, &[], &mut 0)?;
                Some(Arc::new(arrow::datatypes::Field::new(&id, declared, true)))
            }
        };
        Ok(Expr::Placeholder(Placeholder::new_with_field(id, field)))
    }

    fn push_outer_schema(&self, schema: Arc<DFSchema>) {
        self.outer.lock().push(schema);
    }

    fn pop_outer_schema(&self) {
        self.outer.lock().pop();
    }

    fn get_outer_schema(&self, steps_out: usize) -> Option<Arc<DFSchema>> {
        let outer = self.outer.lock();
        outer.len().checked_sub(steps_out).and_then(|n| outer.get(n).cloned())
    }
}

/// What a plan says beside Substrait itself may mean anything when it is called an enhancement.
pub(super) fn refuse_enhancement(extension: Option<&AdvancedExtension>) -> Result<()> {
    match extension.is_some_and(|extension| extension.enhancement.is_some()) {
        true => not_impl_err!("enhancements of Substrait"),
        false => Ok(()),
    }
}

/// A number that counts columns.
pub(super) fn index(number: i32, width: usize) -> Result<usize> {
    match usize::try_from(number) {
        Ok(index) if index < width => Ok(index),
        _ => substrait_err!("there is no column {number}: the input has {width} of them"),
    }
}

pub(super) fn bounded(count: usize, max: usize, what: &str) -> Result<()> {
    match count <= max {
        true => Ok(()),
        false => plan_err!("a relation of a plan has at most {max} {what}, and this one {count}"),
    }
}

fn required(inputs: &[&Option<Box<Rel>>]) -> Result<()> {
    match inputs.iter().all(|input| input.is_some()) {
        true => Ok(()),
        false => substrait_err!("a relation lacks its input"),
    }
}

/// The columns that a read keeps; `None` for all of them.
fn kept(mask: Option<&MaskExpression>, width: usize) -> Result<Option<Vec<usize>>> {
    let Some(columns) = mask.and_then(|mask| mask.select.as_ref()) else { return Ok(None) };
    let kept = columns.struct_items.iter().map(|item| {
        if item.child.is_some() {
            return not_impl_err!("a part of a column in the projection of a read");
        }
        index(item.field, width)
    });
    kept.collect::<Result<_>>().map(Some)
}
