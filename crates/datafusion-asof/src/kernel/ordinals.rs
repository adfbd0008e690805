//! Equality keys as dense ordinals.
//!
//! A join compares keys often and reads them once: [`KeyOrdinals`] gives each distinct key a
//! number, in the order of first sight, and everything after works on numbers. NULL in a key
//! column makes a key that equals nothing, [`NULL_KEY`], unless NULL equals NULL there.
//!
//! # Encodings
//!
//! | key | is looked up as |
//! |---|---|
//! | none | nothing: all rows are one group |
//! | one number of up to 64 bits | its bits, `-0.0` and the NaNs brought to one pattern |
//! | one string or binary of up to 12 bytes | the 16 bytes of its arrow view |
//! | one longer string or binary | its bytes |
//! | anything else | its bytes in arrow's row format |
//!
//! Of a dictionary column each value is looked up once, for all batches that share the dictionary
//! ([`dictionaries`]). A key that repeats from one row to the next is not looked up again.

mod dictionaries;
mod encode;

use datafusion::arrow::array::{Array, ArrayData, ArrayRef, BinaryArray, BooleanArray, make_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::utils::memory::estimate_memory_size;
use datafusion::common::{HashMap, Result, exec_err};

use self::dictionaries::Dictionaries;
use self::encode::encode;
pub(crate) use self::encode::one_pattern_per_float;
use super::pieces::PIECE;

/// The ordinal of a key with a NULL in it.
pub(crate) const NULL_KEY: u32 = u32::MAX;
/// The ordinal of a key that was looked up and never interned.
pub(crate) const ABSENT: u32 = u32::MAX - 1;
/// Stands for the key of a row that a predicate on its own side refuses.
pub(crate) const REFUSED: u32 = u32::MAX - 2;

/// Whether the ordinal stands for a key.
#[inline]
pub(crate) fn is_known(ordinal: u32) -> bool {
    ordinal < REFUSED
}

/// Takes the keys from the rows that a predicate does not let pass.
pub(crate) fn refuse(ordinals: &mut [u32], passes: &BooleanArray) {
    for (row, ordinal) in ordinals.iter_mut().enumerate() {
        if !(passes.is_valid(row) && passes.value(row)) {
            *ordinal = REFUSED;
        }
    }
}

/// The type of a key column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyType {
    pub data_type: DataType,
    /// Whether NULL equals NULL.
    pub null_equals_null: bool,
}

/// Distinct keys and their ordinals.
#[derive(Debug)]
pub(crate) struct KeyOrdinals {
    encoding: Encoding,
    known: Known,
    dictionaries: Dictionaries,
    /// Whether there may be some.
    has_dictionaries: bool,
}

#[derive(Debug)]
enum Encoding {
    NoKey,
    Word,
    Bytes,
    Rows {
        converter: RowConverter,
        /// For each column whether NULL equals NULL.
        null_equals_null: Vec<bool>,
    },
}

/// Keys that have an ordinal.
#[derive(Debug, Default)]
struct Known {
    words: HashMap<u64, u32>,
    short: HashMap<u128, u32>,
    long: HashMap<Box<[u8]>, u32>,
    long_bytes: usize,
    len: u32,
}

impl Known {
    fn size(&self) -> usize {
        self.words.allocation_size()
            + self.short.allocation_size()
            + self.long.allocation_size()
            + self.long_bytes
    }
}

impl KeyOrdinals {
    /// Ordinals for keys of the given types.
    pub(crate) fn try_new(types: &[KeyType]) -> Result<Self> {
        let encoding = match types {
            [] => Encoding::NoKey,
            [single] if is_word(value_type(&single.data_type)) && !single.null_equals_null => {
                Encoding::Word
            }
            [single] if is_bytes(value_type(&single.data_type)) && !single.null_equals_null => {
                Encoding::Bytes
            }
            _ => {
                let field = |key: &KeyType| SortField::new(value_type(&key.data_type).clone());
                Encoding::Rows {
                    converter: RowConverter::new(types.iter().map(field).collect())?,
                    null_equals_null: types.iter().map(|key| key.null_equals_null).collect(),
                }
            }
        };
        Ok(Self {
            encoding,
            known: Known::default(),
            dictionaries: Dictionaries::default(),
            has_dictionaries: matches!(types, [single] if is_dictionary(&single.data_type)),
        })
    }

    /// How many distinct keys have an ordinal: ordinals are below this.
    pub(crate) fn len(&self) -> usize {
        match self.encoding {
            Encoding::NoKey => 1,
            _ => self.known.len as usize,
        }
    }

    /// Whether no key has an ordinal.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held, for the memory pool, with those that dictionaries may come to hold.
    pub(crate) fn size(&self) -> usize {
        self.known.size()
            + self.dictionaries_room()
            + match &self.encoding {
                Encoding::Rows { converter, .. } => converter.size(),
                _ => 0,
            }
    }

    /// Bytes that dictionaries may hold. Strings may be [read](crate::exec) as dictionaries that are
    /// none in the schema.
    fn dictionaries_room(&self) -> usize {
        match self.encoding {
            Encoding::Bytes => dictionaries::room(self.known.size()),
            Encoding::Word if self.has_dictionaries => dictionaries::room(self.known.size()),
            _ => 0,
        }
    }

    /// Bytes that interning so many keys may take: those of larger tables.
    pub(crate) fn room(&self, keys: usize) -> usize {
        let known = &self.known;
        match self.encoding {
            Encoding::NoKey => 0,
            Encoding::Word => room(&known.words, keys),
            Encoding::Bytes => room(&known.short, keys).max(room(&known.long, keys)),
            Encoding::Rows { .. } => room(&known.long, keys),
        }
    }

    /// The ordinals of `rows` keys; unknown keys get the next one.
    pub(crate) fn intern(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        // Whatever had no ordinal gets one.
        let known = (&self.dictionaries, (self.dictionaries_room(), usize::MAX));
        encode(
            &self.encoding,
            keys,
            rows,
            known,
            &mut Intern(&mut self.known),
        )
    }

    /// The ordinals of `rows` keys; unknown keys are [`ABSENT`].
    pub(crate) fn lookup(&self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let known = (&self.dictionaries, (self.dictionaries_room(), self.len()));
        encode(&self.encoding, keys, rows, known, &mut Lookup(&self.known))
    }

    /// All keys that have an ordinal, by column and without a dictionary; `None` for no column
    /// and where NULL is a key.
    pub(crate) fn keys(&self, types: &[KeyType]) -> Result<Option<Vec<ArrayRef>>> {
        let data_type = |key: &KeyType| value_type(&key.data_type).clone();
        let Known {
            words, short, long, ..
        } = &self.known;
        match (&self.encoding, types) {
            (Encoding::Word, [single]) => {
                let data_type = data_type(single);
                let width = data_type.primitive_width().unwrap_or(size_of::<u64>());
                let bytes = words.keys().flat_map(|word| {
                    let bytes = word.to_le_bytes();
                    bytes.into_iter().take(width)
                });
                let values = ArrayData::builder(data_type)
                    .len(words.len())
                    .add_buffer(bytes.collect());
                Ok(Some(vec![make_array(values.build()?)]))
            }
            (Encoding::Bytes, [single]) => {
                let views: Vec<_> = short.keys().map(|view| view.to_le_bytes()).collect();
                let short = views.iter().map(|view| &view[4..4 + usize::from(view[0])]);
                let values = short.chain(long.keys().map(|bytes| &**bytes));
                let values = BinaryArray::from_iter_values(values);
                Ok(Some(vec![cast(&values, &data_type(single))?]))
            }
            (
                Encoding::Rows {
                    converter,
                    null_equals_null,
                },
                _,
            ) if !null_equals_null.contains(&true) => {
                let parser = converter.parser();
                let rows = long.keys().map(|bytes| parser.parse(bytes));
                Ok(Some(converter.convert_rows(rows)?))
            }
            _ => Ok(None),
        }
    }

    /// Takes in some more keys of another; gives whether there are others.
    pub(crate) fn absorb(&mut self, other: &mut Absorbing) -> Result<bool> {
        let mut intern = Intern(&mut self.known);
        let ordinals = &mut other.ordinals;
        let mut room = PIECE;
        for (word, ordinal) in other.words.by_ref().take(room) {
            ordinals[ordinal as usize] = intern.word(word)?;
            room -= 1;
        }
        for (view, ordinal) in other.short.by_ref().take(room) {
            ordinals[ordinal as usize] = intern.short(view)?;
            room -= 1;
        }
        for (bytes, ordinal) in other.long.by_ref().take(room) {
            ordinals[ordinal as usize] = intern.long(&bytes)?;
            room -= 1;
        }
        Ok(room == 0)
    }
}

/// The keys of one that go over into another.
pub(crate) struct Absorbing {
    words: <HashMap<u64, u32> as IntoIterator>::IntoIter,
    short: <HashMap<u128, u32> as IntoIterator>::IntoIter,
    long: <HashMap<Box<[u8]>, u32> as IntoIterator>::IntoIter,
    /// For each ordinal there the one here.
    ordinals: Vec<u32>,
    bytes: usize,
}

impl Absorbing {
    pub(crate) fn new(keys: KeyOrdinals) -> Self {
        let (bytes, ordinals) = (keys.size(), vec![0; keys.len()]);
        Self {
            words: keys.known.words.into_iter(),
            short: keys.known.short.into_iter(),
            long: keys.known.long.into_iter(),
            ordinals,
            bytes,
        }
    }

    /// Bytes held, for the memory pool.
    pub(crate) fn size(&self) -> usize {
        self.bytes + size_of_val(self.ordinals.as_slice())
    }

    /// No keys, and the ordinals of one that stays as it is.
    pub(crate) fn taken_over(keys: &KeyOrdinals) -> Self {
        Self {
            words: HashMap::new().into_iter(),
            short: HashMap::new().into_iter(),
            long: HashMap::new().into_iter(),
            ordinals: (0..keys.len() as u32).collect(),
            bytes: 0,
        }
    }

    /// For each ordinal of the one that was absorbed the one of the other.
    pub(crate) fn ordinals(&self) -> &[u32] {
        &self.ordinals
    }

    /// The same.
    pub(crate) fn into_ordinals(self) -> Vec<u32> {
        self.ordinals
    }
}

/// Bytes of the table that a table becomes with so many keys more.
fn room<K>(table: &HashMap<K, u32>, more: usize) -> usize {
    let keys = table.len() + more;
    match keys > table.capacity() {
        true => estimate_memory_size::<(K, u32)>(keys, 0).unwrap_or(usize::MAX),
        false => 0,
    }
}

/// What becomes of a key: it is looked up, and maybe made known.
trait Find {
    fn word(&mut self, word: u64) -> Result<u32>;
    /// The view of at most 12 bytes.
    fn short(&mut self, view: u128) -> Result<u32>;
    fn long(&mut self, bytes: &[u8]) -> Result<u32>;
}

struct Intern<'a>(&'a mut Known);

impl Intern<'_> {
    #[cold]
    fn next(&mut self) -> Result<u32> {
        let ordinal = self.0.len;
        if !is_known(ordinal) {
            return exec_err!("an as-of join takes fewer than {REFUSED} distinct keys");
        }
        self.0.len += 1;
        Ok(ordinal)
    }
}

impl Find for Intern<'_> {
    #[inline]
    fn word(&mut self, word: u64) -> Result<u32> {
        if let Some(&ordinal) = self.0.words.get(&word) {
            return Ok(ordinal);
        }
        let ordinal = self.next()?;
        self.0.words.insert(word, ordinal);
        Ok(ordinal)
    }

    #[inline]
    fn short(&mut self, view: u128) -> Result<u32> {
        if let Some(&ordinal) = self.0.short.get(&view) {
            return Ok(ordinal);
        }
        let ordinal = self.next()?;
        self.0.short.insert(view, ordinal);
        Ok(ordinal)
    }

    fn long(&mut self, bytes: &[u8]) -> Result<u32> {
        if let Some(&ordinal) = self.0.long.get(bytes) {
            return Ok(ordinal);
        }
        let ordinal = self.next()?;
        self.0.long.insert(bytes.into(), ordinal);
        self.0.long_bytes += bytes.len();
        Ok(ordinal)
    }
}

struct Lookup<'a>(&'a Known);

impl Find for Lookup<'_> {
    #[inline]
    fn word(&mut self, word: u64) -> Result<u32> {
        Ok(self.0.words.get(&word).copied().unwrap_or(ABSENT))
    }

    #[inline]
    fn short(&mut self, view: u128) -> Result<u32> {
        Ok(self.0.short.get(&view).copied().unwrap_or(ABSENT))
    }

    fn long(&mut self, bytes: &[u8]) -> Result<u32> {
        Ok(self.0.long.get(bytes).copied().unwrap_or(ABSENT))
    }
}

fn is_dictionary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Dictionary(_, _))
}

fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

fn is_word(data_type: &DataType) -> bool {
    data_type.primitive_width().is_some_and(|width| width <= 8)
        // Not all of its bytes count.
        && !matches!(data_type, DataType::Interval(_))
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    )
}

#[cfg(test)]
mod tests;
