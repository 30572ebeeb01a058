//! AUTO CDC gives what its events say, in whatever order and in however many refreshes they come:
//! compared with a plain fold over the sorted events.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rt::cpu::CpuRuntime;

use super::{World, difference};
use crate::sim::random::Random;
use crate::sim::random::seeds;

/// Keys of events; the last one is NULL.
const KEYS: usize = 4;
const COLUMNS: [&str; 2] = ["a", "b"];

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Op {
    Upsert,
    Delete,
    Truncate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    key: Option<i64>,
    seq: i64,
    /// Orders events of one sequence.
    turn: Option<i64>,
    op: Op,
    values: [Option<i64>; 2],
}

impl Event {
    fn sql(&self) -> String {
        let shown = |value: Option<i64>| value.map_or("NULL".to_owned(), |value| value.to_string());
        let [a, b] = self.values;
        let op = ["U", "D", "T"][self.op as usize];
        let values = [shown(self.key), shown(a), shown(b), format!("'{op}'"), self.seq.to_string()];
        format!("({}, {})", values.join(", "), shown(self.turn))
    }
}

/// An event behind its place in the order of its key; without a turn is last.
type Place = (i64, bool, Option<i64>, Event);

/// The clauses of one flow.
#[derive(Debug, Clone)]
struct Clauses {
    every_state: bool,
    deletes: bool,
    truncates: bool,
    by_turn: bool,
    /// The sequence is a struct of two numbers.
    in_parts: bool,
    /// Which of [`COLUMNS`] a NULL leaves as they are.
    ignores: [bool; 2],
    /// Which of them make a new state.
    tracks: [bool; 2],
    /// Whether clauses name the columns that they leave out.
    by_exception: bool,
}

impl Clauses {
    fn any(random: &mut Random) -> Self {
        let every_state = random.one_in(2);
        let mut half = || random.one_in(2);
        let (ignores, tracks) = ([half(), half()], [half(), half()]);
        Self {
            every_state,
            deletes: !random.one_in(4),
            truncates: !every_state && random.one_in(2),
            by_turn: random.one_in(2),
            in_parts: random.one_in(3),
            ignores,
            tracks: if random.one_in(2) { [true, true] } else { tracks },
            by_exception: random.one_in(2),
        }
    }

    fn chosen(&self, which: [bool; 2]) -> String {
        let named = |wanted: bool| -> Vec<&str> {
            let all = COLUMNS.iter().zip(which);
            all.filter(|(_, is)| *is == wanted).map(|(name, _)| *name).collect()
        };
        // A list may not be empty.
        match (named(true), named(false)) {
            (none, others) if none.is_empty() => format!("* EXCEPT (id, {})", others.join(", ")),
            (_, others) if others.is_empty() => "* EXCEPT (id)".to_owned(),
            (_, others) if self.by_exception => format!("* EXCEPT ({})", others.join(", ")),
            (these, _) => format!("({})", these.join(", ")),
        }
    }

    fn sql(&self) -> String {
        let mut sql = "FROM STREAM events KEYS (id)".to_owned();
        if self.ignores == [true, true] {
            sql.push_str(" IGNORE NULL UPDATES");
        } else if self.ignores != [false, false] {
            sql.push_str(&format!(" IGNORE NULL UPDATES ON {}", self.chosen(self.ignores)));
        }
        if self.deletes {
            sql.push_str(" APPLY AS DELETE WHEN op = 'D'");
        }
        if self.truncates {
            sql.push_str(" APPLY AS TRUNCATE WHEN op = 'T'");
        }
        let sequence = if self.in_parts { "STRUCT(seq / 4, seq % 4)" } else { "seq" };
        sql.push_str(&format!(" SEQUENCE BY {sequence}"));
        if self.by_turn {
            sql.push_str(" ON TIE LAST BY turn");
        }
        sql.push_str(" COLUMNS * EXCEPT (op, seq, turn)");
        if self.every_state {
            sql.push_str(" STORED AS SCD TYPE 2");
            if self.tracks != [true, true] {
                sql.push_str(&format!(" TRACK HISTORY ON {}", self.chosen(self.tracks)));
            }
        }
        sql
    }

    /// The columns of the rows, with sequences as numbers.
    fn columns(&self) -> String {
        let number = |name: &str| match self.in_parts {
            true => format!("\"{name}\"['c0'] * 4 + \"{name}\"['c1']"),
            false => format!("\"{name}\""),
        };
        let times = ["__START_AT", "__END_AT"].into_iter().filter(|_| self.every_state).map(number);
        ["id", "a", "b"].map(str::to_owned).into_iter().chain(times).collect::<Vec<_>>().join(", ")
    }

    /// Events that have one order: no two of one key have the same place in it.
    fn events(&self, random: &mut Random) -> Vec<Event> {
        let mut events = BTreeMap::new();
        let latest = random.below(5..25);
        for _ in 0..random.below(5..40) {
            let key = random.below(0..KEYS as u64) as i64;
            let mut value = || (!random.one_in(3)).then(|| i64::from(random.one_in(2)));
            let values = [value(), value()];
            let turn = match self.by_turn {
                true => Some(random.below(0..3) as i64).filter(|turn| *turn > 0),
                false => None,
            };
            let op = match random.below(0..10) {
                0 | 1 if self.deletes => Op::Delete,
                2 if self.truncates => Op::Truncate,
                _ => Op::Upsert,
            };
            let event = Event {
                key: Some(key).filter(|key| *key < KEYS as i64 - 1),
                seq: random.below(0..latest) as i64,
                turn,
                op,
                values,
            };
            events.insert((event.key, event.seq, event.turn), event);
        }
        let mut events: Vec<_> = events.into_values().collect();
        for _ in 0..random.below(0..5) {
            let at = random.below(0..events.len() as u64) as usize;
            events.push(events[at]);
        }
        // In any order.
        for at in (1..events.len()).rev() {
            events.swap(at, random.below(0..at as u64 + 1) as usize);
        }
        events
    }

    /// The rows that these events have made, with how often each is there.
    fn rows(&self, events: &[Event]) -> BTreeMap<String, usize> {
        let emptied = events.iter().filter(|event| event.op == Op::Truncate);
        let emptied = emptied.map(|event| event.seq).max();
        let mut by_key: BTreeMap<Option<i64>, BTreeSet<Place>> = BTreeMap::new();
        for event in events.iter().filter(|event| event.op != Op::Truncate) {
            if emptied.is_none_or(|emptied| event.seq > emptied) {
                let place = (event.seq, event.turn.is_none(), event.turn, *event);
                by_key.entry(event.key).or_default().insert(place);
            }
        }
        let shown = |value: Option<i64>| value.map_or("NULL".to_owned(), |value| value.to_string());
        let mut rows = BTreeMap::new();
        for (key, events) in by_key {
            let line = |values: [Option<i64>; 2], times: &[Option<i64>]| {
                let cells = [key].into_iter().chain(values).chain(times.iter().copied());
                cells.map(shown).collect::<Vec<_>>().join("|")
            };
            let states = self.states(&events.into_iter().map(|place| place.3).collect::<Vec<_>>());
            let lines: Vec<_> = match self.every_state {
                true => states
                    .iter()
                    .map(|state| line(state.values, &[Some(state.from), state.until]))
                    .collect(),
                false => states
                    .iter()
                    .filter(|state| state.until.is_none())
                    .map(|state| line(state.values, &[]))
                    .collect(),
            };
            for line in lines {
                *rows.entry(line).or_default() += 1;
            }
        }
        rows
    }

    /// The states that the events of one key, in their order, go through.
    fn states(&self, events: &[Event]) -> Vec<State> {
        // After each sequence.
        let mut after: Vec<(i64, Option<[Option<i64>; 2]>)> = Vec::new();
        let mut now = None;
        for event in events {
            now = match event.op {
                Op::Delete => None,
                _ => {
                    let before: [Option<i64>; 2] = now.unwrap_or_default();
                    let mut values = event.values;
                    for (at, value) in values.iter_mut().enumerate() {
                        if self.ignores[at] && value.is_none() {
                            *value = before[at];
                        }
                    }
                    Some(values)
                }
            };
            match after.last_mut() {
                Some((seq, values)) if *seq == event.seq => *values = now,
                _ => after.push((event.seq, now)),
            }
        }
        let mut states: Vec<State> = Vec::new();
        for (seq, values) in after {
            let open = states.last_mut().filter(|state| state.until.is_none());
            match (open, values) {
                (Some(state), None) => state.until = Some(seq),
                (Some(state), Some(values)) => {
                    let is_other =
                        (0..2).any(|at| self.tracks[at] && state.values[at] != values[at]);
                    if is_other {
                        state.until = Some(seq);
                        states.push(State { values, from: seq, until: None });
                    } else {
                        state.values = values;
                    }
                }
                (None, Some(values)) => states.push(State { values, from: seq, until: None }),
                (None, None) => {}
            }
        }
        states
    }
}

struct State {
    values: [Option<i64>; 2],
    from: i64,
    until: Option<i64>,
}

#[test]
fn auto_cdc_gives_what_its_events_say() {
    let cpu = CpuRuntime::new(2).unwrap();
    let mut strategies: BTreeMap<String, usize> = BTreeMap::new();
    let always = 0..12;
    let seeds = seeds("WHIMBREL_CHANGES_SEEDS", always.clone());
    for seed in seeds.clone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        println!("seed {seed}");
        runtime.block_on(one(seed, cpu.clone(), &mut strategies));
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
    println!("{strategies:?}");
    if seeds == always {
        for strategy in ["FULL", "KEYS"] {
            assert!(
                strategies.contains_key(strategy),
                "{strategy} was never taken: {strategies:?}"
            );
        }
    }
}

async fn one(seed: u64, cpu: CpuRuntime, strategies: &mut BTreeMap<String, usize>) {
    let mut world = World::empty(seed, cpu).await;
    let clauses = Clauses::any(&mut world.random);
    let events = clauses.events(&mut world.random);
    let create = format!("CREATE STREAMING TABLE kept FLOW AUTO CDC {}", clauses.sql());
    world
        .sql("CREATE TABLE events (id BIGINT, a BIGINT, b BIGINT, op VARCHAR, seq BIGINT, turn BIGINT)")
        .await
        .unwrap();
    world.sql(&create).await.unwrap();
    world.refresh_whenever_proved("kept").await;
    world.settle().await;
    let mut come = 0;
    while come < events.len() {
        let more = world.random.below(1..10) as usize;
        let next = &events[come..events.len().min(come + more)];
        let values: Vec<_> = next.iter().map(Event::sql).collect();
        world.sql(&format!("INSERT INTO events VALUES {}", values.join(", "))).await.unwrap();
        come += next.len();
        if world.random.one_in(6) {
            world.sql("OPTIMIZE events ASYNC").await.unwrap();
            world.settle().await;
        }
        if world.random.one_in(3) && come < events.len() {
            continue;
        }
        world.sql("REFRESH STREAMING TABLE kept ASYNC").await.unwrap();
        world.settle().await;
        let run = world.newest_run("kept").await;
        let expected = clauses.rows(&events[..come]);
        let about = format!(
            "seed {seed}: {} {:?} ({:?}) {:?}\n{create}\n{}",
            run.state, run.strategy, run.reason, run.error, world.told
        );
        assert!(run.state.is_success(), "{about}");
        let stored = format!("SELECT {} FROM kept", clauses.columns());
        let stored = world.rows(&stored).await.unwrap();
        let differ = difference(&stored, &expected);
        assert!(differ.is_empty(), "{about}\n{differ}");
        if world.random.one_in(3) {
            let verified = world.verified("kept").await;
            assert_eq!(verified["verdict"], "EQUAL", "{about}\n{verified:?}");
            assert_eq!(world.verified_in_part("kept").await, "EQUAL", "{about}");
        }
        if let Some(strategy) = run.strategy {
            *strategies.entry(strategy).or_default() += 1;
        }
    }
}
