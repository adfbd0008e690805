//! Long work in pieces, so that whoever drives it can stop, and take memory, in between.

use datafusion::common::Result;

/// Rows or keys of a piece: about a millisecond.
pub(crate) const PIECE: usize = 1 << 16;

/// Work of many pieces.
pub(crate) trait Pieces {
    /// Bytes held.
    fn size(&self) -> usize;

    /// Bytes that the next piece may take beyond [`Self::size`].
    fn room(&self) -> usize;

    /// Does the next piece; gives whether there is another.
    fn piece(&mut self) -> Result<bool>;
}
