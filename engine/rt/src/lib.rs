//! Running things: the clock, the second runtime for heavy work, what becomes of freed memory, and
//! orderly shutdown.
//!
//! It exists so that time can be controlled in tests, so that a heavy query never delays a
//! heartbeat, and so that nothing is forgotten at shutdown. It knows nothing of SQL or storage.

pub mod clock;
pub mod cpu;
pub mod memory;
pub mod shutdown;
