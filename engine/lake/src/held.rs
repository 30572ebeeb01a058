//! Files that somebody has still to read of versions that nobody holds as a whole.
//!
//! The changes of a table are in files that came and went between two versions. A vacuum in this process
//! leaves them alone for as long as a plan names them.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use object_store::path::Path;
use parking_lot::Mutex;

use crate::location::Place;

/// Some files of one table; they stay while this is there.
#[derive(Debug)]
pub(crate) struct HeldFiles(Vec<Path>);

/// All that are held, by the folders of their tables.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<HashMap<String, Vec<Weak<HeldFiles>>>>);

impl Held {
    /// `files`: paths in the table's folder.
    pub(crate) fn hold(&self, place: &Place, files: Vec<Path>) -> Arc<HeldFiles> {
        let held = Arc::new(HeldFiles(files));
        let mut tables = self.0.lock();
        tables.retain(|_, held| {
            held.retain(|files| files.strong_count() > 0);
            !held.is_empty()
        });
        tables.entry(place.text()).or_default().push(Arc::downgrade(&held));
        held
    }

    /// Those of one table.
    pub(crate) fn of(&self, place: &Place) -> Vec<Path> {
        let tables = self.0.lock();
        let held = tables.get(place.url.as_str()).into_iter().flatten();
        held.filter_map(Weak::upgrade).flat_map(|files| files.0.clone()).collect()
    }
}
