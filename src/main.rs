//! The one binary: stage dispatch, then the command line.

use std::process::ExitCode;

/// Stages are told apart before anything else: they must not start a thread, read the environment
/// or open a file first.
fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(|name| name.to_str()) {
        Some("__supervise") => {
            let mode = arguments.next().unwrap_or_default();
            ExitCode::from(podrun::supervisor::enter(&mode.to_string_lossy()))
        }
        Some("__inside") => {
            let mode = arguments.next().unwrap_or_default();
            ExitCode::from(podrun::stage::inside::run(&mode.to_string_lossy()))
        }
        Some("__node") => {
            let mode = arguments.next().unwrap_or_default();
            ExitCode::from(podrun::node::run(&mode.to_string_lossy()))
        }
        Some("__supervisor") => ExitCode::from(podrun::supervisor::run()),
        _ => podrun::cli::main(),
    }
}
