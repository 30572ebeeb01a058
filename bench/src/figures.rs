//! What measured values are summed up and printed as.

use std::time::Duration;

/// Says on what machine the figures below it were taken.
pub(crate) fn machine() {
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let memory = memory.map_or_else(|| "?".to_owned(), |kib| (kib >> 20).to_string());
    println!("{threads} processors, {memory} GiB of memory");
}

/// A title above the figures of one benchmark.
pub(crate) fn title(text: &str) {
    println!("\n## {text}\n");
}

/// One figure and what it is held to.
pub(crate) fn held(what: &str, value: f64, unit: &str, bound: Bound) {
    let (kept, word, limit) = match bound {
        Bound::AtMost(limit) => (value <= limit, "at most", limit),
        Bound::AtLeast(limit) => (value >= limit, "at least", limit),
    };
    let verdict = if kept { "kept" } else { "MISSED" };
    println!("{what}: {value:.2}{unit} (bound: {word} {limit}{unit}, {verdict})");
}

/// What a figure is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// The value that `part` (0 to 1) of the values do not exceed, in milliseconds.
pub(crate) fn quantile(times: &[Duration], part: f64) -> f64 {
    assert!(!times.is_empty(), "nothing was measured");
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a list that fits into memory"
    )]
    let index = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len()) - 1;
    sorted[index].as_secs_f64() * 1000.0
}

/// The middle value, in milliseconds.
pub(crate) fn median(times: &[Duration]) -> f64 {
    quantile(times, 0.5)
}

/// What all threads of a process have used so far, to a hundredth of a second.
pub(crate) fn processor_time(pid: u32) -> Duration {
    stat(pid).expect("the process is there").own
}

/// The same, with that of its children: those that are there, and those that it has seen end.
pub(crate) fn processor_time_with_children(pid: u32) -> Duration {
    let parent = stat(pid).expect("the process is there");
    let others = std::fs::read_dir("/proc").unwrap().flatten();
    let others = others.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // One that ends meanwhile is counted next time, as one that has ended.
    let children = others.filter_map(stat).filter(|other| other.parent == pid);
    parent.own + parent.ended_children + children.map(|child| child.own).sum::<Duration>()
}

/// What the kernel says of a process.
struct Stat {
    parent: u32,
    own: Duration,
    ended_children: Duration,
}

/// None once the process has ended.
fn stat(pid: u32) -> Option<Stat> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): the second field is a name in parentheses; the parent is the 4th, utime and stime are the
    // 14th and 15th, and those of children that were waited for the 16th and 17th.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |at: usize| fields[at - 3].parse::<u64>().unwrap();
    Some(Stat {
        parent: fields[4 - 3].parse().unwrap(),
        own: Duration::from_millis((ticks(14) + ticks(15)) * 10),
        ended_children: Duration::from_millis((ticks(16) + ticks(17)) * 10),
    })
}
