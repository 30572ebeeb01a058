//! Tells the program which versions of the libraries that decide about data it was built with.

use std::{env, fs, path::PathBuf};

fn main() {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    let lock = manifest.join("../Cargo.lock");
    println!("cargo:rerun-if-changed={}", lock.display());
    println!("cargo:rerun-if-changed=build.rs");
    let lock = fs::read_to_string(lock).unwrap_or_default();
    for (package, variable) in [
        ("datafusion", "WHIMBREL_DATAFUSION_VERSION"),
        ("deltalake-core", "WHIMBREL_DELTALAKE_VERSION"),
        ("arrow-flight", "WHIMBREL_ARROW_VERSION"),
    ] {
        let version = version(&lock, package).unwrap_or("unknown");
        println!("cargo:rustc-env={variable}={version}");
    }
}

/// The version of a package in the text of a Cargo.lock.
fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{package}\""));
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}
