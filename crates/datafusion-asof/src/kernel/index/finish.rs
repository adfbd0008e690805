//! The last of an index: what bounds compare, and the lists of validity classes.

use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::common::Result;

use super::cells::Cells;
use super::line::IndexTime;
use super::plan::Layout;
use super::{Postings, SideIndex};
use crate::kernel::pieces::{PIECE, Pieces};
use crate::kernel::zones::Zones;

/// An index of which all rows are in time order.
pub(crate) struct Finishing<T: IndexTime> {
    layout: Layout<T>,
    times: ScalarBuffer<T>,
    rows: ScalarBuffer<u32>,
    zones: Zones,
    /// The validity class of each own value, and those classes.
    class_of_value: Vec<Option<usize>>,
    classes: Vec<Class<T>>,
    /// Rows done for the bounds, then for each class.
    bounded: usize,
    held: usize,
}

/// Rows that are valid together.
struct Class<T> {
    /// The own value that stands for it.
    value: usize,
    /// The most rows that it can have.
    most: usize,
    offsets: Vec<usize>,
    times: Vec<T>,
    rows: Vec<u32>,
    zones: Zones,
    done: usize,
    ended: bool,
}

impl<T: IndexTime> Finishing<T> {
    pub(super) fn new(layout: Layout<T>, times: ScalarBuffer<T>, rows: ScalarBuffer<u32>) -> Self {
        let (class_of_value, values) = classes(&layout.validity);
        let class = |value: usize| Class {
            value,
            most: layout.numbers_valid(value).min(rows.len()),
            offsets: vec![],
            times: vec![],
            rows: vec![],
            zones: Zones::default(),
            done: 0,
            ended: false,
        };
        Self {
            classes: values.into_iter().map(class).collect(),
            class_of_value,
            layout,
            times,
            rows,
            zones: Zones::default(),
            bounded: 0,
            held: 0,
        }
    }

    /// The index, once all pieces are done.
    pub(crate) fn finish(self) -> SideIndex {
        let classes = self.classes.into_iter().map(|class| Postings {
            times: T::line(class.times.into(), &class.offsets),
            offsets: class.offsets,
            rows: class.rows.into(),
            zones: class.zones,
        });
        let layout = self.layout;
        SideIndex {
            classes: classes.collect(),
            domain: layout.spec.domain,
            bounds: layout.spec.bounds,
            ordinals: layout.ordinals,
            numbers: layout.numbers,
            ranks: layout.ranks,
            class_of_value: self.class_of_value,
            all: Postings {
                times: T::line(self.times, &layout.offsets),
                offsets: layout.offsets,
                rows: self.rows,
                zones: self.zones,
            },
        }
    }

    fn bounds_left(&self) -> bool {
        !self.layout.bounds.is_empty() && self.bounded < self.rows.len()
    }

    fn bound_piece(&mut self) {
        let (bounds, rows) = (self.layout.bounds.len(), self.rows.len());
        if self.bounded == 0 {
            self.zones = Zones::with_capacity(bounds, rows);
        }
        let end = rows.min(self.bounded + PIECE);
        for (bound, batches) in self.layout.bounds.iter().enumerate() {
            let value = |row: &u32| {
                let id = self.layout.numbers.id(*row);
                batches[id.batch as usize][id.row as usize]
            };
            let values = self.rows[self.bounded..end].iter().map(value);
            self.zones.extend(bound, values, end == rows);
        }
        self.bounded = end;
    }

    fn class_piece(&mut self, number: usize) {
        let (layout, class) = (&self.layout, &mut self.classes[number]);
        let bounds = layout.bounds.len();
        if class.done == 0 {
            class.offsets.reserve_exact(layout.offsets.len());
            class.times.reserve_exact(class.most);
            class.rows.reserve_exact(class.most);
            class.zones = Zones::with_capacity(bounds, class.most);
        }
        let end = self.rows.len().min(class.done + PIECE);
        let first = class.rows.len();
        let mut valid = vec![];
        for at in class.done..end {
            class.begin_lists(&layout.offsets, at);
            let id = layout.numbers.id(self.rows[at]);
            let nulls = layout.validity[id.batch as usize][class.value].as_ref();
            if nulls.is_none_or(|nulls| nulls.is_valid(id.row as usize)) {
                class.times.push(self.times[at]);
                class.rows.push(self.rows[at]);
                valid.push(at);
            }
        }
        debug_assert_eq!(class.rows.len(), first + valid.len());
        class.ended = end == self.rows.len();
        for bound in 0..bounds {
            let values = valid.iter().map(|at| self.zones.value(bound, *at));
            class.zones.extend(bound, values, class.ended);
        }
        class.done = end;
        if class.ended {
            class.begin_lists(&layout.offsets, usize::MAX);
        }
    }
}

impl<T> Class<T> {
    /// Notes where the lists begin that begin up to a position.
    fn begin_lists(&mut self, offsets: &[usize], position: usize) {
        while let Some(start) = offsets.get(self.offsets.len())
            && *start <= position
        {
            self.offsets.push(self.rows.len());
        }
    }
}

impl<T: IndexTime> Pieces for Finishing<T> {
    /// Of what is added to the lists of all rows.
    fn size(&self) -> usize {
        self.held
    }

    fn room(&self) -> usize {
        let bounds = self.layout.bounds.len();
        if self.bounds_left() {
            return match self.bounded {
                0 => Zones::size_of(bounds, self.rows.len()),
                _ => 0,
            };
        }
        let class = self.classes.iter().find(|class| !class.ended);
        class.filter(|class| class.done == 0).map_or(0, |class| {
            let row = size_of::<T>() + size_of::<T>() / 15 + size_of::<u32>();
            let offsets = self.layout.offsets.len();
            class.most * row
                + offsets * size_of::<usize>()
                + Cells::<T>::most_size_of(class.most, offsets.saturating_sub(1))
                + Zones::size_of(bounds, class.most)
        })
    }

    fn piece(&mut self) -> Result<bool> {
        self.held += self.room();
        if self.bounds_left() {
            self.bound_piece();
        } else if let Some(number) = self.classes.iter().position(|class| !class.ended) {
            self.class_piece(number);
        }
        Ok(self.bounds_left() || self.classes.iter().any(|class| !class.ended))
    }
}

/// The validity class of each own value, and the own value that stands for each class. Values
/// that are NULL in the same rows share one; those that never are have none.
fn classes(validity: &[Vec<Option<NullBuffer>>]) -> (Vec<Option<usize>>, Vec<usize>) {
    let values = validity.first().map_or(0, Vec::len);
    let mut classes: Vec<usize> = vec![];
    let class_of_value = (0..values).map(|value| {
        let mut of_value = validity.iter().map(|batch| batch[value].as_ref());
        if of_value.all(|valid| valid.is_none()) {
            return None;
        }
        let same = |class: &usize| {
            let mut batches = validity.iter();
            batches.all(|batch| batch[*class] == batch[value])
        };
        let known = classes.iter().position(same);
        Some(known.unwrap_or_else(|| {
            classes.push(value);
            classes.len() - 1
        }))
    });
    (class_of_value.collect(), classes)
}
