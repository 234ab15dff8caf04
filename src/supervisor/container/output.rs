//! What a container has written, up to its end.

use crate::store::Stream;
use crate::supervisor::container::{Live, PIPE_SIZE};
use crate::supervisor::last_words::LastWords;
use crate::supervisor::watch::{Source, Watch};
use crate::sys::process;

impl Live {
    /// Copies what is in a pipe into the log; at its end the pipe is let go.
    pub(in crate::supervisor) fn copy_output(
        &mut self,
        stream: Stream,
        buffer: &mut [u8],
        watch: &Watch,
    ) {
        let pipe = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let Some(fd) = pipe else { return };
        match rustix::io::read(&*fd, &mut *buffer) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => {
                watch.remove(&*fd);
                *pipe = None;
            }
            Ok(length) => {
                let chunk = buffer.get(..length).unwrap_or_default();
                self.log.write(stream, chunk, jiff::Timestamp::now());
                let source = Source::Room(self.number);
                self.attachments.pass_on(stream, chunk, source, watch);
                if self.attachments.is_full() {
                    self.pause_output(watch);
                }
            }
        }
    }

    /// An attached client does not keep up: the container waits for it, as for any reader.
    fn pause_output(&mut self, watch: &Watch) {
        self.is_paused = true;
        for pipe in self.stdout.iter().chain(&self.stderr) {
            watch.remove(pipe);
        }
    }

    /// An attached client has read something, or has gone.
    pub(in crate::supervisor) fn resume_output(&mut self, watch: &Watch) {
        self.attachments.flush(Source::Room(self.number), watch);
        if !self.is_paused || self.attachments.is_full() {
            return;
        }
        self.is_paused = false;
        let (stdout, stderr) = (Source::Stdout(self.number), Source::Stderr(self.number));
        for (pipe, source) in [(&self.stdout, stdout), (&self.stderr, stderr)] {
            if let Some(pipe) = pipe {
                watch.add(pipe, source).ok();
            }
        }
    }

    /// After the end of init: takes what is left in the pipes, closes them and the log, and says
    /// how it ended, with its last words if they are wanted.
    pub(in crate::supervisor) fn end(
        mut self,
        last_words: Option<&LastWords<'_>>,
        buffer: &mut [u8],
        watch: &Watch,
    ) -> (i32, Option<String>) {
        self.kill_launcher();
        self.reap_launcher(watch);
        if let Some(report) = self.report.take() {
            watch.remove(&report);
        }
        let code = self.init.as_ref().map_or(255, |init| {
            watch.remove(init);
            process::reap(init).unwrap_or(255)
        });
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.drain(stream, buffer, watch);
        }
        self.log.finish(jiff::Timestamp::now());
        self.attachments.end(code, Source::Room(self.number), watch);
        let message =
            last_words.and_then(|words| words.read(&self.message, &self.logs, self.attempt, code));
        // It takes up room that other containers of the pod share.
        rustix::fs::unlink(&self.message).ok();
        (code, message)
    }

    /// Reads what one pipe can hold and no more, for a process may go on writing; one that escaped from the container with
    /// `shareProcessNamespace` may hold it open, and is not waited for.
    fn drain(&mut self, stream: Stream, buffer: &mut [u8], watch: &Watch) {
        let pipe = match stream {
            Stream::Stdout => self.stdout.take(),
            Stream::Stderr => self.stderr.take(),
        };
        let Some(fd) = pipe else { return };
        watch.remove(&fd);
        let mut left = PIPE_SIZE;
        while left > 0 {
            match rustix::io::read(&fd, &mut *buffer) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    left = left.saturating_sub(length);
                    let chunk = buffer.get(..length).unwrap_or_default();
                    self.log.write(stream, chunk, jiff::Timestamp::now());
                    let source = Source::Room(self.number);
                    self.attachments.pass_on(stream, chunk, source, watch);
                }
            }
        }
    }
}
