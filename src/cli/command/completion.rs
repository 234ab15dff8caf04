//! `podrun completion`: the files that `tests/generated.rs` keeps in step with the command line.

use crate::cli::failure::Failure;
use crate::cli::options::Shell;
use crate::cli::render;

/// Performs the command.
///
/// # Errors
/// When standard output is gone.
pub(crate) fn run(shell: Shell) -> Result<u8, Failure> {
    let text: &[u8] = match shell {
        Shell::Bash => include_bytes!("../../../completions/podrun.bash"),
        Shell::Fish => include_bytes!("../../../completions/podrun.fish"),
        Shell::Zsh => include_bytes!("../../../completions/_podrun"),
    };
    render::bytes(text)?;
    Ok(0)
}
