//! The rules for the fields of a request.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use crate::http::name::Name;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The body of a request, with rules for its fields.
pub trait Validate {
    /// Checks each field.
    fn validate(&self, fields: &mut Fields);
}

/// The invalid fields of a request, each with what is wrong, by their names in JSON.
#[derive(Debug, Default)]
pub struct Fields(BTreeMap<&'static str, Text>);

impl Fields {
    /// Checks that a number, if it is there, is within `bounds`.
    pub fn number(
        &mut self,
        field: &'static str,
        number: impl Into<Option<i64>>,
        bounds: RangeInclusive<i64>,
    ) {
        let (min, max) = bounds.into_inner();
        let fault = match number.into() {
            Some(number) if number < min => {
                Text::new(format!("lower than {min}"), format!("{min} 이상이어야 합니다"))
            }
            Some(number) if number > max => {
                Text::new(format!("greater than {max}"), format!("{max} 이하여야 합니다"))
            }
            Some(_) | None => return,
        };
        self.0.insert(field, fault);
    }

    /// Checks that a name, if it is there, breaks no rule of [`Name`].
    pub fn name<'n>(&mut self, field: &'static str, name: impl Into<Option<&'n Name>>) {
        let fault = name.into().and_then(Name::fault);
        self.0.extend(fault.map(|fault| (field, fault.clone())));
    }
}

/// Returns `request` if its fields are valid, else 422 with the invalid ones.
pub(super) fn validated<T: Validate>(request: T) -> Result<T, Problem> {
    let mut invalid = Fields::default();
    request.validate(&mut invalid);
    let Fields(invalid) = invalid;
    if invalid.is_empty() {
        return Ok(request);
    }
    let names: Vec<&str> = invalid.keys().copied().collect();
    let names = names.join(", ");
    let detail = Text::new(
        format!("correct {names} and send it again"),
        format!("{names} 값을 고쳐서 다시 보내 주세요"),
    );
    let problem = Problem::new(kind::INVALID, detail);
    Err(invalid.into_iter().fold(problem, |problem, (field, text)| problem.error(field, text)))
}
