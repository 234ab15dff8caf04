//! Sparse files of GNU tar's old format (type `S`): where the pieces go that the archive holds.

use tar::{GnuHeader, GnuSparseHeader};

use super::{UnpackError, bad_stream, invalid};

/// A piece of a file; those of one file follow each other in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The list of pieces, as far as it was read. Its blocks count as headers of their entry, which
/// bounds them: each names 21 pieces.
#[derive(Debug, Default)]
pub(super) struct Map {
    pieces: Vec<Piece>,
    end: u64,
    stored: u64,
    is_complete: bool,
}

impl Map {
    /// Adds the pieces of one block.
    ///
    /// An unused slot ends the list: GNU tar knows it by its length and reads nothing after it,
    /// Go by its offset and reads the next block. So it is unused as a whole and the last one, or
    /// the archive is refused; so is one whose pieces do not begin at a block, where GNU tar
    /// looks for them and Go does not.
    pub(super) fn add(&mut self, slots: &[GnuSparseHeader]) -> Result<(), UnpackError> {
        for slot in slots {
            let is_unused = [slot.offset, slot.numbytes].map(|field| field.first() == Some(&0));
            if is_unused == [true, true] {
                self.is_complete = true;
                continue;
            }
            if self.is_complete || is_unused.contains(&true) {
                return invalid("the list of a sparse file goes on after its end");
            }
            let offset = slot.offset().map_err(|error| bad_stream(&error))?;
            let length = slot.length().map_err(|error| bad_stream(&error))?;
            if offset < self.end {
                return invalid("the pieces of a sparse file are not in order");
            }
            if length > 0 && !self.stored.is_multiple_of(512) {
                return invalid("a piece of a sparse file does not begin at a block");
            }
            let (Some(end), Some(stored)) =
                (offset.checked_add(length), self.stored.checked_add(length))
            else {
                return invalid("a sparse file is longer than files can be");
            };
            (self.end, self.stored) = (end, stored);
            if length > 0 {
                self.pieces.push(Piece { offset, length });
            }
        }
        Ok(())
    }

    /// Whether another block may follow.
    pub(super) fn goes_on(&self, is_extended: [u8; 1]) -> Result<bool, UnpackError> {
        match (is_extended, self.is_complete) {
            ([0], _) => Ok(false),
            (_, false) => Ok(true),
            (_, true) => invalid("the list of a sparse file goes on after its end"),
        }
    }

    /// The pieces and the file's length, if the list and the header say the same.
    pub(super) fn finish(
        self,
        header: &GnuHeader,
        size: u64,
    ) -> Result<(Vec<Piece>, u64), UnpackError> {
        let length = header.real_size().map_err(|error| bad_stream(&error))?;
        if self.end > length || self.stored != size {
            return invalid("the list of a sparse file does not fit its header");
        }
        Ok((self.pieces, length))
    }
}
