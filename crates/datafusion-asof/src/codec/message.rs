//! The messages, as `prost` writes them.
//!
//! Words (kinds, operators, strategies) are numbered from 1, so that 0, which stands for a field
//! that is not there, is none of them.

use std::fmt::Debug;

use datafusion_proto::protobuf::{
    LogicalExprNode, PhysicalExprNode, PhysicalPlanNode, ScalarValue, Schema,
};
use prost::{Message, Oneof};

/// A node of a plan.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(oneof = "NodeKind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<NodeKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum NodeKind {
    #[prost(message, tag = "1")]
    Logical(Spec<LogicalExprNode>),
    #[prost(message, tag = "2")]
    Join(Join),
    #[prost(message, tag = "3")]
    TimeSalt(TimeSalt),
    #[prost(message, tag = "4")]
    RowPlace(RowPlace),
    #[prost(message, tag = "5")]
    PinnedScan(PinnedScan),
    #[prost(message, tag = "6")]
    ReadInOrder(ReadInOrder),
}

/// `AsOfSpec`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Spec<E: Debug + Default + Message> {
    #[prost(uint32, tag = "1")]
    pub join_type: u32,
    #[prost(message, repeated, tag = "2")]
    pub on: Vec<Key<E>>,
    #[prost(message, optional, tag = "3")]
    pub left_time: Option<E>,
    #[prost(uint32, tag = "4")]
    pub op: u32,
    #[prost(message, optional, tag = "5")]
    pub right_time: Option<E>,
    #[prost(message, optional, tag = "6")]
    pub tolerance: Option<E>,
    #[prost(message, optional, tag = "7")]
    pub filter: Option<E>,
    #[prost(message, repeated, tag = "8")]
    pub ties: Vec<Tie<E>>,
    #[prost(uint32, tag = "9")]
    pub null_policy: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Key<E: Debug + Default + Message> {
    #[prost(message, optional, tag = "1")]
    pub left: Option<E>,
    #[prost(message, optional, tag = "2")]
    pub right: Option<E>,
    #[prost(bool, tag = "3")]
    pub null_equals_null: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Tie<E: Debug + Default + Message> {
    #[prost(message, optional, tag = "1")]
    pub expr: Option<E>,
    #[prost(bool, tag = "2")]
    pub descending: bool,
    #[prost(bool, tag = "3")]
    pub nulls_first: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Projection {
    #[prost(uint64, repeated, tag = "1")]
    pub columns: Vec<u64>,
}

/// `AsOfJoinExec`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Join {
    #[prost(message, optional, tag = "1")]
    pub spec: Option<Spec<PhysicalExprNode>>,
    #[prost(uint32, tag = "2")]
    pub strategy: u32,
    #[prost(string, tag = "3")]
    pub reason: String,
    #[prost(message, optional, tag = "4")]
    pub projection: Option<Projection>,
    #[prost(bool, tag = "5")]
    pub distributed: bool,
    #[prost(bool, tag = "6")]
    pub indexes_partitions: bool,
    #[prost(bool, tag = "7")]
    pub streams: bool,
}

/// `TimeSaltExec`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSalt {
    #[prost(message, optional, tag = "1")]
    pub spec: Option<Spec<PhysicalExprNode>>,
    #[prost(bool, tag = "2")]
    pub is_right: bool,
    #[prost(message, optional, tag = "3")]
    pub projection: Option<Projection>,
    /// The columns that the other side has by itself.
    #[prost(message, optional, tag = "4")]
    pub other: Option<Schema>,
    #[prost(message, repeated, tag = "5")]
    pub hot_keys: Vec<HotKey>,
    /// By slot.
    #[prost(uint32, repeated, tag = "6")]
    pub salts: Vec<u32>,
    /// By range of all hot keys its slot; none if they are dealt out in turn.
    #[prost(uint32, repeated, tag = "7")]
    pub dealt: Vec<u32>,
}

/// A key that is cut.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HotKey {
    /// By column of the key.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<ScalarValue>,
    /// Where its ranges begin, on a line of numbers: little endian, 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub numbers: Vec<Vec<u8>>,
    /// Where its ranges begin, on a line of bytes.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub rows: Vec<Vec<u8>>,
}

/// `RowPlaceExec`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RowPlace {
    #[prost(uint64, tag = "1")]
    pub first_rank: u64,
    #[prost(uint64, tag = "2")]
    pub end_rank: u64,
    /// By partition of the input.
    #[prost(uint64, repeated, tag = "3")]
    pub numbers: Vec<u64>,
}

/// A scan of which the source is pinned.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PinnedScan {
    /// The scan without the pin.
    #[prost(message, optional, tag = "1")]
    pub scan: Option<PhysicalPlanNode>,
}

/// `ReadInOrderExec`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadInOrder {
    /// Each of which the rows are in.
    #[prost(message, repeated, tag = "1")]
    pub orders: Vec<Order>,
    #[prost(uint32, tag = "2")]
    pub tasks: u32,
}

/// An order of rows.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Order {
    #[prost(message, repeated, tag = "1")]
    pub by: Vec<Tie<PhysicalExprNode>>,
}
