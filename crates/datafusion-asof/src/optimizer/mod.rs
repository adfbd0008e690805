//! Logical rules: what may pass through an as-of join.

mod push_down_filter;

pub(crate) use push_down_filter::AsOfPushDownFilter;
