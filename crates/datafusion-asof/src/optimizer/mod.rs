//! Logical rules: what may pass through an as-of join.

mod push_down_filter;
mod push_down_limit;

pub(crate) use push_down_filter::AsOfPushDownFilter;
pub(crate) use push_down_limit::AsOfPushDownLimit;
