//! Checks that everything that is read will be there, and finds the order of creation.

use std::collections::{BTreeMap, BTreeSet};

use model::{name::ObjectName, object::Object};
use query::nearest::nearest;

use super::{declare::Declaration, error::FolderError};

/// Positions of the declarations such that each comes after those that it reads; among those that
/// do not depend on each other, the order of the files stays.
///
/// Errors: a read of what neither exists nor is declared, and a circle among declared and
/// existing objects.
pub(super) fn order(
    declared: &[Declaration],
    existing: &[Object],
) -> Result<Vec<usize>, FolderError> {
    let positions: BTreeMap<&ObjectName, usize> =
        declared.iter().enumerate().map(|(n, declaration)| (&declaration.name, n)).collect();
    let known: BTreeMap<&ObjectName, &Object> =
        existing.iter().map(|object| (&object.name, object)).collect();
    for declaration in declared {
        for read in &declaration.reads {
            if !positions.contains_key(read) && !known.contains_key(read) {
                let names = positions.keys().chain(known.keys()).copied();
                return Err(FolderError::ReadMissing {
                    at: declaration.at.clone(),
                    object: declaration.name.clone(),
                    name: read.clone(),
                    nearest: nearest(read, names),
                });
            }
        }
    }
    let mut walk = Walk {
        declared,
        positions,
        known,
        done: BTreeSet::new(),
        path: Vec::new(),
        order: Vec::new(),
    };
    for declaration in declared {
        walk.visit(&declaration.name)?;
    }
    Ok(walk.order)
}

/// Walks from each declaration to what it reads. What is declared counts, not what it replaces.
struct Walk<'a> {
    declared: &'a [Declaration],
    positions: BTreeMap<&'a ObjectName, usize>,
    known: BTreeMap<&'a ObjectName, &'a Object>,
    done: BTreeSet<&'a ObjectName>,
    path: Vec<&'a ObjectName>,
    order: Vec<usize>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, name: &'a ObjectName) -> Result<(), FolderError> {
        if self.done.contains(name) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|on_path| *on_path == name) {
            return Err(self.cycle(start));
        }
        let position = self.positions.get(name).copied();
        let reads: &'a [ObjectName] = match position {
            Some(position) => &self.declared[position].reads,
            None => self.known.get(name).map_or(&[], |object| object.reads()),
        };
        self.path.push(name);
        for read in reads {
            self.visit(read)?;
        }
        self.path.pop();
        self.done.insert(name);
        self.order.extend(position);
        Ok(())
    }

    fn cycle(&self, start: usize) -> FolderError {
        let round = &self.path[start..];
        // It begins with the declaration that comes first in the folder: that is where to look.
        let first = round
            .iter()
            .enumerate()
            .filter_map(|(n, name)| Some((self.positions.get(*name)?, n)))
            .min()
            .map_or(0, |(_, n)| n);
        let mut names: Vec<ObjectName> =
            round[first..].iter().chain(&round[..first]).map(|name| (*name).clone()).collect();
        names.extend(names.first().cloned());
        // A circle needs a declaration: what exists was checked when it was made.
        let at = names.iter().find_map(|name| self.positions.get(name));
        let at = at.map_or_else(
            || super::error::Place { path: String::new(), line: 0 },
            |position| self.declared[*position].at.clone(),
        );
        FolderError::Cycle { at, names }
    }
}
