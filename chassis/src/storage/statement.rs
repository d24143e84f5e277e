//! Statements with their values, and how several of them become one text that goes to Postgres in one round trip.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// A statement with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Shared by the rows of an insert.
    pub(super) sql: Arc<str>,
    pub(super) values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Number(i64),
    Text(String),
}

impl Statement {
    /// Returns a statement whose placeholders are `$1`, `$2` and so on.
    pub fn new(sql: impl Into<Arc<str>>) -> Self {
        Self { sql: sql.into(), values: Vec::new() }
    }

    /// Returns a statement with values for all its placeholders.
    pub(super) fn with_values(sql: Arc<str>, values: Vec<Value>) -> Self {
        Self { sql, values }
    }

    /// Binds a value to `$1`. The other placeholders are one higher.
    pub(super) fn with_first(mut self, value: String) -> Self {
        self.values.insert(0, Value::Text(value));
        self
    }

    /// Binds a value to the next placeholder.
    pub fn number(mut self, value: i64) -> Self {
        self.values.push(Value::Number(value));
        self
    }

    /// Binds a value to the next placeholder.
    pub fn text(mut self, value: impl Into<String>) -> Self {
        self.values.push(Value::Text(value.into()));
        self
    }
}

impl From<String> for Statement {
    fn from(sql: String) -> Self {
        Self::new(sql)
    }
}

/// The statements that are prepared on a connection to Postgres, each with the number in its name.
///
/// Postgres takes several statements in one message only if their values are part of the text. To plan them each time would
/// take some 0.15 ms a statement, so they are prepared once, by SQL, and the text executes them. Their texts are few: no value
/// is part of one.
#[derive(Debug, Default)]
pub(super) struct Prepared(HashMap<Arc<str>, usize>);

impl Prepared {
    /// Returns a text that prepares those of the statements that are not, unless all are. Run it before [`Prepared::text`]:
    /// they count as prepared from now on. It has no values, since Postgres keeps it as long as the statements.
    pub(super) fn prepare(&mut self, statements: &[Statement]) -> Option<String> {
        let mut text = String::new();
        for Statement { sql, values } in statements {
            if !values.is_empty() && !self.0.contains_key(sql) {
                let number = self.0.len() + 1;
                let types: Vec<&str> = values.iter().map(Value::postgres_type).collect();
                let types = types.join(", ");
                let _ = writeln!(text, "prepare writer_{number} ({types}) as {sql};");
                self.0.insert(Arc::clone(sql), number);
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// Returns a text that runs the statements in their order. Those with values must be prepared.
    pub(super) fn text(&self, statements: &[Statement]) -> sqlx::Result<String> {
        let mut text = String::new();
        for Statement { sql, values } in statements {
            if values.is_empty() {
                let _ = writeln!(text, "{sql};");
                continue;
            }
            let _ = write!(text, "execute writer_{} (", self.0[sql]);
            for (place, value) in values.iter().enumerate() {
                text.push_str(if place == 0 { "" } else { ", " });
                push_literal(&mut text, value)?;
            }
            text.push_str(");\n");
        }
        Ok(text)
    }
}

impl Value {
    fn postgres_type(&self) -> &'static str {
        match self {
            Self::Number(_) => "bigint",
            Self::Text(_) | Self::Null => "text",
        }
    }
}

/// Appends a value as a literal of Postgres, for a session with `standard_conforming_strings`: only a quote is special.
fn push_literal(text: &mut String, value: &Value) -> sqlx::Result<()> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Number(number) => {
            let _ = write!(text, "{number}");
        }
        // It would end the whole text.
        Value::Text(value) if value.contains('\0') => {
            return Err(sqlx::Error::Encode("a text has a NUL".into()));
        }
        Value::Text(value) => {
            text.push('\'');
            for (place, part) in value.split('\'').enumerate() {
                text.push_str(if place == 0 { "" } else { "''" });
                text.push_str(part);
            }
            text.push('\'');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_prepared_once_and_its_values_are_literals() {
        let mut prepared = Prepared::default();
        let update = |number, text: &str| {
            Statement::new("update a set b = $1 where c = $2").number(number).text(text)
        };
        let commit = || Statement::new("commit");
        let first = [update(-1, "it's \\'"), commit()];
        assert_eq!(
            prepared.prepare(&first).unwrap(),
            "prepare writer_1 (bigint, text) as update a set b = $1 where c = $2;\n"
        );
        let text = "execute writer_1 (-1, 'it''s \\''');\ncommit;\n";
        assert_eq!(prepared.text(&first).unwrap(), text);
        assert_eq!(prepared.prepare(&first), None);

        let second = [update(1, ""), Statement::new("delete from a where b = $1").number(2)];
        assert_eq!(
            prepared.prepare(&second).unwrap(),
            "prepare writer_2 (bigint) as delete from a where b = $1;\n"
        );
        let text = "execute writer_1 (1, '');\nexecute writer_2 (2);\n";
        assert_eq!(prepared.text(&second).unwrap(), text);
        assert!(prepared.text(&[update(1, "\0")]).is_err(), "the text would end there");
    }
}
