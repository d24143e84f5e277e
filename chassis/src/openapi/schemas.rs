//! The schemas of a document, by name, and those that all services share.

use crate::http::hal::PageInfo;
use crate::http::{Rule, Validate, rules};
use crate::listing::Listing;
use crate::openapi::numbers::whole_number;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// Schemas by name. Two that differ cannot have the same name: utoipa itself would keep the last of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    /// Adds the schema of `T` and those that it refers to. Returns a reference to it.
    pub(super) fn of<T: ToSchema>(&mut self) -> Value {
        let mut others = vec![];
        T::schemas(&mut others);
        for (name, schema) in others {
            self.add(&name, to_json(&schema));
        }
        self.add(&T::name(), to_json(&T::schema()))
    }

    /// Adds the schema of a request, of which `example` is one. The bounds of its fields are those that are checked, and its
    /// numbers have two spellings. Returns a reference to it.
    pub(super) fn request<T>(&mut self, example: &Value) -> Value
    where
        T: ToSchema + DeserializeOwned + Validate,
    {
        let mut schema = to_json(&T::schema());
        let request: T =
            serde_json::from_str(&example.to_string()).expect("the example can be read");
        for (field, rule) in rules(&request) {
            let rule = match rule {
                Rule::Number(bounds) => whole_number(bounds),
                Rule::Name => name(),
            };
            let property = &mut schema["properties"][field];
            assert!(property.is_object(), "{} has no field {field}", T::name());
            let description = property["description"].take();
            *property = to_json(&RefOr::T(rule));
            if description.is_string() {
                property["description"] = description;
            }
        }
        self.add(&T::name(), schema)
    }

    /// Adds the schema of an item with the fields of `T`. Returns a reference to it.
    pub(super) fn item<T: ToSchema>(&mut self) -> Value {
        let schema = self.item_schema::<T>();
        self.add(&T::name(), schema)
    }

    /// Adds the schema of such an item in a stream, which has a version. Returns a reference to it.
    pub(super) fn streamed_item<T: ToSchema>(&mut self) -> Value {
        let mut schema = self.item_schema::<T>();
        schema["properties"]["version"] = json!({
            "type": "integer", "format": "int64", "minimum": 1,
            "description": "Of two states of an item the one with the higher version is newer.",
        });
        schema["required"].as_array_mut().expect("an item has an id").push("version".into());
        schema["examples"][0]["version"] = 8.into();
        self.add(&format!("Streamed{}", T::name()), schema)
    }

    /// Returns the schema of an item: the fields of `T` and its links, also in its example.
    fn item_schema<T: ToSchema>(&mut self) -> Value {
        let links = self.links();
        let mut schema = to_json(&T::schema());
        schema["properties"]["_links"] = links;
        schema["required"].as_array_mut().expect("an item has an id").push("_links".into());
        let kind = T::name().to_lowercase();
        let example = &mut schema["examples"][0];
        let link = json!({ "href": format!("http://127.0.0.1:8088/{kind}s/{}", example["id"]) });
        example["_links"] = json!({ "self": link, kind: link });
        schema
    }

    /// Adds the schema of a page of items with the fields of `T`. Returns a reference to it.
    pub(super) fn page<T: ToSchema>(&mut self, listing: &Listing) -> Value {
        let (item, links, page) = (self.item::<T>(), self.links(), self.of::<PageInfo>());
        let items = json!({
            "type": "object",
            "properties": { listing.collection: { "type": "array", "items": item } },
            "required": [listing.collection],
        });
        let schema = json!({
            "type": "object",
            "description": "A page. Its links are `self`, `first`, `prev`, `next` and `last`, each where it leads somewhere, and `search`.",
            "properties": { "_embedded": items, "_links": links, "page": page },
            "required": ["_embedded", "_links", "page"],
        });
        self.add(&format!("{}Page", T::name()), schema)
    }

    /// Adds the schema of a resource with links only. Returns a reference to it.
    pub(super) fn index(&mut self) -> Value {
        let links = self.links();
        let schema = json!({
            "type": "object",
            "description": "What there is, by links.",
            "properties": { "_links": links },
            "required": ["_links"],
        });
        self.add("Index", schema)
    }

    fn links(&mut self) -> Value {
        let link = json!({
            "type": "object",
            "properties": {
                "href": { "type": "string", "description": "A URL, or a URI template (RFC 6570) if `templated`." },
                "templated": { "type": "boolean" },
            },
            "required": ["href"],
        });
        let link = self.add("Link", link);
        let schema = json!({
            "type": "object",
            "description": "Links by name. An item has the link to itself under `self` and under its kind, such as `cart`.",
            "properties": { "self": link },
            "required": ["self"],
            "additionalProperties": link,
        });
        self.add("Links", schema)
    }

    /// Adds a schema under a name. Returns a reference to it.
    ///
    /// # Panics
    /// Panics if the name has another schema.
    pub(super) fn add(&mut self, name: &str, schema: Value) -> Value {
        match self.0.entry(name.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(schema);
            }
            Entry::Occupied(entry) => {
                assert_eq!(*entry.get(), schema, "two schemas have the name {name}");
            }
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// Returns the example of the schema that a reference leads to.
    ///
    /// # Panics
    /// Panics if it has none.
    pub(super) fn example(&self, reference: &Value) -> &Value {
        let name = reference["$ref"].as_str().and_then(|path| path.rsplit('/').next());
        let schema = name.and_then(|name| self.0.get(name));
        schema.and_then(|schema| schema["examples"].get(0)).expect("the schema has an example")
    }

    /// Adds all of `other`.
    pub(super) fn extend(&mut self, other: Self) {
        for (name, schema) in other.0 {
            self.add(&name, schema);
        }
    }

    pub(super) fn into_json(self) -> Value {
        self.0.into_iter().collect()
    }
}

/// Returns the schema of the name of something.
fn name() -> Schema {
    // Control characters, line separators, and controls that change the direction of text. That one character is visible, and
    // that the length is counted in NFC, cannot be said in JSON Schema.
    const PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+$";
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "1 to 80 characters, counted after normalisation to NFC and without blanks around them. At least one is visible, and none \
             is a control character, a line break, or a control that changes the direction of text.",
        ))
        .min_length(Some(1))
        .max_length(Some(80))
        .pattern(Some(PATTERN))
        .build()
        .into()
}

fn to_json(schema: &RefOr<Schema>) -> Value {
    serde_json::to_value(schema).expect("a schema is plain data")
}
