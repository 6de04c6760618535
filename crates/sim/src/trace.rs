//! The trace of a run: its last lines, a fingerprint of all of them, and all of them on standard output if asked for.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;

use boxoffice_core::Timestamp;

use crate::setup::START;

/// How many lines a failure shows.
const LINES_KEPT: usize = 40;

/// What happened.
#[derive(Debug)]
pub(crate) struct Trace {
    last: VecDeque<String>,
    /// FNV-1a over every line.
    hash: u64,
    print: bool,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        Self {
            last: VecDeque::with_capacity(LINES_KEPT + 1),
            hash: 0xcbf2_9ce4_8422_2325,
            print,
        }
    }

    /// Adds a line.
    pub(crate) fn note(&mut self, step: u32, now: Timestamp, what: fmt::Arguments<'_>) {
        let line = format!("{step:>5} {:>10} ms  {what}", now.since_us(START) / 1_000);
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.print {
            // A reader that went away is no reason to stop.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
        if self.last.len() == LINES_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// The fingerprint of everything so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    pub(crate) fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}
