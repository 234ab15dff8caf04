//! Printing the output of pods that this command has started: every line, as it comes.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::inotify;

use crate::store::{LogCursor, PodDir, Stream};

/// Watches the log directories of some containers.
#[derive(Debug)]
pub(crate) struct Follower {
    inotify: OwnedFd,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    prefix: String,
    cursor: LogCursor,
    /// The last piece that was printed did not end its line.
    is_open: bool,
}

impl Follower {
    /// Nothing is followed yet.
    ///
    /// # Errors
    /// As `inotify_init1(2)`.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Ok(Self {
            inotify: inotify::init(flags)?,
            sources: Vec::new(),
        })
    }

    /// The descriptor that is readable when there may be something new.
    pub(crate) fn watched(&self) -> &OwnedFd {
        &self.inotify
    }

    /// Adds a container; its log directory is made here, so that there is something to watch
    /// before the first line is written.
    ///
    /// # Errors
    /// As `mkdir(2)` and `inotify_add_watch(2)`.
    pub(crate) fn add(&mut self, dir: &PodDir, container: &str, prefix: String) -> io::Result<()> {
        let path = dir.path().join("logs").join(container);
        std::fs::create_dir_all(&path)?;
        self.watch(LogCursor::new(&path, 0, None), &path, prefix)
    }

    /// Adds a place in a log.
    ///
    /// # Errors
    /// As `inotify_add_watch(2)`.
    pub(crate) fn watch(
        &mut self,
        cursor: LogCursor,
        path: &std::path::Path,
        prefix: String,
    ) -> io::Result<()> {
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&self.inotify, path, flags)?;
        self.sources.push(Source {
            prefix,
            cursor,
            is_open: false,
        });
        Ok(())
    }

    /// Prints what is new.
    ///
    /// # Errors
    /// As `read(2)` and `write(2)`.
    pub(crate) fn print(&mut self) -> io::Result<()> {
        let mut events = [0_u8; 4096];
        while matches!(rustix::io::read(self.inotify.as_fd(), &mut events), Ok(length) if length > 0)
        {
        }
        for source in &mut self.sources {
            let Source {
                prefix,
                cursor,
                is_open,
            } = source;
            // Lines of one container stay together; the two streams stay apart.
            let mut stdout = Vec::new();
            let mut stderr = Vec::new();
            cursor.read_new(&mut |line| {
                let out = match line.stream {
                    Stream::Stdout => &mut stdout,
                    Stream::Stderr => &mut stderr,
                };
                if !*is_open {
                    out.extend_from_slice(prefix.as_bytes());
                }
                out.extend_from_slice(line.content);
                *is_open = !line.is_full;
                if line.is_full {
                    out.push(b'\n');
                }
                Ok(())
            })?;
            io::stdout().lock().write_all(&stdout)?;
            io::stdout().lock().flush()?;
            io::stderr().lock().write_all(&stderr)?;
        }
        Ok(())
    }
}
