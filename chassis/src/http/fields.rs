//! The rules for the fields of a request.

use crate::base::i18n::Text;
use crate::base::problem::{Problem, kind};
use crate::http::name::Name;
use common_events::Owner;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The body of a request, with rules for its fields.
pub trait Validate {
    /// Checks each field.
    fn validate(&self, fields: &mut Fields);
}

/// The invalid fields of a request, each with what is wrong, by their names in JSON.
#[derive(Debug, Default)]
pub struct Fields {
    invalid: BTreeMap<&'static str, Text>,
    /// The rules that were checked, where they are asked for.
    rules: Option<BTreeMap<&'static str, Rule>>,
}

/// The rule for a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// It is a whole number within these bounds.
    Number(RangeInclusive<i64>),
    /// It is a [`Name`].
    Name,
}

impl Fields {
    /// Checks that a number, if it is there, is within `bounds`.
    pub fn number(
        &mut self,
        field: &'static str,
        number: impl Into<Option<i64>>,
        bounds: RangeInclusive<i64>,
    ) {
        if let Some(rules) = &mut self.rules {
            rules.insert(field, Rule::Number(bounds.clone()));
        }
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
        self.invalid.insert(field, fault);
    }

    /// Checks that an owner [is valid](Owner::is_valid).
    pub fn owner(&mut self, field: &'static str, owner: &Owner) {
        if !owner.is_valid() {
            let fault = Text::new("is no owner", "소유자를 나타내는 값이 아닙니다");
            self.invalid.insert(field, fault);
        }
    }

    /// Checks that a name, if it is there, breaks no rule of [`Name`].
    pub fn name<'n>(&mut self, field: &'static str, name: impl Into<Option<&'n Name>>) {
        if let Some(rules) = &mut self.rules {
            rules.insert(field, Rule::Name);
        }
        let fault = name.into().and_then(Name::fault);
        self.invalid.extend(fault.map(|fault| (field, fault.clone())));
    }
}

/// Returns the rules for the fields of `request`, which breaks none.
pub(crate) fn rules(request: &impl Validate) -> BTreeMap<&'static str, Rule> {
    let mut fields = Fields { rules: Some(BTreeMap::new()), ..Fields::default() };
    request.validate(&mut fields);
    assert!(fields.invalid.is_empty(), "{:?} are invalid", fields.invalid);
    fields.rules.unwrap_or_default()
}

/// Returns `request` if its fields are valid, else 422 with the invalid ones.
pub(super) fn validated<T: Validate>(request: T) -> Result<T, Problem> {
    let mut invalid = Fields::default();
    request.validate(&mut invalid);
    let invalid = invalid.invalid;
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
