//! One operation: a method of a path.

use crate::base::problem::{Kind, kind};
use crate::http::{Access, Validate};
use crate::openapi::schemas::Schemas;
use axum::http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// The problems with which the server itself refuses a request, before any route has it.
const OF_THE_SERVER: [Kind; 5] =
    [kind::MALFORMED, kind::BAD_HOST, kind::TOO_SLOW, kind::URI_TOO_LONG, kind::HEADERS_TOO_LARGE];
/// The other problems of every operation.
const OF_EVERY: [Kind; 2] = [kind::UNAVAILABLE, kind::INTERNAL];
/// Those of every operation that reads a body.
const OF_BODIES: [Kind; 4] = [kind::INVALID, kind::MEDIA_TYPE, kind::ENCODING, kind::TOO_LARGE];

/// One operation: a method of a path, with what it takes and what it answers.
#[derive(Clone, Debug)]
pub struct Operation {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) kinds: Vec<Kind>,
    pub(super) schemas: Schemas,
    id: String,
    summary: String,
    description: Option<&'static str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
    /// `security`, and what it means in words.
    access: Option<(Value, &'static str)>,
    /// True for a page, whose refusals are pages too.
    is_page: bool,
}

impl Operation {
    /// Returns an operation. `id` is unique in the document: it names the function of a generated client.
    pub fn new(
        method: Method,
        path: impl Into<String>,
        id: impl Into<String>,
        summary: impl Into<String>,
    ) -> Self {
        let of_writes: &[Kind] = if method == Method::GET { &[] } else { &[kind::TOO_MANY] };
        let operation = Self {
            method,
            path: path.into(),
            kinds: [&OF_THE_SERVER[..], &OF_EVERY, of_writes].concat(),
            schemas: Schemas::default(),
            id: id.into(),
            summary: summary.into(),
            description: None,
            parameters: vec![json!({ "$ref": "#/components/parameters/AcceptLanguage" })],
            body: None,
            responses: Map::new(),
            access: None,
            is_page: false,
        };
        if operation.path.contains("{id}") {
            let id = json!({ "type": "integer", "format": "int64", "minimum": 1 });
            let id = json!({ "name": "id", "in": "path", "required": true, "schema": id });
            operation.parameter(id).refuses(&[kind::NOT_FOUND])
        } else {
            operation
        }
    }

    /// Adds what the summary does not say.
    pub fn description(mut self, text: &'static str) -> Self {
        self.description = Some(text);
        self
    }

    /// Adds a parameter of the query, whose value matches `schema`.
    pub fn query(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter(json!({
            "name": name, "in": "query", "description": description, "schema": schema,
        }))
    }

    /// Adds a parameter.
    pub(super) fn parameter(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// Adds an optional header, whose value matches `schema`.
    pub fn header(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter(json!({
            "name": name, "in": "header", "description": description, "schema": schema,
        }))
    }

    /// Adds `If-Match`.
    pub fn if_match(self) -> Self {
        let any = json!({ "$ref": "#/components/parameters/IfMatch" });
        self.parameter(any).refuses(&[kind::PRECONDITION])
    }

    /// Sets the JSON body, of which `example` is one. The bounds of its fields are those that are checked.
    pub fn body<T: ToSchema + DeserializeOwned + Validate>(mut self, example: &Value) -> Self {
        let schema = self.schemas.request::<T>(example);
        self.body = Some(json!({
            "required": true,
            "content": { "application/json": { "schema": schema, "example": example } },
        }));
        self.refuses(&OF_BODIES)
    }

    /// Adds problems that it may answer.
    pub fn refuses(mut self, kinds: &[Kind]) -> Self {
        if !self.is_page {
            self.kinds.extend(kinds);
        }
        self
    }

    /// Makes it a page for people: HTML, whatever the status.
    pub fn page(mut self) -> Self {
        let html = json!({ "schema": { "type": "string" } });
        let problem = problem_content(OF_THE_SERVER.map(|kind| kind.slug));
        let page = json!({ "description": "The page.", "content": { "text/html": html } });
        let refusal = json!({
            "description": "A page that says what is wrong; a problem if the request never came to the page.",
            "content": { "text/html": html, "application/problem+json": problem },
        });
        self.responses.insert("200".into(), page);
        self.responses.insert("default".into(), refusal);
        (self.is_page, self.kinds) = (true, vec![]);
        self
    }

    /// Adds the response with a stream of server-sent events. OpenAPI 3.1 has no words for what is in one, so `x-events` has
    /// the schema of the data of each event. The example is the event `id`, which is called `name`, with the example of its schema.
    ///
    /// # Panics
    /// Panics if that schema has no example.
    pub fn stream(self, id: &str, name: &str, mut events: Value) -> Self {
        let data = self.schemas.example(&events[name]);
        let example = format!("id: {id}\nevent: {name}\ndata: {data}\n\n");
        events["reset"] = json!({
            "type": "object", "description": "What the client has may be out of date. The stream may end.",
        });
        let last = json!({ "type": "string" });
        let about = "The id of the last event that the client has seen. A browser sends it when it connects again.";
        let mut stream = self.header("Last-Event-ID", about, &last);
        let content = json!({
            "schema": { "type": "string" }, "example": example, "x-events": events,
        });
        let response = json!({
            "description": "Server-sent events, without end.", "content": { "text/event-stream": content },
        });
        stream.responses.insert("200".into(), response);
        stream
    }

    /// Adds the schema of the items of a stream, whose fields `T` has. Returns a reference to it.
    pub fn streamed_item<T: ToSchema>(&mut self) -> Value {
        self.schemas.streamed_item::<T>()
    }

    /// Adds the schema of `T`. Returns a reference to it.
    pub fn schema<T: ToSchema>(&mut self) -> Value {
        self.schemas.of::<T>()
    }

    /// Adds the response with the JSON that `schema` describes, under the name of that schema.
    pub fn json(mut self, description: &str, name: &str, schema: Value) -> Self {
        let schema = self.schemas.add(name, schema);
        self.response(StatusCode::OK, description, &schema)
    }

    /// Says who may use it, with an issuer.
    pub(super) fn restricted(mut self, access: Access) -> Self {
        let bearer = json!({ "bearer": [] });
        let (security, roles) = match access {
            Access::Public if self.is_page => (
                json!([{}]),
                "Everybody gets a page: that which they may see, or one that says to sign in (401), or that their account has \
                 no right to it (403). The gateway knows them by the session of their browser.",
            ),
            Access::Public => (json!([{}, bearer]), "Everybody may."),
            Access::Customer => (json!([bearer]), "For the role `customer`."),
            Access::Reader => (
                json!([bearer]),
                "For the roles `customer`, who gets their own, `md` and `operator`, who get all.",
            ),
            Access::Md => (json!([bearer]), "For the role `md`."),
            Access::Operator => (json!([bearer]), "For the role `operator`."),
            Access::Service => (json!([]), "For services."),
        };
        self.access = Some((security, roles));
        self.refuses(match access {
            Access::Public => &[kind::UNAUTHENTICATED],
            _ => &[kind::UNAUTHENTICATED, kind::FORBIDDEN],
        })
    }

    /// Adds the response with the item whose fields `T` has.
    pub fn item<T: ToSchema>(mut self, status: StatusCode, description: &str) -> Self {
        let schema = self.schemas.item::<T>();
        self = self.response(status, description, &schema);
        self.response_mut(status)["headers"] =
            json!({ "ETag": { "$ref": "#/components/headers/ETag" } });
        self
    }

    /// Adds the response with an item that was made, whose id `reachable` operations take.
    pub fn created<T: ToSchema>(self, description: &str, reachable: &[&str]) -> Self {
        let mut operation = self.item::<T>(StatusCode::CREATED, description);
        let response = operation.response_mut(StatusCode::CREATED);
        response["headers"]["Location"] = json!({ "$ref": "#/components/headers/Location" });
        for id in reachable {
            let parameters = json!({ "id": "$response.body#/id" });
            response["links"][id] = json!({ "operationId": id, "parameters": parameters });
        }
        operation
    }

    /// Adds a response with a list of `T`.
    pub fn list<T: ToSchema>(mut self, description: &str) -> Self {
        let items = self.schemas.of::<T>();
        self.response(StatusCode::OK, description, &json!({ "type": "array", "items": items }))
    }

    /// Adds the response 204.
    pub fn no_content(mut self, description: &str) -> Self {
        self.responses.insert("204".into(), json!({ "description": description }));
        self
    }

    /// Adds `If-None-Match`, and the response 304 to it.
    pub(super) fn cached(mut self) -> Self {
        let etag = json!({ "ETag": { "$ref": "#/components/headers/ETag" } });
        let response = json!({ "description": "The client has the item.", "headers": etag });
        self.responses.insert("304".into(), response);
        let if_none_match = json!({ "$ref": "#/components/parameters/IfNoneMatch" });
        self.parameter(if_none_match).refuses(&[kind::PRECONDITION])
    }

    /// Adds a response with a JSON body.
    pub(super) fn response(
        mut self,
        status: StatusCode,
        description: &str,
        schema: &Value,
    ) -> Self {
        let response = json!({
            "description": description, "content": { "application/json": { "schema": schema } },
        });
        self.responses.insert(status.as_str().into(), response);
        self
    }

    fn response_mut(&mut self, status: StatusCode) -> &mut Value {
        self.responses.get_mut(status.as_str()).expect("the response was added")
    }

    /// Returns the operation as in the document, with `problems` among its responses.
    pub(super) fn into_json(self, tag: &str, problems: Map<String, Value>) -> Value {
        let mut responses = self.responses;
        responses.extend(problems);
        let mut operation = json!({
            "tags": [tag], "operationId": self.id, "summary": self.summary,
            "parameters": self.parameters, "responses": responses,
        });
        let (security, roles) = self.access.unwrap_or_default();
        operation["security"] = security;
        let texts = self.description.into_iter().chain([roles]);
        operation["description"] = texts.collect::<Vec<_>>().join("\n\n").into();
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}

/// Returns the content of a response with one of the problems with these slugs.
pub(super) fn problem_content(slugs: impl IntoIterator<Item = &'static str>) -> Value {
    let example = |slug: &str| {
        let reference = json!({ "$ref": format!("#/components/examples/{slug}") });
        (slug.to_owned(), reference)
    };
    let examples: Map<String, Value> = slugs.into_iter().map(example).collect();
    json!({ "schema": { "$ref": "#/components/schemas/Problem" }, "examples": examples })
}
