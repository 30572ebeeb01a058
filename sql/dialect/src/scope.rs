//! Which names are queries of a WITH at a place of a query, and which are tables.
//!
//! It exists because three walks need the same answer. It never changes what it walks.

use sqlparser::ast::{self, Ident, ObjectName};

/// The WITH queries around the place where a walk is. Calls come in the order of the walk.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    frames: Vec<Frame>,
}

#[derive(Debug)]
struct Frame {
    names: Vec<String>,
    /// How many of `names` are complete: while the walk is in the n-th, the first n are.
    complete: usize,
    recursive: bool,
}

impl Frame {
    fn visible(&self) -> &[String] {
        let itself = usize::from(self.recursive && self.complete < self.names.len());
        &self.names[..self.complete + itself]
    }
}

impl Scope {
    /// The walk goes into a query. Its WITH queries are walked first, then the rest of it.
    pub(crate) fn enter(&mut self, query: &ast::Query) {
        let (names, recursive) = match &query.with {
            Some(with) => (
                with.cte_tables.iter().map(|cte| ident_name(&cte.alias.name)).collect(),
                with.recursive,
            ),
            None => (Vec::new(), false),
        };
        self.frames.push(Frame { names, complete: 0, recursive });
    }

    /// The walk comes out of the query that it went into last.
    pub(crate) fn leave(&mut self) {
        self.frames.pop();
        if let Some(parent) = self.frames.last_mut()
            && parent.complete < parent.names.len()
        {
            parent.complete += 1;
        }
    }

    /// Whether a name means a WITH query here.
    pub(crate) fn is_with_query(&self, parts: &[String]) -> bool {
        let [name] = parts else { return false };
        self.frames.iter().any(|frame| frame.visible().contains(name))
    }
}

/// The name that an identifier stands for, as the planner reads it.
pub(crate) fn ident_name(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

/// The parts of a name, or `None` when a part is no identifier.
pub(crate) fn name_parts(name: &ObjectName) -> Option<Vec<String>> {
    name.0.iter().map(|part| part.as_ident().map(ident_name)).collect()
}
