//! The allocator of the program.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t, mi_option_use_numa_nodes};
use rt::memory::Freed;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Stands right before `mi_option_use_numa_nodes` in mimalloc.h, and has no name in Rust.
const PURGE_DELAY: mi_option_t = mi_option_use_numa_nodes - 1;
/// Milliseconds after which mimalloc gives freed memory back to the kernel.
const PURGE_DELAY_DEFAULT: c_long = 1000;
const PURGE_DELAY_OURS: c_long = 10_000;

/// Keeps freed memory for longer than the allocator would. A query frees memory and asks for it
/// again all the time; when the kernel gets it in between, it clears each page anew, which was a
/// tenth of the processor time of TPC-H. While somebody is [frugal](rt::memory::frugal) it is given
/// back at once. `MIMALLOC_PURGE_DELAY` in the environment goes first.
pub(crate) fn keep() {
    if purge_delay() != PURGE_DELAY_DEFAULT {
        return;
    }
    set_purge_delay(PURGE_DELAY_OURS);
    rt::memory::told_by(|freed| {
        set_purge_delay(match freed {
            Freed::Kept => PURGE_DELAY_OURS,
            Freed::GivenBack => 0,
        });
    });
}

fn set_purge_delay(milliseconds: c_long) {
    // SAFETY: stores a number in a table of the allocator's, as any thread may at any time.
    #[expect(unsafe_code, reason = "the options of mimalloc are only there in C")]
    unsafe {
        mi_option_set(PURGE_DELAY, milliseconds);
    }
}

fn purge_delay() -> c_long {
    // SAFETY: reads a number from a table of the allocator's, as any thread may at any time.
    #[expect(unsafe_code, reason = "the options of mimalloc are only there in C")]
    unsafe {
        mi_option_get(PURGE_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_where_it_was_found() {
        // Another number after an update of mimalloc: look for the option in its header again.
        assert_eq!(purge_delay(), PURGE_DELAY_DEFAULT);
        keep();
        assert_eq!(purge_delay(), PURGE_DELAY_OURS);
        let frugal = rt::memory::frugal();
        assert_eq!(purge_delay(), 0);
        drop(frugal);
        assert_eq!(purge_delay(), PURGE_DELAY_OURS);
    }
}
