//! What the system says of the process under test: its processor time and its memory.

use std::fs;

use super::howdah::Howdah;

/// `_SC_CLK_TCK`, which is 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time that a process has used so far.
pub(crate) fn processor_seconds(howdah: &Howdah) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", howdah.pid())).expect("a process");
    // The name in brackets may hold spaces; user and system time are the 14th and 15th field.
    let (_, rest) = stat.rsplit_once(')').expect("a name in brackets");
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || -> f64 { fields.next().and_then(|f| f.parse().ok()).expect("ticks") };
    (ticks() + ticks()) / TICKS_PER_SECOND
}

/// A line of `/proc/PID/status` that is a size, in bytes.
pub(crate) fn memory(howdah: &Howdah, name: &str) -> u64 {
    let path = format!("/proc/{}/status", howdah.pid());
    let status = fs::read_to_string(path).expect("a process");
    let line = status.lines().find(|line| line.starts_with(name)).expect(name);
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect(name);
    kilobytes * 1024
}
