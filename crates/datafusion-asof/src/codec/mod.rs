//! Plans as bytes, for engines that execute them elsewhere.
//!
//! # What is sent
//!
//! [`AsOfLogicalCodec`] encodes as-of joins of logical plans, [`AsOfPhysicalCodec`] the nodes that
//! the library has in physical plans; both leave every other node, function and table to a codec
//! below. Expressions, types and values are written as `datafusion-proto` writes them.
//!
//! A node is sent with everything that its execution reads: nothing is looked up in the options of
//! the session that executes it. What belongs to the process that planned it stays there: the
//! memory limit and the skew that the strategy was chosen by, builds that partitions share,
//! dynamic filters, metrics. A decoded node starts with builds and metrics of its own, as often as it
//! is decoded, so a task that is run again owes nothing to the one before.
//!
//! # The format
//!
//! ```text
//! 00 'a' 's' 'o' 'f'   version   one protobuf message: message::Node
//! ```
//!
//! No protobuf message begins with a zero byte, so neither do the bytes of other codecs look like
//! ours nor ours like theirs. Protobuf skips fields that a reader does not know, which would make a
//! join without its new clause; so whatever changes what a message can say raises the version, and
//! another version than the own is refused.
//!
//! # What bytes may do
//!
//! Bytes may come from anywhere. They are checked as a query is when it is planned, columns are
//! within their input, and no value is allocated that the bytes do not hold; what does not hold is an
//! error. For what DataFusion decodes within a node (expressions, values, scans) DataFusion answers.

mod logical;
mod message;
mod physical;
mod salt;
mod spec;

use datafusion::common::{Result, exec_datafusion_err, exec_err};
use prost::Message;

pub use self::logical::AsOfLogicalCodec;
use self::message::{Node, NodeKind};
pub use self::physical::AsOfPhysicalCodec;

const MAGIC: &[u8] = b"\0asof";
/// Raised by every change of what a message can say.
const VERSION: u8 = 3;

/// Appends a node to a buffer.
fn write(kind: NodeKind, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.extend_from_slice(MAGIC);
    buffer.push(VERSION);
    let node = Node { kind: Some(kind) };
    node.encode(buffer)
        .map_err(|error| exec_datafusion_err!("an ASOF JOIN cannot be encoded: {error}"))
}

/// The node that bytes hold; `None` for bytes of another codec.
fn read(bytes: &[u8]) -> Result<Option<NodeKind>> {
    const SAME: &str = "run the same version of datafusion-asof in client, scheduler and executors";
    let Some(body) = bytes.strip_prefix(MAGIC) else {
        return Ok(None);
    };
    let node = match body.split_first() {
        Some((&VERSION, node)) => node,
        Some((version, _)) => {
            return exec_err!(
                "this plan has an ASOF JOIN in format {version}, this process reads format \
                 {VERSION}: {SAME}"
            );
        }
        None => return exec_err!("this plan has an ASOF JOIN without a format: {SAME}"),
    };
    let node = Node::decode(node)
        .map_err(|error| exec_datafusion_err!("an ASOF JOIN cannot be decoded: {error}"))?;
    match node.kind {
        Some(kind) => Ok(Some(kind)),
        None => exec_err!("this plan has a node of ASOF JOIN that is not known here: {SAME}"),
    }
}

/// What bytes without a part of a node are refused with.
fn missing<T>(part: &str) -> Result<T> {
    exec_err!("an ASOF JOIN cannot be decoded: it has no {part}")
}

#[cfg(test)]
mod tests;
