//! `podrun completion`: the files that `tests/suite/generated.rs` keeps in step with the command line.

use crate::cli::failure::Failure;
use crate::cli::options::Shell;
use crate::cli::render;

const BASH: &[u8] = include_bytes!("../../../completions/podrun.bash");
const FISH: &[u8] = include_bytes!("../../../completions/podrun.fish");
const ZSH: &[u8] = include_bytes!("../../../completions/_podrun");

/// Performs the command.
///
/// # Errors
/// When standard output is gone.
pub(crate) fn run(shell: Shell) -> Result<u8, Failure> {
    let text = match shell {
        Shell::Bash => BASH,
        Shell::Fish => FISH,
        Shell::Zsh => ZSH,
    };
    render::bytes(text)?;
    Ok(0)
}
