//! Duration words: `250ms`, `5s`, `2m`, `1h`, `3d`.

use datafusion::common::{Result, plan_err};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// A number with a unit right behind it, as in `250ms`: both, and the tokens they take.
pub(super) fn duration_word(tokens: &[TokenWithSpan]) -> Option<(String, String, usize)> {
    match (
        &tokens.first()?.token,
        tokens.get(1).map(|token| &token.token),
    ) {
        (Token::Number(number, false), Some(Token::Word(unit))) if unit.quote_style.is_none() => {
            Some((number.clone(), unit.value.clone(), 2))
        }
        // Some dialects read `5s` as a name.
        (Token::Word(word), _) if word.quote_style.is_none() => {
            let digits = word.value.len()
                - word
                    .value
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .len();
            let (number, unit) = word.value.split_at(digits);
            (digits > 0 && !unit.is_empty()).then(|| (number.to_owned(), unit.to_owned(), 1))
        }
        _ => None,
    }
}

/// QuestDB's units, which are case-sensitive, and the usual abbreviations.
pub(super) fn unit_name(unit: &str) -> Result<&'static str> {
    Ok(match unit {
        "n" | "ns" => "nanoseconds",
        "U" | "us" => "microseconds",
        "T" | "ms" => "milliseconds",
        "s" => "seconds",
        "m" => "minutes",
        "h" => "hours",
        "d" => "days",
        "w" => "weeks",
        "M" | "mo" | "y" | "Y" => {
            return plan_err!(
                "TOLERANCE must have a fixed length: months and years have none, \
                 write days, as in 30d"
            );
        }
        _ => {
            return plan_err!(
                "'{unit}' is no unit of TOLERANCE: write ns, us, ms, s, m, h, d or w"
            );
        }
    })
}
