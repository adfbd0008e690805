//! Times of a sample, spread over those between its blocks.
//!
//! A block of a side that comes in time order has times that are close to each other, and no block has those
//! in between. Cuts between blocks would then fall onto the few times that were met. So the rows of
//! a block are moved apart until they fill the room up to half the way to the neighbours.
//!
//! Which blocks are neighbours depends on the input. In a *run*, a few blocks or more that follow each other in
//! the input and in time, they are those before and after: where sixteen files are each in time order,
//! there are sixteen runs, over the same times. All other blocks are neighbours by their times alone.
//!
//! Late rows and other strays must not hide an order. So whether two blocks leave room between them
//! is judged by the middle half of their rows, and rows that are beyond the room of their block
//! stay where they are. Where the middle halves overlap, as in any block of a side in random
//! order, there is no room, and nothing is moved.

use super::SampledBlock;

/// Blocks that follow each other in time by chance are fewer.
const LEAST_RUN: usize = 4;

/// Of fewer rows it is not asked whether they are in order: they may be by chance.
pub(super) const LEAST_ORDERED: usize = 16;

/// Whether the rows of a block go one way in time: most of its first half before or after most of its second.
pub(super) fn is_in_order<T: Ord>(of_block: &[T]) -> bool {
    let middle = |times: &[T]| {
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_unstable_by_key(|row| &times[*row]);
        let stray = order.len() / 4;
        (order[stray], order[order.len() - 1 - stray])
    };
    if of_block.len() < LEAST_ORDERED {
        return false;
    }
    let (first, second) = of_block.split_at(of_block.len() / 2);
    let (in_first, in_second) = (middle(first), middle(second));
    first[in_first.1] < second[in_second.0] || second[in_second.1] < first[in_first.0]
}

/// The rows of one block.
struct Cluster {
    /// In time order, as numbers of the times.
    rows: Vec<usize>,
    /// From when to when the middle half of them is.
    middle: (i128, i128),
    /// How much of the input is nearer to the block than to others, before and after it.
    reach: [f64; 2],
}

impl Cluster {
    fn centre(&self) -> f64 {
        (self.middle.0 as f64 + self.middle.1 as f64) / 2.0
    }

    fn is_before(&self, other: &Self) -> bool {
        self.middle.1 < other.middle.0
    }
}

/// Fills the room between the blocks of a side: `times` are those of the rows of one key, each with the number
/// of its block, in the order of the blocks. `ends` are the least and the greatest time of the side, where they are known.
pub(super) fn fill(times: &mut [(i128, usize)], blocks: &[SampledBlock], ends: [Option<i128>; 2]) {
    let mut clusters: Vec<Cluster> = vec![];
    let mut row = 0;
    for of_block in times.chunk_by(|a, b| a.1 == b.1) {
        let mut rows: Vec<usize> = (row..row + of_block.len()).collect();
        row += of_block.len();
        rows.sort_by_key(|row| times[*row].0);
        let stray = rows.len() / 4;
        clusters.push(Cluster {
            middle: (times[rows[stray]].0, times[rows[rows.len() - 1 - stray]].0),
            reach: blocks[of_block[0].1].reach,
            rows,
        });
    }
    let mut others = vec![];
    for run in clusters.chunk_by(Cluster::is_before) {
        match run.len() >= LEAST_RUN {
            true => fill_between(&run.iter().collect::<Vec<_>>(), times, ends),
            false => others.extend(run),
        }
    }
    others.sort_by_key(|cluster| cluster.middle);
    fill_between(&others, times, ends);
}

/// Fills the room between neighbours.
fn fill_between(clusters: &[&Cluster], times: &mut [(i128, usize)], ends: [Option<i128>; 2]) {
    for (number, cluster) in clusters.iter().enumerate() {
        let before = number.checked_sub(1).map(|before| clusters[before]);
        let after = clusters.get(number + 1).copied();
        let (least, greatest) = cluster.middle;
        // Halfway to a neighbour, and from an outer block as far as it reaches at the pace of the inner ones.
        let from = match (before, after) {
            (Some(before), _) if before.is_before(cluster) => {
                halfway(before.middle.1, cluster.middle.0)
            }
            (None, Some(after)) if cluster.is_before(after) => {
                let pace = pace(cluster, after);
                let from = least.saturating_sub((pace * cluster.reach[0]) as i128);
                from.max(ends[0].unwrap_or(i128::MIN)).min(least)
            }
            _ => least,
        };
        let to = match (before, after) {
            (_, Some(after)) if cluster.is_before(after) => {
                halfway(cluster.middle.1, after.middle.0)
            }
            (Some(before), None) if before.is_before(cluster) => {
                let pace = pace(before, cluster);
                let to = greatest.saturating_add((pace * cluster.reach[1]) as i128);
                to.min(ends[1].unwrap_or(i128::MAX)).max(greatest)
            }
            _ => greatest,
        };
        spread(&cluster.rows, times, from, to);
    }
}

fn halfway(a: i128, b: i128) -> i128 {
    a.wrapping_add(b.wrapping_sub(a) / 2)
}

/// Time that passes while a row of the input comes, from one block to the next.
fn pace(cluster: &Cluster, next: &Cluster) -> f64 {
    let input = (cluster.reach[1] + next.reach[0]).max(f64::MIN_POSITIVE);
    (next.centre() - cluster.centre()) / input
}

/// Spreads those rows of a cluster that are between two times over all that is between them.
fn spread(rows: &[usize], times: &mut [(i128, usize)], from: i128, to: i128) {
    let inside: Vec<usize> = rows
        .iter()
        .copied()
        .filter(|row| (from..=to).contains(&times[*row].0))
        .collect();
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
        return;
    };
    let (least, greatest) = (times[*first].0, times[*last].0);
    if least == greatest && (from == least || to == greatest) {
        // Others have that time too: it is a frequent one.
        return;
    }
    let room = to.wrapping_sub(from) as f64;
    let span = greatest.wrapping_sub(least) as f64;
    for (rank, row) in inside.iter().enumerate() {
        let share = match span > 0.0 {
            true => times[*row].0.wrapping_sub(least) as f64 / span,
            false => (rank as f64 + 0.5) / inside.len() as f64,
        };
        times[*row].0 = from.wrapping_add((share * room) as i128);
    }
}

#[cfg(test)]
mod tests;
