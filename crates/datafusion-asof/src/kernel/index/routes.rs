//! Which block of the left a right row is for.
//!
//! # Algorithm
//!
//! The positions of an index are cut into *blocks* of one size, whatever keys and times are in them. A
//! right row is for the block of its [bin](super::candidates), so of a key whose list is in one block
//! nothing needs to be known but that. The list of a frequent key is in several: of each but the first it is
//! kept which time a row has to pass to be for it, and [`cells`](super::cells) tell about where among these a
//! time is.
//!
//! # Memory
//!
//! 8 bytes for each key, and about 40 for each block.

use super::SideIndex;
use super::cells::Cells;
use super::timeline::Timeline;
use crate::spec::{AsOfDirection, MatchOp};

/// Stands for the block of a row that is for none.
pub(super) const NOWHERE: u32 = u32::MAX;
/// The list of a key that is in one block.
const ALONE: u32 = u32::MAX;
/// As many cells as to the power of two for each block, so that most have no end of one.
const FINER: u32 = 2;

/// What a right row passes on its way to its bin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub backward: bool,
    /// Whether it passes left rows of equal time.
    equal_precedes: bool,
}

impl Way {
    pub(super) fn new(op: MatchOp) -> Self {
        let backward = op.direction() == AsOfDirection::Backward;
        Self {
            backward,
            equal_precedes: backward != op.allows_equal(),
        }
    }

    #[inline]
    pub(super) fn precedes(self, left: i64, right: i64) -> bool {
        (left < right) | (self.equal_precedes & (left == right))
    }
}

pub(super) struct Routes {
    way: Way,
    /// By ordinal.
    of_key: Vec<Route>,
    /// Of keys with several blocks, by block but the first, what a right row has to pass to be for it.
    marks: Vec<i64>,
    cells: Cells<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Route {
    /// The first block or, of a key with several, what makes it of a number of marks.
    block: u32,
    /// Which of the lists in several blocks it is.
    list: u32,
}

impl Routes {
    pub(super) fn new(
        index: &SideIndex,
        line: &Timeline<i64>,
        (way, block_bits): (Way, u32),
    ) -> Self {
        let (mut of_key, mut marks) = (Vec::with_capacity(index.keys_len()), vec![]);
        let mut lists = vec![0];
        for ends in index.all.offsets.windows(2) {
            let Some(last) = ends[1].checked_sub(1).filter(|_| ends[0] < ends[1]) else {
                of_key.push(Route {
                    block: NOWHERE,
                    list: ALONE,
                });
                continue;
            };
            let (first, last) = ((ends[0] >> block_bits) as u32, (last >> block_bits) as u32);
            if first == last {
                of_key.push(Route {
                    block: first,
                    list: ALONE,
                });
                continue;
            }
            of_key.push(Route {
                block: first.wrapping_sub(marks.len() as u32),
                list: lists.len() as u32 - 1,
            });
            for block in first + 1..=last {
                let start = (block as usize) << block_bits;
                // A forward row that passes the first position of a block is for that.
                marks.push(line.at(start - usize::from(way.backward)));
            }
            lists.push(marks.len());
        }
        let mut cells = Cells::with_capacity(lists.len() - 1, 4 * marks.len());
        for ends in lists.windows(2) {
            cells.add(&marks, ends[0]..ends[1], FINER);
        }
        Self {
            way,
            of_key,
            marks,
            cells,
        }
    }

    /// The block of a right row whose key has this ordinal; [`NOWHERE`] if no left row with the key can match.
    #[inline]
    pub(super) fn block(&self, key: u32, time: i64) -> u32 {
        let route = self.of_key[key as usize];
        if route.list == ALONE {
            return route.block;
        }
        let of_list = (route.list as usize, time);
        let precedes = |mark| self.way.precedes(mark, time);
        let mark = self.cells.point(&self.marks, of_list, precedes);
        route.block.wrapping_add(mark as u32)
    }

    /// Bytes held, for the memory pool.
    pub(super) fn size(&self) -> usize {
        let of_key = self.of_key.capacity() * size_of::<Route>();
        of_key + self.marks.capacity() * size_of::<i64>() + self.cells.size()
    }
}
