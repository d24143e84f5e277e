//! The values of a row, to bind them one by one.

use crate::storage::statement::Value;
use serde::Serialize;
use serde::de::value::Error;
use serde::ser::{Error as _, Impossible, SerializeMap, SerializeStruct, Serializer};
use std::str::Split;

/// Returns the values of a row. Its fields are the `columns`, separated by commas, in their order.
///
/// # Errors
/// If they are not, or if a value is not a whole number, a text, a Boolean or null.
pub(super) fn values<R: Serialize>(row: &R, columns: &str) -> sqlx::Result<Vec<Value>> {
    let mut values = Values { columns: columns.split(", "), values: Vec::new() };
    let written = row.serialize(&mut values).and_then(|()| match values.columns.next() {
        Some(column) => Err(Error::custom(format!("no field is the column {column}"))),
        None => Ok(values.values),
    });
    written.map_err(|error| sqlx::Error::Encode(error.into()))
}

/// The values so far, and the columns to come.
struct Values<'c> {
    columns: Split<'c, &'static str>,
    values: Vec<Value>,
}

impl Values<'_> {
    fn number<N: TryInto<i64>>(&mut self, number: N) -> Result<(), Error> {
        let number = number.try_into().map_err(|_| Error::custom("a number is out of range"))?;
        self.values.push(Value::Number(number));
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, field: &str, value: &T) -> Result<(), Error> {
        match self.columns.next() {
            Some(column) if column == field => value.serialize(self),
            column => Err(Error::custom(format!(
                "the field {field} is not the column {}",
                column.unwrap_or("after the last one")
            ))),
        }
    }
}

/// Returns the error for a value that no column holds.
fn refused<T>(what: &str) -> Result<T, Error> {
    Err(Error::custom(format!("a column holds no {what}")))
}

impl SerializeStruct for &mut Values<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        field: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.field(field, value)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

/// A struct with `#[serde(flatten)]` is written as a map.
impl SerializeMap for &mut Values<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_entry<K, V>(&mut self, key: &K, value: &V) -> Result<(), Error>
    where
        K: Serialize + ?Sized,
        V: Serialize + ?Sized,
    {
        self.serialize_key(key)?;
        self.serialize_value(value)
    }

    /// Adds the key to the values, where [`SerializeMap::serialize_value`] finds it.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        match self.values.pop() {
            Some(Value::Text(key)) => self.field(&key, value),
            _ => refused("map whose keys are no texts"),
        }
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

/// Writes the methods for whole numbers.
macro_rules! numbers {
    ($($method:ident: $type:ty,)*) => {
        $(fn $method(self, number: $type) -> Result<(), Error> {
            self.number(number)
        })*
    };
}

impl Serializer for &mut Values<'_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Impossible<(), Error>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), Error>;

    numbers! {
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.number(i64::from(value))
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.values.push(Value::Text(text.to_owned()));
        Ok(())
    }

    fn serialize_char(self, character: char) -> Result<(), Error> {
        self.serialize_str(character.encode_utf8(&mut [0; 4]))
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.values.push(Value::Null);
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_struct(self, _: &'static str, fields: usize) -> Result<Self, Error> {
        self.values.reserve_exact(fields);
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_f32(self, _: f32) -> Result<(), Error> {
        refused("fraction")
    }

    fn serialize_f64(self, _: f64) -> Result<(), Error> {
        refused("fraction")
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Error> {
        refused("bytes")
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Error> {
        refused(name)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        refused(name)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        refused("list")
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        refused("tuple")
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        refused(name)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        refused(name)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        refused(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Inner {
        d: Option<&'static str>,
        e: Kind,
    }

    #[derive(Clone, Copy, Serialize)]
    enum Kind {
        Held,
    }

    #[derive(Serialize)]
    struct Id(u32);

    #[derive(Serialize)]
    struct Row {
        a: Id,
        b: String,
        c: bool,
        #[serde(flatten)]
        inner: Inner,
    }

    #[derive(Serialize)]
    struct One<T> {
        a: T,
    }

    fn row(d: Option<&'static str>) -> Row {
        Row { a: Id(7), b: "it's".into(), c: true, inner: Inner { d, e: Kind::Held } }
    }

    #[test]
    fn values_are_in_the_order_of_the_columns() {
        let text = |text: &str| Value::Text(text.into());
        let (seven, one) = (Value::Number(7), Value::Number(1));
        assert_eq!(
            values(&row(None), "a, b, c, d, e").unwrap(),
            [seven, text("it's"), one, Value::Null, text("Held")]
        );
        assert_eq!(values(&row(Some("d")), "a, b, c, d, e").unwrap()[3], text("d"));
    }

    #[test]
    fn a_row_that_is_not_its_columns_is_an_error() {
        for (columns, message) in [
            ("a, c, b, d, e", "the field b is not the column c"),
            ("a, b, c, d", "the field e is not the column after the last one"),
            ("a, b, c, d, e, f", "no field is the column f"),
        ] {
            let error = values(&row(None), columns).unwrap_err().to_string();
            assert!(error.ends_with(message), "{error}");
        }
        let list = values(&One { a: vec![1] }, "a").unwrap_err().to_string();
        assert!(list.contains("holds no list"), "{list}");
        assert!(values(&One { a: u64::MAX }, "a").is_err());
    }
}
