//! `TIES BY`: which of several right rows equal in keys and time is the one.
//!
//! Rows are compared by the columns of `TIES BY` and, where they are equal in those too, by
//! their *place* in the input, with the row to be chosen last among equals for a backward or
//! nearest join and first for a forward one, as places have it.

use datafusion::arrow::compute::SortOptions;

/// The order in which the row to be chosen comes last: it is first by `TIES BY`, so the
/// options are turned around. A forward merge sees rows backwards and a forward index keeps
/// the chosen row first; both are the mirror image of this order.
pub(crate) fn chosen_last(options: SortOptions) -> SortOptions {
    SortOptions::new(!options.descending, !options.nulls_first)
}
