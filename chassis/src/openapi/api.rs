//! The operations of one service.

use crate::base::problem::Kind;
use crate::http::RouteAccess;
use crate::listing::{DEFAULT_PAGE_SIZE, Listing, MAX_PAGE_NUMBER, MAX_PAGE_SIZE};
use crate::openapi::operation::Operation;
use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// The operations of one service that customers may call.
#[derive(Clone, Debug)]
pub struct Api {
    pub(super) tag: &'static str,
    pub(super) about: &'static str,
    pub(super) operations: Vec<Operation>,
    pub(super) members: Map<String, Value>,
    pub(super) access: &'static [RouteAccess],
}

impl Api {
    /// Returns a service without operations. `tag` groups them, `about` says what they are for, and `access` who may use each.
    pub fn new(tag: &'static str, about: &'static str, access: &'static [RouteAccess]) -> Self {
        Self { tag, about, operations: vec![], members: Map::new(), access }
    }

    /// Adds an operation.
    pub fn operation(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Adds a member that the problem `kind` has, with its schema and an example.
    pub fn member(mut self, kind: Kind, name: &str, mut schema: Value, example: &Value) -> Self {
        schema["x-problem"] = kind.slug.into();
        schema["examples"] = json!([example]);
        self.members.insert(name.into(), schema);
        self
    }

    /// Adds the reads of a collection, whose items have the fields of `T`: a page, an item, the searches. `unknown` is the
    /// problem of an item that is not there.
    pub fn listing<T: ToSchema>(self, listing: &Listing, unknown: Kind) -> Self {
        let (collection, item) = (listing.collection, T::name());
        let mut list = Operation::new(
            Method::GET,
            format!("/{collection}"),
            format!("list{}", capitalized(collection)),
            format!("A page of {collection}"),
        );
        for parameter in paging(listing) {
            list = list.parameter(parameter);
        }
        if listing.owner.is_some() {
            list = list.parameter(query(
                "owner",
                "Those who may read what belongs to others ask for what belongs to one. For anybody else it is ignored.",
                &json!({ "type": "string" }),
            ));
        }
        let page = list.schemas.page::<T>(listing);
        let list = list.response(StatusCode::OK, "The page.", &page);

        let get = Operation::new(
            Method::GET,
            format!("/{collection}/{{id}}"),
            format!("get{item}"),
            format!("One of the {collection}"),
        );
        let get = get.item::<T>(StatusCode::OK, "It is there.").cached().refuses(&[unknown]);

        let mut index = Operation::new(
            Method::GET,
            format!("/{collection}/search"),
            format!("list{item}Searches"),
            format!("The searches of {collection}"),
        );
        let links = index.schemas.index();
        let index = index.response(StatusCode::OK, "Links to the searches.", &links);

        let api = self.operation(list).operation(get).operation(index);
        let Some((search, parameter)) = listing.search else { return api };
        let by = search.strip_prefix("find").expect("a search is called findBy...");
        let find = Operation::new(
            Method::GET,
            format!("/{collection}/search/{search}"),
            format!("find{item}{by}"),
            format!("The one of the {collection} with this {parameter}"),
        );
        let number = json!({
            "name": parameter, "in": "query", "required": true,
            "schema": { "type": "integer", "format": "int64", "minimum": 1, "maximum": i64::MAX },
        });
        let find = find.parameter(number).item::<T>(StatusCode::OK, "It is there.");
        api.operation(find.cached().refuses(&[unknown]))
    }
}

/// Returns the parameters of a page.
fn paging(listing: &Listing) -> [Value; 5] {
    let number = |min: i64, max: i64| json!({ "type": "integer", "format": "int64", "minimum": min, "maximum": max });
    let (mut page, mut size) = (number(0, MAX_PAGE_NUMBER), number(1, MAX_PAGE_SIZE));
    page["default"] = 0.into();
    size["default"] = DEFAULT_PAGE_SIZE.into();
    let fields: Vec<&str> = listing.fields.iter().map(|field| field.name).collect();
    let fields = fields.join("|");
    let pattern = format!("^(({fields})(,({fields}))*(,(asc|desc))?)?$");
    let sort = json!({
        "type": "array", "items": { "type": "string", "pattern": pattern },
        "examples": [[format!("{},desc", listing.fields[0].name)]],
    });
    [
        query("page", "The number of the page, from 0.", &page),
        query("size", "Items on a page.", &size),
        query(
            "sort",
            "A field, or several, then `,asc` or `,desc`; repeatable. Above 10,000 items the first field must be unique.",
            &sort,
        ),
        query(
            "after",
            "Begins after the item with this key, as the link `next` does. Not with `before`, and only in an order by a unique field.",
            &number(0, i64::MAX),
        ),
        query(
            "before",
            "Ends before the item with this key, as the link `prev` does.",
            &number(0, i64::MAX),
        ),
    ]
}

fn query(name: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// Returns a word with a capital first letter.
pub(super) fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
