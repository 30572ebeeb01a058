//! Temporary views: what only the other statements of the folder can read.
//!
//! A temporary view is no object. Its query is written into the statements that read it, before they are
//! compared with what is there and sent. So nobody else sees it, folders do not get in each other's way,
//! and a view that changes changes what reads it. Its name hides that of an object.

use std::collections::BTreeMap;

use dialect::statement::{CreateView, Query, Statement, StreamRead, TableUse, TimeTravel};
use model::name::ObjectName;

use super::{
    declare::{Declarations, DeclaredBody, named, reads},
    error::{FolderError, Place},
};

/// CREATE TEMPORARY VIEW.
#[derive(Debug, Clone)]
pub(super) struct TemporaryView {
    pub(super) at: Place,
    /// As an object in the default schema would be called.
    pub(super) name: ObjectName,
    pub(super) create: Box<CreateView>,
}

/// Writes the temporary views into everything that reads them.
pub(super) fn inline(
    all: &mut Declarations,
    views: &[TemporaryView],
    default_schema: &str,
) -> Result<(), FolderError> {
    if views.is_empty() {
        return Ok(());
    }
    let mut inlining = Inlining { views, default_schema, done: BTreeMap::new(), path: Vec::new() };
    for view in views {
        inlining.visit(view)?;
    }
    for declaration in &mut all.objects {
        let at = declaration.at.clone();
        let (query, changes) = match &mut declaration.body {
            DeclaredBody::View(view) => (Some(&mut view.query), false),
            DeclaredBody::MaterializedView(view) => (Some(&mut view.query), false),
            DeclaredBody::StreamingTable(table) => match &mut table.flow {
                Some(flow) => (Some(&mut flow.query), flow.changes.is_some()),
                None => (None, false),
            },
        };
        let Some(query) = query else { continue };
        let Some(inlined) = inlining.query(&at, query, changes)? else { continue };
        // What foreign keys reference stays.
        declaration.reads.retain(|read| !inlining.hides(read));
        for read in reads(&inlined, |parts| named(&at, parts, default_schema))? {
            if !declaration.reads.contains(&read) {
                declaration.reads.push(read);
            }
        }
        *query = inlined;
        let statement = match declaration.body.clone() {
            DeclaredBody::View(view) => Statement::CreateView(*view),
            DeclaredBody::MaterializedView(view) => Statement::CreateMaterializedView(*view),
            DeclaredBody::StreamingTable(table) => Statement::CreateStreamingTable(table),
        };
        declaration.text.rewrite(&statement);
    }
    for flow in &mut all.flows {
        let body = &flow.create.body;
        let inlined = inlining.query(&flow.at, &body.query, body.changes.is_some())?;
        let Some(inlined) = inlined else { continue };
        flow.reads = reads(&inlined, |parts| named(&flow.at, parts, default_schema))?;
        flow.create.body.query = inlined;
        flow.text.rewrite(&Statement::CreateFlow(flow.create.clone()));
    }
    Ok(())
}

struct Inlining<'a> {
    views: &'a [TemporaryView],
    default_schema: &'a str,
    /// Queries with full names, those of other temporary views written into them.
    done: BTreeMap<String, String>,
    path: Vec<&'a TemporaryView>,
}

impl<'a> Inlining<'a> {
    fn visit(&mut self, view: &'a TemporaryView) -> Result<(), FolderError> {
        if self.done.contains_key(view.name.name()) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|on_path| on_path.name == view.name) {
            let names = self.path[start..].iter().map(|view| view.name.clone());
            let names = names.chain([view.name.clone()]).collect();
            return Err(FolderError::Cycle { at: view.at.clone(), names });
        }
        self.path.push(view);
        for read in &view.create.query.tables {
            if let Some(below) = self.view(read) {
                self.visit(below)?;
            }
        }
        self.path.pop();
        let CreateView { query, columns, .. } = view.create.as_ref();
        self.check(&view.at, query, false)?;
        let text = dialect::inlined(query, self.default_schema, &self.done);
        let text = match columns.as_slice() {
            [] => text,
            columns => {
                let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
                let columns: Vec<String> = columns.iter().map(quoted).collect();
                format!("SELECT * FROM ({text}) AS renamed ({})", columns.join(", "))
            }
        };
        self.done.insert(view.name.name().to_owned(), text);
        Ok(())
    }

    /// The temporary view that a query reads here, if it is one.
    fn view(&self, read: &TableUse) -> Option<&'a TemporaryView> {
        let [name] = read.name.as_slice() else { return None };
        self.views.iter().find(|view| view.name.name() == name)
    }

    /// A query with the temporary views written into it; `None` when it reads none.
    fn query(
        &self,
        at: &Place,
        query: &Query,
        of_changes: bool,
    ) -> Result<Option<Query>, FolderError> {
        if !query.tables.iter().any(|read| self.view(read).is_some()) {
            return Ok(None);
        }
        self.check(at, query, of_changes)?;
        let text = dialect::inlined(query, self.default_schema, &self.done);
        let query = dialect::parse_flow_query(&text);
        let path = at.path.clone();
        query.map(Some).map_err(|source| FolderError::Syntax { path, source })
    }

    /// Refuses ways to read a temporary view that only a table can be read in.
    fn check(&self, at: &Place, query: &Query, of_changes: bool) -> Result<(), FolderError> {
        for read in &query.tables {
            let Some(view) = self.view(read) else { continue };
            let is_stream = |table: &TableUse| matches!(table.at, Some(TimeTravel::Stream(_)));
            let plain = StreamRead::default();
            let problem = match &read.at {
                _ if of_changes => "AUTO CDC reads the events of a table",
                None => continue,
                Some(TimeTravel::Stream(stream)) if *stream != plain => {
                    "options of a STREAM belong to the table that is read"
                }
                Some(TimeTravel::Stream(_))
                    if view.create.query.tables.iter().any(is_stream)
                        || view.create.query.files.iter().any(|files| files.is_stream) =>
                {
                    continue;
                }
                Some(TimeTravel::Stream(_)) => "the view itself reads no STREAM",
                Some(_) => "only a table has versions and a quarantine",
            };
            return Err(FolderError::TemporaryView {
                at: at.clone(),
                name: view.create.name.concat(),
                problem,
            });
        }
        Ok(())
    }

    /// Whether a name that was read is that of a temporary view.
    fn hides(&self, read: &ObjectName) -> bool {
        self.views.iter().any(|view| view.name == *read)
    }
}
