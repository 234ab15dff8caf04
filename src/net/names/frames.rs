//! Messages in a stream, each behind two bytes of its length (RFC 1035, 4.2.2).

use std::io::{ErrorKind, Read, Result, Write};

use super::message::MAX_MESSAGE;

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// Both directions of a stream of messages; neither waits.
#[derive(Debug, Default)]
pub(super) struct Frames {
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of the output that are sent.
    sent: usize,
}

/// Whether more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Open,
    Ended,
}

impl Frames {
    /// The next whole message that has come.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.input.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let message = rest.get(..length)?.to_vec();
        self.input.drain(..length.saturating_add(2));
        Some(message)
    }

    /// Puts a message in line; one that is too long for the format is none.
    pub(super) fn push(&mut self, message: &[u8]) {
        if let Ok(length) = u16::try_from(message.len()) {
            self.output.extend_from_slice(&length.to_be_bytes());
            self.output.extend_from_slice(message);
        }
    }

    /// Bytes that are in line.
    pub(super) fn unsent(&self) -> usize {
        self.output.len().saturating_sub(self.sent)
    }

    /// Reads what has come, but no more than one message and a bit.
    pub(super) fn read(&mut self, mut from: impl Read) -> Result<Stream> {
        let mut chunk = [0; CHUNK];
        while self.input.len() < MAX_MESSAGE.saturating_add(2) {
            match from.read(&mut chunk) {
                Ok(0) => return Ok(Stream::Ended),
                Ok(bytes) => self
                    .input
                    .extend_from_slice(chunk.get(..bytes).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Stream::Open)
    }

    /// Writes what is in line as far as it goes.
    pub(super) fn write(&mut self, mut to: impl Write) -> Result<()> {
        while self.unsent() > 0 {
            match to.write(self.output.get(self.sent..).unwrap_or_default()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => self.sent = self.sent.saturating_add(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives or takes one byte, then would block, in turns.
    struct Dribble(Vec<u8>, bool);

    impl Dribble {
        fn blocks(&mut self) -> bool {
            self.1 = !self.1;
            self.1
        }
    }

    impl Read for Dribble {
        fn read(&mut self, into: &mut [u8]) -> Result<usize> {
            if self.blocks() {
                return Err(ErrorKind::WouldBlock.into());
            }
            if self.0.is_empty() {
                return Ok(0);
            }
            into[0] = self.0.remove(0);
            Ok(1)
        }
    }

    impl Write for Dribble {
        fn write(&mut self, from: &[u8]) -> Result<usize> {
            if self.blocks() {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.0.push(from[0]);
            Ok(1)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn messages_arrive_whole_however_they_are_torn() {
        let mut from = Frames::default();
        from.push(b"one");
        from.push(b"");
        from.push(b"three");
        let mut wire = Dribble(Vec::new(), false);
        while from.unsent() > 0 {
            from.write(&mut wire).unwrap();
        }
        let mut to = Frames::default();
        let mut got = Vec::new();
        while to.read(&mut wire).unwrap() == Stream::Open {
            while let Some(message) = to.next() {
                got.push(message);
            }
        }
        assert_eq!(got, [b"one".to_vec(), b"".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn input_stays_bounded_when_nobody_takes_it() {
        let mut frames = Frames::default();
        assert_eq!(frames.read(std::io::repeat(0xff)).unwrap(), Stream::Open);
        assert!(frames.input.len() < MAX_MESSAGE + 2 + CHUNK);
    }
}
