//! Who is ended first when the machine's memory is used up (`proc_pid_oom_score_adj(5)`).

use std::fs::OpenOptions;
use std::io::{self, Write};

use crate::stage::At;
use crate::wire::{Failure, Step};

const FILE: &str = "/proc/self/oom_score_adj";

fn write(score: i16) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(FILE)?;
    file.write_all(score.to_string().as_bytes())
}

fn own() -> io::Result<i16> {
    let text = std::fs::read_to_string(FILE)?;
    text.trim().parse().map_err(io::Error::other)
}

/// Makes this process, which is the supervisor, go later than all of its containers, the first of
/// which go at `least`. Without the right to lower its score it keeps it, and they have no lower one
/// either.
pub fn go_after(least: i16) {
    /// `OOM_SCORE_ADJ_MIN`, of which the kernel ends none.
    const MIN: i16 = -1000;
    let score = least.saturating_sub(1).max(MIN);
    if own().is_ok_and(|own| score < own) {
        write(score).ok();
    }
}

/// Sets the score of this process and its children, which is at least the supervisor's: when that
/// goes, all goes.
///
/// # Errors
/// As `write(2)`.
pub fn raise_to(score: i16) -> Result<(), Failure> {
    let set = || {
        if score > own()? {
            write(score)?;
        }
        Ok::<_, io::Error>(())
    };
    set().at(Step::ProcessState, FILE)
}
