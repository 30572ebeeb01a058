//! Resident memory of the real process.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use tests::process::{Options, binary};

use crate::figures::{self, Bound};

pub(crate) async fn measure() {
    figures::title("Resident memory, MB");
    let server = Options::new().start();
    // Long enough for the schedule to be looked at and for the store to be probed.
    tokio::time::sleep(Duration::from_secs(10)).await;
    figures::held(
        "idle server",
        resident(server.pid(), "VmRSS").unwrap(),
        " MB",
        Bound::AtMost(100.0),
    );
    server.stop();

    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(binary())
        .args(["demo", "--exit", "--flight-addr", "127.0.0.1:0", "--data-dir", "data"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut most: f64 = 0.0;
    let status = loop {
        if let Some(now) = resident(demo.id(), "VmHWM") {
            most = most.max(now);
        }
        match demo.try_wait().unwrap() {
            Some(status) => break status,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert!(status.success(), "the demo ended with {status}");
    println!();
    figures::held("demo at its peak", most, " MB", Bound::AtMost(2000.0));
}

/// A line of the kernel's status of a process; none once the process has ended.
pub(crate) fn resident(pid: u32, line: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let found = status.lines().find(|text| text.starts_with(line))?;
    let kib: f64 = found.split_whitespace().nth(1)?.parse().unwrap();
    Some(kib * 1024.0 / 1e6)
}
