//! CPU time and memory of a process, read from `/proc`.

use std::fs;

/// Clock ticks in a second: fixed for user space on Linux.
const TICKS_PER_S: u64 = 100;

/// CPU time that a process used so far, user and system, microseconds. `None` when it is gone.
pub(crate) fn cpu_us(pid: u32) -> Option<u64> {
    cpu_of_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// CPU time that this process used so far, microseconds.
pub(crate) fn own_cpu_us() -> u64 {
    cpu_us(std::process::id()).unwrap_or(0)
}

/// Resident memory of a process, KiB. `None` when it is gone.
pub(crate) fn resident_kib(pid: u32) -> Option<u64> {
    resident_of_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn cpu_of_stat(stat: &str) -> Option<u64> {
    // The name in parentheses may hold spaces and parentheses itself.
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) * (1_000_000 / TICKS_PER_S))
}

fn resident_of_status(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Raises the limit of open files to what the system allows.
///
/// # Errors
/// What to do when `needed` files are more than that.
pub(crate) fn raise_open_files(needed: u64) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // A failure shows below, as a limit that is too low.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if current < needed {
        return Err(format!(
            "{needed} open files are needed, the system allows {current}; raise it with ulimit -n"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(cpu_of_stat(stat), Some(2_000_000));
        assert_eq!(
            resident_of_status("Name:\tx\nVmRSS:\t  123 kB\n"),
            Some(123)
        );
        assert!(resident_kib(std::process::id()).is_some());
    }
}
