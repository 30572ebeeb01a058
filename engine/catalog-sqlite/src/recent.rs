//! What the database answered since something was last written to it.
//!
//! Each statement of a client reads the catalog: who asks what they may do, and what names stand for.
//! SQLite answers within microseconds; handing the question to its thread and the answer back costs
//! ten times as much. So an answer is given again until this process, the only one that serves this
//! catalog, writes. What a command of an operator writes from another process (`whimbrel user add`)
//! is seen a second later.

use std::{collections::HashMap, sync::Arc, time::Duration};

use catalog_sql::value::{Row, Value};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long an answer is given again when nothing is written here.
const GIVEN_FOR: Duration = Duration::from_secs(1);
/// Answers at once; when they are more, all are forgotten.
const ANSWERS_MAX: usize = 1_024;
/// Rows of the largest answer that is kept.
const ROWS_MAX: usize = 64;
/// Bytes of the longest text in an answer that is kept, of all its texts together.
const TEXT_MAX: usize = 16 << 10;
/// The table of the audit trail, as statements name it. It is written all the time, and read with
/// nothing else.
const TRAIL: &str = " audit ";

/// Answers to statements that only read.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts what was written.
    written: u64,
    /// Transactions that may end in this moment.
    ending: usize,
    answers: HashMap<Question, Answer>,
}

/// A statement with its values.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    sql: &'static str,
    values: Vec<Value>,
}

#[derive(Debug)]
struct Answer {
    rows: Vec<Row>,
    read_at: Instant,
}

/// What a question found.
#[derive(Debug)]
pub(crate) enum Found {
    /// The answer, which is still true.
    Answer(Vec<Row>),
    /// None; the answer may be kept for others.
    Nothing(Asked),
}

/// A question that is being answered.
#[derive(Debug)]
pub(crate) struct Asked {
    /// None for what is not kept.
    question: Option<Question>,
    written: u64,
    at: Instant,
}

impl Recent {
    /// Looks for the answer of before.
    pub(crate) fn find(&self, sql: &'static str, values: &[Value]) -> Found {
        let at = Instant::now();
        let mut state = self.state.lock();
        let written = state.written;
        if state.ending > 0 || is_about_the_trail(sql) {
            return Found::Nothing(Asked { question: None, written, at });
        }
        let question = Question { sql, values: values.to_vec() };
        match state.answers.get(&question) {
            Some(answer) if at.duration_since(answer.read_at) < GIVEN_FOR => {
                Found::Answer(answer.rows.clone())
            }
            known => {
                if known.is_some() {
                    state.answers.remove(&question);
                }
                Found::Nothing(Asked { question: Some(question), written, at })
            }
        }
    }

    /// Keeps an answer, unless something was written since it was asked for.
    pub(crate) fn keep(&self, asked: Asked, rows: &[Row]) {
        let Asked { question: Some(question), written, at } = asked else { return };
        let text: usize = rows.iter().map(Row::text_bytes).sum();
        if rows.len() > ROWS_MAX || text > TEXT_MAX {
            return;
        }
        let answer = Answer { rows: rows.to_vec(), read_at: at };
        let mut state = self.state.lock();
        if state.written != written || state.ending > 0 {
            return;
        }
        if state.answers.len() >= ANSWERS_MAX {
            state.answers.clear();
        }
        state.answers.insert(question, answer);
    }

    /// A transaction that has written is about to end: from now until the guard is dropped nobody gets
    /// an answer of before, and afterwards all of them are forgotten.
    pub(crate) fn ending(self: &Arc<Self>) -> Ending {
        self.state.lock().ending += 1;
        Ending(Arc::clone(self))
    }
}

/// The end of a transaction that has written.
#[derive(Debug)]
pub(crate) struct Ending(Arc<Recent>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.ending -= 1;
        state.written += 1;
        state.answers.clear();
    }
}

/// Whether a statement reads or writes the audit trail and nothing else.
pub(crate) fn is_about_the_trail(sql: &str) -> bool {
    sql.contains(TRAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: &str = "SELECT name FROM users";

    fn row(text: &str) -> Row {
        Row::new(vec![Value::from(text)])
    }

    fn ask(recent: &Recent, sql: &'static str) -> Asked {
        match recent.find(sql, &[]) {
            Found::Nothing(asked) => asked,
            Found::Answer(rows) => panic!("{rows:?}"),
        }
    }

    fn knows(recent: &Recent, sql: &'static str) -> bool {
        matches!(recent.find(sql, &[]), Found::Answer(_))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_again_until_something_is_written() {
        let recent = Arc::new(Recent::default());
        let keep = || recent.keep(ask(&recent, SQL), &[row("ann")]);
        keep();
        assert!(knows(&recent, SQL));
        assert!(!knows(&recent, "SELECT name FROM roles"));
        assert!(matches!(recent.find(SQL, &[Value::from("x")]), Found::Nothing(_)));
        let ending = recent.ending();
        assert!(!knows(&recent, SQL), "it may be written by now");
        keep();
        drop(ending);
        assert!(!knows(&recent, SQL), "what was read meanwhile may be of before");
        keep();
        assert!(knows(&recent, SQL));
        tokio::time::advance(GIVEN_FOR).await;
        assert!(!knows(&recent, SQL), "another process may have written");
        // Asked before, answered after somebody has written.
        let asked = ask(&recent, SQL);
        drop(recent.ending());
        recent.keep(asked, &[row("ann")]);
        assert!(!knows(&recent, SQL));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let recent = Recent::default();
        recent.keep(ask(&recent, SQL), &vec![row("ann"); ROWS_MAX + 1]);
        assert!(!knows(&recent, SQL));
        recent.keep(ask(&recent, SQL), &[row(&"x".repeat(TEXT_MAX + 1))]);
        assert!(!knows(&recent, SQL));
        let trail = "SELECT seq FROM audit WHERE seq < $1";
        recent.keep(ask(&recent, trail), &[row("1")]);
        assert!(!knows(&recent, trail));
        for n in 0..ANSWERS_MAX as u64 + 10 {
            let Found::Nothing(asked) = recent.find(SQL, &[Value::from(n)]) else { panic!() };
            recent.keep(asked, &[]);
        }
        assert!(recent.state.lock().answers.len() <= ANSWERS_MAX);
    }
}
