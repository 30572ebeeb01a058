//! What the demo carries with it: the flights, the statements, the questions.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::DemoError;

macro_rules! texts {
    ($($path:literal),+ $(,)?) => {
        [$(($path, include_str!(concat!("../../../sql/demo/", $path)))),+]
    };
}

/// Makes the tables for what arrives, and loads what is all there. `{data}` stands for the folder
/// with the files.
pub(super) const SETUP: [(&str, &str); 1] = texts!["setup/01_load.sql"];

/// Brings one month; [`super::months`] knows what its words in braces stand for.
pub(super) const MONTH: [(&str, &str); 1] = texts!["setup/02_month.sql"];

/// The transforms, in no order: the server finds it.
pub(super) const TRANSFORMS: [(&str, &str); 10] = texts![
    "gold_airport_delay_7d.sql",
    "gold_delays_by_airport_day.sql",
    "gold_delays_by_airport_size.sql",
    "gold_flights_by_month.sql",
    "gold_routes.sql",
    "gold_state_scorecard.sql",
    "gold_worst_routes_ranked.sql",
    "silver_airport_sizes.sql",
    "silver_airports.sql",
    "silver_flights.sql",
];

/// Questions about what the transforms kept besides their results.
pub(super) const LOOKS: [(&str, &str); 2] =
    texts!["looks/1_what_was_put_aside.sql", "looks/2_how_airports_changed.sql"];

/// The questions, in the order in which they are asked.
pub(super) const QUESTIONS: [(&str, &str); 3] = texts![
    "questions/1_where_not_to_change_planes.sql",
    "questions/2_the_worst_routes.sql",
    "questions/3_the_worst_weeks.sql",
];

const DATA: [(&str, &[u8]); 2] = [
    ("airports.csv", include_bytes!("../../../sql/demo/data/airports.csv")),
    ("flights.parquet", include_bytes!("../../../sql/demo/data/flights.parquet")),
];

/// Writes the data into the folder. A file of the right length stays as it is, so that nothing looks
/// changed. Answers the folder.
pub(super) fn write_data(folder: &Path) -> Result<PathBuf, DemoError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| DemoError::Write { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    for (name, content) in DATA {
        let path = folder.join(name);
        let is_there = fs::metadata(&path).is_ok_and(|meta| meta.len() == content.len() as u64);
        if is_there {
            continue;
        }
        // Complete or not there: a half file would be read as a broken one.
        let half = folder.join(format!(".{name}.new"));
        fs::write(&half, content).map_err(failed(&half))?;
        fs::rename(&half, &path).map_err(failed(&path))?;
    }
    fs::canonicalize(folder).map_err(failed(folder))
}
