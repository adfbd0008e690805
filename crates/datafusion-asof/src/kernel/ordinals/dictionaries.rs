//! Dictionary columns: each value is looked up once, however many batches its dictionary is of.
//!
//! Batches of a file, of a row group or of a table in memory mostly share their dictionary. The ordinals
//! of the values of such dictionaries are kept, so that a row costs a look at its code. Keys without
//! an ordinal are looked up anew once others have got one.

use std::collections::VecDeque;
use std::iter::repeat_with;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{
    Array, ArrayData, ArrayRef, DictionaryArray, UInt64Array, downcast_dictionary_array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{ArrowDictionaryKeyType, ArrowNativeType};
use datafusion::common::{HashMap, Result, exec_err};

use super::encode::plain;
use super::{ABSENT, Find, NULL_KEY, REFUSED};

/// Stands for a value that is still to be looked up: no ordinal is that.
const UNKNOWN: u32 = REFUSED;
/// Bytes that all dictionaries may take, how many of them for each of the table of keys, and at least.
const MOST_BYTES: usize = 1 << 20;
const OF_TABLE: usize = 4;
const LEAST_BYTES: usize = 1 << 14;
/// Dictionaries that are known at a time.
const MOST: usize = 64;

/// Bytes that dictionaries and the ordinals of their values may take beside a table of keys.
pub(super) fn room(table: usize) -> usize {
    (LEAST_BYTES + OF_TABLE * table).min(MOST_BYTES)
}

/// The dictionaries of late, for any number of threads.
#[derive(Debug, Default)]
pub(super) struct Dictionaries {
    /// The oldest first.
    known: Mutex<VecDeque<Arc<KnownValues>>>,
}

/// A dictionary, which is held so that no other comes to lie where it does.
#[derive(Debug)]
struct KnownValues {
    values: ArrayData,
    /// By code.
    ordinals: Vec<AtomicU32>,
    /// How many keys had an ordinal when the last of them was looked up.
    keys: AtomicUsize,
}

impl KnownValues {
    /// What is known of a code while so many keys have an ordinal.
    fn while_there_are(&self, keys: usize) -> &[AtomicU32] {
        if self.keys.swap(keys, Ordering::Relaxed) != keys {
            let ordinals = self.ordinals.iter();
            ordinals
                .filter(|ordinal| ordinal.load(Ordering::Relaxed) == ABSENT)
                .for_each(|ordinal| ordinal.store(UNKNOWN, Ordering::Relaxed));
        }
        &self.ordinals
    }

    fn size(values: &ArrayData) -> usize {
        values.get_array_memory_size() + values.len() * size_of::<AtomicU32>()
    }
}

impl Dictionaries {
    /// What is known of a dictionary; `None` for one that would take too much memory.
    fn of(&self, values: &ArrayRef, room: usize) -> Option<Arc<KnownValues>> {
        let values = values.to_data();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let same = known.iter().rev().find(|same| same.values.ptr_eq(&values));
        if let Some(same) = same {
            return Some(Arc::clone(same));
        }
        let size = KnownValues::size(&values);
        if size > room {
            return None;
        }
        let mut held: usize = known.iter().map(|k| KnownValues::size(&k.values)).sum();
        while held + size > room || known.len() >= MOST {
            held -= known
                .pop_front()
                .map_or(0, |k| KnownValues::size(&k.values));
        }
        let unknown = repeat_with(|| AtomicU32::new(UNKNOWN));
        let added = Arc::new(KnownValues {
            ordinals: unknown.take(values.len()).collect(),
            keys: AtomicUsize::new(0),
            values,
        });
        known.push_back(Arc::clone(&added));
        Some(added)
    }

    /// Ordinals of a dictionary column, where so many bytes may be taken for dictionaries and so many keys have
    /// an ordinal.
    pub(super) fn ordinals(
        &self,
        keys: &ArrayRef,
        (room, known): (usize, usize),
        find: &mut impl Find,
    ) -> Result<Vec<u32>> {
        downcast_dictionary_array!(
            keys => match is_plain(keys) {
                true => plain(keys.values(), find),
                false => {
                    let values = self.of(keys.values(), room);
                    let values = values.as_deref();
                    ordinals(keys, values.map(|values| values.while_there_are(known)), find)
                }
            },
            other => exec_err!("no dictionary: {other}")
        )
    }
}

/// Whether each row has the value of its own number.
fn is_plain<K: ArrowDictionaryKeyType>(keys: &DictionaryArray<K>) -> bool {
    let codes = keys.keys().values();
    codes.len() == keys.values().len()
        && keys.keys().null_count() == 0
        && codes
            .last()
            .is_some_and(|code| code.as_usize() + 1 == codes.len())
        && (0..).zip(codes).all(|(row, code)| row == code.as_usize())
}

fn ordinals<K: ArrowDictionaryKeyType>(
    keys: &DictionaryArray<K>,
    known: Option<&[AtomicU32]>,
    find: &mut impl Find,
) -> Result<Vec<u32>> {
    let ordinal = |code: usize| match known {
        Some(known) => known[code].load(Ordering::Relaxed),
        None => UNKNOWN,
    };
    let (codes, nulls) = (keys.keys().values(), keys.keys().nulls());
    let mut ordinals: Vec<u32> = match nulls {
        None => codes.iter().map(|code| ordinal(code.as_usize())).collect(),
        Some(nulls) => (codes.iter().zip(nulls))
            .map(|(code, valid)| match valid {
                true => ordinal(code.as_usize()),
                // There may be no value at all that the code stands for.
                false => NULL_KEY,
            })
            .collect(),
    };
    let new = NewCodes::of(&ordinals, |row| codes[row].as_usize());
    if new.codes.is_empty() {
        return Ok(ordinals);
    }
    let found = UInt64Array::from_iter_values(new.codes.iter().map(|code| *code as u64));
    let found = plain(&take(keys.values(), &found, None)?, find)?;
    for (code, ordinal) in new.codes.iter().zip(&found) {
        if let Some(known) = known {
            known[*code].store(*ordinal, Ordering::Relaxed);
        }
    }
    for (row, new) in new.rows {
        ordinals[row] = found[new];
    }
    Ok(ordinals)
}

/// Codes that are to be looked up, in the order in which they occur: only values that occur become keys.
#[derive(Default)]
struct NewCodes {
    codes: Vec<usize>,
    /// Rows that have them, with their number among them.
    rows: Vec<(usize, usize)>,
}

impl NewCodes {
    fn of(ordinals: &[u32], code: impl Fn(usize) -> usize) -> Self {
        let (mut new, mut numbers) = (Self::default(), HashMap::new());
        let rows = ordinals.iter().enumerate();
        for (row, _) in rows.filter(|(_, ordinal)| **ordinal == UNKNOWN) {
            let code = code(row);
            let number = *numbers.entry(code).or_insert_with(|| {
                new.codes.push(code);
                new.codes.len() - 1
            });
            new.rows.push((row, number));
        }
        new
    }
}
