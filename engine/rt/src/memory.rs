//! Whether freed memory is kept for what comes next, or given back at once.
//!
//! The allocator belongs to the program, and so does the decision for most of its life. Work that
//! goes through large buffers once, each of another size, asks for the opposite while it lasts:
//! what it has freed would otherwise stay with the process until it ends.

use std::sync::OnceLock;

use parking_lot::Mutex;

/// What happens to freed memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freed {
    /// It is kept for a while: asking for it again costs less.
    Kept,
    /// It goes back to the kernel.
    GivenBack,
}

static TELL: OnceLock<fn(Freed)> = OnceLock::new();
/// How many ask for it to be given back.
static ASKING: Mutex<usize> = Mutex::new(0);

/// How the allocator of this program is told. The first call counts; without one nothing is told.
pub fn told_by(tell: fn(Freed)) {
    let _set_before = TELL.set(tell);
}

/// Freed memory is given back for as long as this lives, and one like it.
#[derive(Debug)]
pub struct Frugal(());

/// See [`Frugal`].
#[must_use]
pub fn frugal() -> Frugal {
    ask(|asking| asking + 1);
    Frugal(())
}

impl Drop for Frugal {
    fn drop(&mut self) {
        ask(|asking| asking - 1);
    }
}

/// Told under the lock, so that the last word is the right one.
fn ask(change: impl FnOnce(usize) -> usize) {
    let mut asking = ASKING.lock();
    let before = *asking;
    *asking = change(before);
    let Some(tell) = TELL.get() else { return };
    match (before, *asking) {
        (0, 1) => tell(Freed::GivenBack),
        (1, 0) => tell(Freed::Kept),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TOLD: Mutex<Vec<Freed>> = Mutex::new(Vec::new());

    #[test]
    fn the_first_asks_and_the_last_ends_it() {
        told_by(|freed| TOLD.lock().push(freed));
        let first = frugal();
        let second = frugal();
        drop(first);
        assert_eq!(*TOLD.lock(), [Freed::GivenBack]);
        drop(second);
        assert_eq!(*TOLD.lock(), [Freed::GivenBack, Freed::Kept]);
    }
}
