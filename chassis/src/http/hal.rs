//! Responses in HAL, as in the original: fields, then `_links`; collections in pages.

use crate::http::BaseUrl;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// Links by name, in order.
#[derive(Clone, Debug, Default)]
pub struct Links(Vec<(String, String, bool)>);

#[derive(Serialize)]
struct Link<'a> {
    href: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    templated: bool,
}

impl Links {
    /// Adds a link.
    pub fn with(mut self, name: &str, href: String) -> Self {
        self.0.push((name.to_owned(), href, false));
        self
    }

    /// Adds a link with a URI template.
    pub fn templated(mut self, name: &str, href: String) -> Self {
        self.0.push((name.to_owned(), href, true));
        self
    }
}

impl Serialize for Links {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, href, templated) in &self.0 {
            map.serialize_entry(name, &Link { href, templated: *templated })?;
        }
        map.end()
    }
}

/// A resource: its fields and links.
#[derive(Clone, Debug, Serialize)]
pub struct Item<T> {
    #[serde(flatten)]
    fields: T,
    #[serde(rename = "_links")]
    links: Links,
}

impl<T> Item<T> {
    /// Returns the resource at `/{collection}/{id}`, with the links `self` and `singular`.
    pub fn new(base: &BaseUrl, collection: &str, singular: &str, id: i64, fields: T) -> Self {
        let href = base.url(&format!("/{collection}/{id}"));
        let links = Links::default().with("self", href.clone()).with(singular, href);
        Self { fields, links }
    }

    /// Adds a link.
    pub fn link(mut self, name: &str, href: String) -> Self {
        self.links = self.links.with(name, href);
        self
    }
}

/// A resource with links only: the root, or the searches of a collection.
#[derive(Clone, Debug, Serialize)]
pub struct Index {
    #[serde(rename = "_links")]
    links: Links,
}

impl Index {
    /// Returns a resource with `links`.
    pub fn new(links: Links) -> Self {
        Self { links }
    }
}

/// A page of a collection.
#[derive(Debug, Serialize)]
pub struct Collection<T> {
    #[serde(rename = "_embedded")]
    embedded: Embedded<T>,
    #[serde(rename = "_links")]
    links: Links,
    page: PageInfo,
}

#[derive(Debug)]
struct Embedded<T>(&'static str, Vec<T>);

impl<T: Serialize> Serialize for Embedded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

/// The position of a page in its collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PageInfo)]
pub struct PageInfo {
    /// Items on a full page.
    pub size: i64,
    /// Items in the collection.
    pub total_elements: i64,
    /// Pages in the collection.
    pub total_pages: i64,
    /// The number of this page, from 0.
    pub number: i64,
}

impl<T> Collection<T> {
    pub(crate) fn new(name: &'static str, items: Vec<T>, links: Links, page: PageInfo) -> Self {
        Self { embedded: Embedded(name, items), links, page }
    }
}
