//! The one binary: stage dispatch, then the command line.

fn main() -> std::process::ExitCode {
    podrun::cli::main()
}
