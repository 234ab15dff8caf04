//! The command line: the only module that prints.

mod apply;
mod command;
mod duration;
mod failure;
mod input;
mod options;
mod render;
mod selector;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use rustix::fs::Mode;

use failure::Failure;
use options::{Command, Podrun};

/// The definition of the command line, for man pages and completions.
pub fn command() -> clap::Command {
    Podrun::command()
}

/// Parses the command line, performs the command and says how it ended.
pub fn main() -> ExitCode {
    if is_privileged_by_file() {
        render::failure(&Failure::internal(
            "podrun must not be a set-user-id or set-group-id program: it does what its caller says",
        ));
        return ExitCode::from(125);
    }
    keep_own_rights();
    let options = match Podrun::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // `--help` and `--version` go to standard output and are no failure.
            let code = if error.use_stderr() { 2 } else { 0 };
            error.print().ok();
            return ExitCode::from(code);
        }
    };
    match perform(&options) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            render::failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}

/// What is made for the user alone has to be the user's, under any umask.
fn keep_own_rights() {
    let mask = rustix::process::umask(Mode::RWXU | Mode::RWXG | Mode::RWXO);
    rustix::process::umask(mask - Mode::RWXU);
}

/// Whether this process has another user's or group's rights than its caller.
fn is_privileged_by_file() -> bool {
    rustix::process::geteuid() != rustix::process::getuid()
        || rustix::process::getegid() != rustix::process::getgid()
}

fn perform(options: &Podrun) -> Result<u8, Failure> {
    let global = &options.global;
    match &options.command {
        Command::Version => {
            render::line(&format!("podrun {}", env!("CARGO_PKG_VERSION")))?;
            Ok(0)
        }
        Command::Completion { shell } => command::completion::run(*shell),
        Command::Doctor => command::doctor::run(global),
        Command::Validate(validate) => command::validate::run(validate),
        Command::Up(up) => command::up::run(global, up),
        Command::Run(run) => command::run::run(global, run),
        Command::Down(down) => command::rm::down(global, down),
        Command::Rm(rm) => command::rm::run(global, rm),
        Command::Ps(ps) => command::get::ps(global, ps),
        Command::Get(get) => command::get::run(global, get),
        Command::Describe(describe) => command::describe::run(global, describe),
        Command::Events(events) => command::events::run(global, events),
        Command::Top(top) => command::top::run(global, top),
        Command::Logs(logs) => command::logs::run(global, logs),
        Command::Exec(exec) => command::exec::run(global, exec),
        Command::Cp(cp) => command::cp::run(global, cp),
        Command::Attach(attach) => command::attach::run(global, attach),
        Command::PortForward(forward) => command::port_forward::run(global, forward),
        Command::Debug(debug) => command::debug::run(global, debug),
        Command::Restart(restart) => command::restart::run(global, restart),
        Command::Condition(condition) => command::condition::run(global, condition),
        Command::Wait(wait) => command::wait::run(global, wait),
        Command::Image(image) => command::image::run(global, image),
        Command::Volume(volume) => command::volume::run(global, volume),
        Command::Prune(prune) => command::prune::run(global, prune),
    }
}
