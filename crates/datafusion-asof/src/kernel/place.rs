//! A place on the line of as-of values that outlives the batch it was read from.

/// An owned place; all places of one line are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Number(i128),
    Bytes(Box<[u8]>),
}

impl Place {
    /// Bytes held beside the place itself.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// The place as a distance can be taken of it; meaningless for bytes, which have none.
    pub(crate) fn wide(&self) -> i128 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(_) => 0,
        }
    }
}
