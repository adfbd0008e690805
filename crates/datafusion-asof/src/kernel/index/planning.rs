//! From the parts of a side to the layout of its index: work that is done in pieces.
//!
//! The keys of all parts get one numbering, times without numbers their ranks, and keys their
//! lists and shards.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::common::{Result, exec_err};

use super::collect::{Arrivals, IndexPart, IndexSpec};
use super::plan::{IndexPlan, LinePlan, OfPart, Planned, Route, ShardKeys};
use super::ranks::Ranking;
use crate::kernel::domain::Line;
use crate::kernel::ordinals::{Absorbing, KeyOrdinals};
use crate::kernel::pieces::{PIECE, Pieces};

/// Rows that a shard should have.
pub(super) const SHARD_ROWS: usize = 1 << 16;

/// The parts of a side on their way to an [`IndexPlan`].
pub(crate) struct Planning {
    spec: IndexSpec,
    /// Parts of which the keys have numbers of their own, the next first.
    waiting: VecDeque<PartKeys>,
    adding: Option<Adding>,
    ordinals: KeyOrdinals,
    /// By part.
    ordinals_of: Vec<Arc<Vec<u32>>>,
    /// By ordinal how many rows can match.
    counts: Vec<usize>,
    /// In the order of the index.
    batches: Vec<OfPart>,
    batch_bytes: usize,
    /// The least and the greatest time.
    span: Option<(i128, i128)>,
    /// For times that are no numbers.
    ranking: Option<Ranking>,
    ranked: bool,
    routing: Routing,
}

struct PartKeys {
    ordinals: KeyOrdinals,
    counts: Vec<u32>,
}

/// A part of which the keys get the numbers of the index.
struct Adding {
    keys: Absorbing,
    absorbed: bool,
    counts: Vec<u32>,
    counted: usize,
}

impl PartKeys {
    fn size(&self) -> usize {
        self.ordinals.size() + self.counts.capacity() * size_of::<u32>()
    }
}

impl Adding {
    fn size(&self) -> usize {
        self.keys.size() + self.counts.capacity() * size_of::<u32>()
    }
}

impl Planning {
    /// Begins to bring the parts of a side together.
    ///
    /// # Errors
    /// An execution error for more rows than an index can number.
    pub(crate) fn try_new(parts: Vec<IndexPart>) -> Result<Self> {
        let Some(spec) = parts.first().map(|part| part.spec.clone()) else {
            return exec_err!("an index of an as-of join has at least one part");
        };
        let mut waiting = VecDeque::new();
        let mut span: Option<(i128, i128)> = None;
        let (mut batches, mut batch_bytes) = (vec![], 0);
        for (part, IndexPart { ordinals, rows, .. }) in parts.into_iter().enumerate() {
            let Arrivals {
                batches: of_part,
                counts,
                span: of_rows,
                bytes,
            } = rows;
            waiting.push_back(PartKeys { ordinals, counts });
            span = match (span, of_rows) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            };
            batch_bytes += bytes;
            let of_part = of_part.into_iter().enumerate();
            batches.extend(of_part.map(|(number, batch)| OfPart {
                part,
                number,
                batch,
            }));
        }
        let rows: usize = batches.iter().map(|b| b.batch.rows()).sum();
        if u32::try_from(rows).is_err() {
            return exec_err!("a side of an as-of join has too many rows for one index");
        }
        batches.sort_by_key(|of_part| of_part.batch.places.first());
        Ok(Self {
            waiting,
            adding: None,
            ordinals: KeyOrdinals::try_new(&spec.keys)?,
            ordinals_of: vec![],
            counts: vec![],
            batches,
            batch_bytes,
            span,
            ranking: (spec.domain.line() == Line::Rows).then(Ranking::default),
            ranked: false,
            routing: Routing::default(),
            spec,
        })
    }

    /// The plan, once all pieces are done.
    pub(crate) fn finish(self) -> Result<IndexPlan> {
        let line = self.spec.domain.line();
        let (places, ranks) = self.ranking.map(Ranking::finish).unzip();
        let planned = Planned {
            spec: self.spec,
            ordinals: self.ordinals,
            ordinals_of: self.ordinals_of,
            batches: self.batches,
            least: self.span.unwrap_or_default().0,
            offsets: self.routing.offsets,
            routes: self.routing.routes,
            shards: self.routing.shards,
            places,
            ranks,
        };
        Ok(match line {
            Line::I128 => IndexPlan::I128(LinePlan::try_new(planned)?),
            _ => IndexPlan::I64(LinePlan::try_new(planned)?),
        })
    }

    /// Does a piece of giving keys their numbers; gives whether there is another.
    fn add_keys(&mut self) -> Result<bool> {
        let Some(mut adding) = self.adding.take() else {
            let Some(PartKeys { ordinals, counts }) = self.waiting.pop_front() else {
                return Ok(false);
            };
            self.adding = Some(match self.ordinals.is_empty() {
                true => {
                    let keys = Absorbing::taken_over(&ordinals);
                    self.ordinals = ordinals;
                    Adding::new(keys, counts)
                }
                false => Adding::new(Absorbing::new(ordinals), counts),
            });
            return Ok(true);
        };
        if !adding.absorbed {
            adding.absorbed = !self.ordinals.absorb(&mut adding.keys)?;
            self.adding = Some(adding);
            return Ok(true);
        }
        let keys = self.ordinals.len();
        self.counts.reserve_exact(keys - self.counts.len());
        self.counts.resize(keys, 0);
        let end = adding.counts.len().min(adding.counted + PIECE);
        let counts = &adding.counts[adding.counted..end];
        let ordinals = &adding.keys.ordinals()[adding.counted..];
        for (ordinal, count) in ordinals.iter().zip(counts) {
            self.counts[*ordinal as usize] += *count as usize;
        }
        adding.counted = end;
        if end < adding.counts.len() {
            self.adding = Some(adding);
        } else {
            self.ordinals_of.push(Arc::new(adding.keys.into_ordinals()));
        }
        Ok(true)
    }

    /// The span of the times, of ranks too.
    fn width(&self) -> u128 {
        let (least, greatest) = self.span.unwrap_or_default();
        greatest.wrapping_sub(least).cast_unsigned()
    }
}

impl Adding {
    fn new(keys: Absorbing, counts: Vec<u32>) -> Self {
        Self {
            keys,
            absorbed: false,
            counts,
            counted: 0,
        }
    }
}

impl Pieces for Planning {
    fn size(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(PartKeys::size).sum();
        let ordinals_of: usize = (self.ordinals_of.iter())
            .map(|of_part| size_of_val(of_part.as_slice()))
            .sum();
        self.batch_bytes
            + waiting
            + self.adding.as_ref().map_or(0, Adding::size)
            + self.ordinals.size()
            + ordinals_of
            + self.counts.capacity() * size_of::<usize>()
            + self.ranking.as_ref().map_or(0, Ranking::size)
            + self.routing.size()
    }

    fn room(&self) -> usize {
        let keys = match (&self.adding, self.waiting.front()) {
            (Some(adding), _) if !adding.absorbed => self.ordinals.room(PIECE),
            (Some(_), _) => match self.ordinals.len() > self.counts.capacity() {
                true => self.ordinals.len() * size_of::<usize>(),
                false => 0,
            },
            (None, Some(next)) => next.ordinals.len() * size_of::<u32>(),
            (None, None) => self.routing.room(self.counts.len()),
        };
        let ranks = self.ranking.as_ref();
        keys + ranks.map_or(0, |ranking| ranking.room(&self.batches))
    }

    fn piece(&mut self) -> Result<bool> {
        if self.add_keys()? {
            return Ok(true);
        }
        if let Some(ranking) = &mut self.ranking
            && !self.ranked
        {
            self.ranked = !ranking.piece(&self.batches);
            self.span = Some((0, ranking.greatest()));
            return Ok(true);
        }
        let width = self.width();
        Ok(self.routing.piece(&self.counts, width))
    }
}

/// Lists and shards of about [`SHARD_ROWS`] rows: neighbouring keys share one, a frequent key
/// has several.
#[derive(Default)]
struct Routing {
    routes: Vec<Route>,
    shards: Vec<ShardKeys>,
    offsets: Vec<usize>,
    /// Rows that fit the last shard.
    room: usize,
}

impl Routing {
    fn size(&self) -> usize {
        self.routes.capacity() * size_of::<Route>()
            + self.offsets.capacity() * size_of::<usize>()
            + self.shards.capacity() * size_of::<ShardKeys>()
    }

    fn room(&self, keys: usize) -> usize {
        match self.offsets.is_empty() {
            true => keys * size_of::<Route>() + (keys + 1) * size_of::<usize>(),
            false => 0,
        }
    }

    fn piece(&mut self, counts: &[usize], width: u128) -> bool {
        if self.offsets.is_empty() {
            self.routes.reserve_exact(counts.len());
            self.offsets.reserve_exact(counts.len() + 1);
            self.offsets.push(0);
        }
        let done = self.routes.len();
        let end = counts.len().min(done + PIECE);
        for (count, key) in counts[done..end].iter().zip(done as u32..) {
            let route = self.route(*count, key, width);
            self.routes.push(route);
            let before = self.offsets.last().copied().unwrap_or_default();
            self.offsets.push(before + count);
        }
        end < counts.len()
    }

    fn route(&mut self, count: usize, key: u32, width: u128) -> Route {
        let bits = u128::BITS - width.leading_zeros();
        let cells = (count / SHARD_ROWS).next_power_of_two().ilog2();
        let shift = bits.saturating_sub(cells);
        let last_cell = match cells {
            0 => 0,
            _ => (width >> shift) as u32,
        };
        let own = ShardKeys {
            start: key,
            end: key + 1,
        };
        if last_cell > 0 {
            let first = self.shards.len() as u32;
            self.shards.extend(vec![own; last_cell as usize + 1]);
            self.room = 0;
            return Route {
                first,
                last_cell,
                shift,
            };
        }
        match self.shards.last_mut() {
            Some(shard) if self.room > count => {
                shard.end = key + 1;
                self.room -= count;
            }
            _ => {
                self.shards.push(own);
                self.room = SHARD_ROWS.saturating_sub(count);
            }
        }
        Route {
            first: self.shards.len() as u32 - 1,
            last_cell: 0,
            shift: u64::BITS - 1,
        }
    }
}
