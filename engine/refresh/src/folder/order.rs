//! Checks that everything that is read will be there, and finds the order of creation.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    name::ObjectName,
    object::{Object, ObjectKind},
};
use query::nearest::nearest;

use super::{
    declare::{Declarations, DeclaredBody},
    error::{FolderError, Place},
};

/// What is declared, by its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Object(usize),
    /// After all objects, where nothing says otherwise.
    Flow(usize),
}

/// What is declared such that each comes after what it reads, and after the flows into that: without
/// a flow a streaming table has no columns. Among those that do not depend on each other, the order
/// of the files stays, flows behind objects.
///
/// Errors: a read of what neither exists nor is declared, or of a table that nothing feeds, and a
/// circle among declared and existing objects.
pub(super) fn order(
    declared: &Declarations,
    existing: &[Object],
) -> Result<Vec<Item>, FolderError> {
    let objects = declared.objects.iter().enumerate();
    let flows = declared.flows.iter().enumerate();
    let items: BTreeMap<&ObjectName, Item> = objects
        .map(|(n, object)| (&object.name, Item::Object(n)))
        .chain(flows.map(|(n, flow)| (&flow.name, Item::Flow(n))))
        .collect();
    let mut feeds: BTreeMap<&ObjectName, Vec<&ObjectName>> = BTreeMap::new();
    for flow in &declared.flows {
        feeds.entry(&flow.target).or_default().push(&flow.name);
    }
    let known = existing.iter().map(|object| (&object.name, object)).collect();
    let mut walk = Walk {
        declared,
        items,
        feeds,
        known,
        done: BTreeSet::new(),
        path: Vec::new(),
        order: Vec::new(),
    };
    let objects = declared.objects.iter().map(|object| &object.name);
    let names = || objects.clone().chain(declared.flows.iter().map(|flow| &flow.name));
    for name in names() {
        walk.check_reads(name)?;
    }
    for name in names() {
        walk.visit(name)?;
    }
    Ok(walk.order)
}

/// Walks from each declaration to what it reads. What is declared counts, not what it replaces.
struct Walk<'a> {
    declared: &'a Declarations,
    items: BTreeMap<&'a ObjectName, Item>,
    /// The declared flows into each table.
    feeds: BTreeMap<&'a ObjectName, Vec<&'a ObjectName>>,
    known: BTreeMap<&'a ObjectName, &'a Object>,
    done: BTreeSet<&'a ObjectName>,
    path: Vec<&'a ObjectName>,
    order: Vec<Item>,
}

impl<'a> Walk<'a> {
    fn reads(&self, name: &ObjectName) -> &'a [ObjectName] {
        match self.items.get(name) {
            Some(Item::Object(n)) => &self.declared.objects[*n].reads,
            Some(Item::Flow(n)) => &self.declared.flows[*n].reads,
            None => self.known.get(name).map_or(&[], |object| object.reads()),
        }
    }

    fn at(&self, name: &ObjectName) -> Option<&'a Place> {
        Some(match self.items.get(name)? {
            Item::Object(n) => &self.declared.objects[*n].at,
            Item::Flow(n) => &self.declared.flows[*n].at,
        })
    }

    fn check_reads(&self, name: &'a ObjectName) -> Result<(), FolderError> {
        let Some(at) = self.at(name) else { return Ok(()) };
        let (at, object) = (at.clone(), name.clone());
        for read in self.reads(name) {
            let is_declared = matches!(self.items.get(read), Some(Item::Object(_)));
            if !is_declared && !self.known.contains_key(read) {
                let objects = self.declared.objects.iter().map(|object| &object.name);
                let names = objects.chain(self.known.keys().copied());
                let nearest = nearest(read, names);
                return Err(FolderError::ReadMissing { at, object, name: read.clone(), nearest });
            }
            if !self.has_columns(read) {
                return Err(FolderError::NotFed { at, object, name: read.clone() });
            }
        }
        Ok(())
    }

    /// False of a streaming table that is new and that no flow feeds.
    fn has_columns(&self, name: &ObjectName) -> bool {
        let is_new = match self.known.get(name) {
            None => true,
            Some(object) => object.kind() != ObjectKind::StreamingTable,
        };
        let Some(Item::Object(n)) = self.items.get(name) else { return true };
        match &self.declared.objects[*n].body {
            DeclaredBody::StreamingTable(table) if is_new => {
                table.flow.is_some() || self.feeds.contains_key(name)
            }
            _ => true,
        }
    }

    fn visit(&mut self, name: &'a ObjectName) -> Result<(), FolderError> {
        if self.done.contains(name) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|on_path| *on_path == name) {
            return Err(self.cycle(start));
        }
        let item = self.items.get(name).copied();
        self.path.push(name);
        if let Some(Item::Flow(n)) = item {
            self.visit(&self.declared.flows[n].target)?;
        }
        for read in self.reads(name) {
            self.visit(read)?;
            for feed in self.feeds.get(read).cloned().unwrap_or_default() {
                self.visit(feed)?;
            }
        }
        self.path.pop();
        self.done.insert(name);
        self.order.extend(item);
        Ok(())
    }

    fn cycle(&self, start: usize) -> FolderError {
        let round = &self.path[start..];
        // It begins with the declaration that comes first in the folder: that is where to look.
        let first = round
            .iter()
            .enumerate()
            .filter_map(|(n, name)| Some((self.items.get(*name)?, n)))
            .min()
            .map_or(0, |(_, n)| n);
        let mut names: Vec<ObjectName> =
            round[first..].iter().chain(&round[..first]).map(|name| (*name).clone()).collect();
        names.extend(names.first().cloned());
        // A circle needs a declaration: what exists was checked when it was made.
        let at = names.iter().find_map(|name| self.at(name));
        let at = at.cloned().unwrap_or_else(|| Place { path: String::new(), line: 0 });
        FolderError::Cycle { at, names }
    }
}
