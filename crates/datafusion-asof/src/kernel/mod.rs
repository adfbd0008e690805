//! Pure matching over arrow arrays: no async, no I/O, no plans.
//!
//! The drivers in `exec/` decide who meets whom; what matches is decided here, once, for
//! every strategy. In reading order:
//!
//! * [`domain`]: as-of values of both sides, whatever their types, on one line of integers
//!   ([`place`]: one of them, owned);
//! * [`tolerance`]: the farthest distance on that line, and [`distance`]: which of two is less;
//! * [`reach`]: which places of one side can match a span of the other;
//! * [`ordinals`]: equality keys as dense `u32` numbers;
//! * [`ties`]: the order among equal times as numbers;
//! * [`zones`]: comparisons of right values with left values, for many right rows at once;
//! * [`rows`]: the id of a right row, and the outcome of matching a batch of left rows;
//! * [`index`]: the right side grouped by key and ordered by time, to be looked up;
//! * [`merge`]: both sides in time order, with one "last row seen" per key, and [`order`], which
//!   holds inputs to that order;
//! * [`skew`]: which keys hold how much, [`time_cut`]: those cut into ranges of time, and
//!   [`carry`]: the right rows that a range needs of the others.
//!
//! What takes long is done in [`pieces`]. Everything between keys and payload is a number: payload columns are touched only when
//! the matches of a batch are known.

pub(crate) mod carry;
pub(crate) mod distance;
pub(crate) mod domain;
pub(crate) mod index;
pub(crate) mod merge;
pub(crate) mod order;
pub(crate) mod ordinals;
pub(crate) mod pieces;
pub(crate) mod place;
pub(crate) mod reach;
pub(crate) mod rows;
pub(crate) mod skew;
pub(crate) mod ties;
pub(crate) mod time_cut;
pub(crate) mod tolerance;
pub(crate) mod zones;
