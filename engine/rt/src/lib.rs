//! whimbrel-rt
