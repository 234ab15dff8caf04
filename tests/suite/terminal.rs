//! A terminal for a command under test: a pty whose other side the test holds.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::harness::{PATIENCE, ends_within, until};

/// A command with a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    child: Child,
    master: File,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    /// Starts the command as the leader of a session on a new terminal of this size.
    pub(crate) fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave: OwnedFd = rustix::fs::open(
            &name,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            0.into(),
        )
        .unwrap();
        resize(&slave, rows, columns);
        // util-linux's setsid makes standard input the controlling terminal.
        let mut inside = Command::new("setsid");
        inside
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        inside.env_clear();
        for (key, value) in command.get_envs() {
            inside.env(key, value.unwrap_or_default());
        }
        if let Some(dir) = command.get_current_dir() {
            inside.current_dir(dir);
        }
        let child = inside
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave))
            .spawn()
            .unwrap();
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let mut reader = master.try_clone().unwrap();
        let shown = Arc::clone(&screen);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = reader.read(&mut buffer) {
                if length == 0 {
                    break;
                }
                shown.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self {
            child,
            master,
            screen,
            reader,
        }
    }

    pub(crate) fn type_text(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        resize(&self.master, rows, columns);
    }

    /// Everything that was shown so far.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, words: &str) {
        until(&format!("`{words}` on the terminal"), || {
            self.shown().contains(words)
        });
    }

    #[track_caller]
    pub(crate) fn end(mut self) -> (i32, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let in_time = ends_within(pid, PATIENCE);
        if !in_time {
            self.child.kill().ok();
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        assert!(
            in_time,
            "the command does not end; it shows:\n{}",
            self.shown()
        );
        // The last words are on the screen once nobody has the terminal open any more.
        self.reader.join().unwrap();
        let screen = self.screen.lock().unwrap();
        (code, String::from_utf8_lossy(&screen).into_owned())
    }
}

fn resize(terminal: &impl AsFd, rows: u16, columns: u16) {
    tcsetwinsize(
        terminal,
        Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .unwrap();
}
