//! The two kinds of times that an index has, so that its kernels are compiled once for each.

use std::borrow::Cow;

use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::datatypes::ArrowNativeType;
use datafusion::arrow::row::Row;

use super::ranks::Ranks;
use super::timeline::Timeline;
use crate::kernel::domain::TimeValues;

/// Times on a narrow or a wide line.
#[derive(Debug)]
pub(crate) enum LineTimes {
    I64(Timeline<i64>),
    I128(Timeline<i128>),
}

impl LineTimes {
    pub(super) fn size(&self) -> usize {
        match self {
            Self::I64(times) => times.size(),
            Self::I128(times) => times.size(),
        }
    }
}

/// A time of an index.
pub(crate) trait IndexTime: ArrowNativeType + Ord + Into<i128> {
    /// Left values as times of the index; `None` if they are on another line.
    fn places<'a>(left: &'a TimeValues, ranks: Option<&Ranks>) -> Option<Cow<'a, [Self]>>;

    /// Which of the ranges of times of width `2^shift` from `least` on it is in.
    fn cell(self, least: Self, shift: u32) -> u32;

    /// How far it is into that range.
    fn within_cell(self, least: Self, shift: u32) -> u64;

    /// Undoes [`Self::cell`] and [`Self::within_cell`].
    fn of_cell(least: Self, shift: u32, cell: u32, within: u64) -> Self;

    /// The times above their positions, as numbers that sort alike; `None` if they do not fit.
    fn packed(times: &[Self]) -> Option<Packed<Self>>;

    /// Undoes [`Self::packed`].
    fn unpack(packed: &Packed<Self>, number: u64) -> (Self, usize);

    /// Times of lists that begin at the offsets.
    fn line(times: ScalarBuffer<Self>, offsets: &[usize]) -> LineTimes;
}

/// Times and positions as numbers.
pub(crate) struct Packed<T> {
    pub numbers: Vec<u64>,
    least: T,
    /// Of the greatest number at most.
    pub bits: u32,
    /// The lowest of them.
    pub position_bits: u32,
}

impl IndexTime for i64 {
    fn places<'a>(left: &'a TimeValues, ranks: Option<&Ranks>) -> Option<Cow<'a, [Self]>> {
        match left {
            TimeValues::I64(times) => Some(Cow::Borrowed(times)),
            TimeValues::Rows(rows) => {
                let place = |row: Row<'_>| ranks.map_or(0, |ranks| ranks.place(row.data()));
                Some(rows.iter().map(place).collect())
            }
            TimeValues::I128(_) => None,
        }
    }

    #[inline]
    fn cell(self, least: Self, shift: u32) -> u32 {
        (self.wrapping_sub(least).cast_unsigned() >> shift) as u32
    }

    #[inline]
    fn within_cell(self, least: Self, shift: u32) -> u64 {
        self.wrapping_sub(least).cast_unsigned() & ((1 << shift) - 1)
    }

    #[inline]
    fn of_cell(least: Self, shift: u32, cell: u32, within: u64) -> Self {
        let before = u64::from(cell) << shift;
        least.wrapping_add((before | within).cast_signed())
    }

    fn packed(times: &[Self]) -> Option<Packed<Self>> {
        let (least, greatest) = (*times.iter().min()?, *times.iter().max()?);
        let span = greatest.wrapping_sub(least).cast_unsigned();
        let position_bits = usize::BITS - times.len().leading_zeros();
        let bits = u64::BITS - span.leading_zeros() + position_bits;
        if bits > u64::BITS {
            return None;
        }
        let number = |(position, time): (u64, &i64)| {
            (time.wrapping_sub(least).cast_unsigned() << position_bits) | position
        };
        Some(Packed {
            numbers: (0..).zip(times).map(number).collect(),
            least,
            bits,
            position_bits,
        })
    }

    #[inline]
    fn unpack(packed: &Packed<Self>, number: u64) -> (Self, usize) {
        let above = (number >> packed.position_bits).cast_signed();
        let position = number & ((1 << packed.position_bits) - 1);
        (packed.least.wrapping_add(above), position as usize)
    }

    fn line(times: ScalarBuffer<Self>, offsets: &[usize]) -> LineTimes {
        LineTimes::I64(Timeline::new(times, offsets))
    }
}

impl IndexTime for i128 {
    fn places<'a>(left: &'a TimeValues, _: Option<&Ranks>) -> Option<Cow<'a, [Self]>> {
        match left {
            TimeValues::I128(times) => Some(Cow::Borrowed(times)),
            TimeValues::I64(_) | TimeValues::Rows(_) => None,
        }
    }

    #[inline]
    fn cell(self, least: Self, shift: u32) -> u32 {
        (self.wrapping_sub(least).cast_unsigned() >> shift) as u32
    }

    #[inline]
    fn within_cell(self, least: Self, shift: u32) -> u64 {
        (self.wrapping_sub(least).cast_unsigned() & ((1 << shift) - 1)) as u64
    }

    #[inline]
    fn of_cell(least: Self, shift: u32, cell: u32, within: u64) -> Self {
        let before = u128::from(cell) << shift;
        least.wrapping_add((before | u128::from(within)).cast_signed())
    }

    fn packed(_: &[Self]) -> Option<Packed<Self>> {
        None
    }

    fn unpack(packed: &Packed<Self>, number: u64) -> (Self, usize) {
        (packed.least, number as usize)
    }

    fn line(times: ScalarBuffer<Self>, offsets: &[usize]) -> LineTimes {
        LineTimes::I128(Timeline::new(times, offsets))
    }
}
