//! The OpenAPI document, and a browser for it: Swagger UI. All files are in the binary.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::routing::get;
use chassis::http::{Conditions, EntityTag};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The document, which a test compares with the services.
pub const DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// What the browser may do: load its own files, and call this gateway. The icons in its style sheet are `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file in the binary.
struct File {
    path: &'static str,
    content_type: &'static str,
    content: &'static [u8],
    /// True if `content` is compressed with gzip, which every web browser reads.
    packed: bool,
}

const FILES: [File; 6] = [
    File {
        path: "/openapi.json",
        content_type: "application/json",
        content: DOCUMENT.as_bytes(),
        packed: false,
    },
    File {
        path: "/docs",
        content_type: "text/html; charset=utf-8",
        content: include_bytes!("../assets/docs.html"),
        packed: false,
    },
    File {
        path: "/docs/docs.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_bytes!("../assets/docs.js"),
        packed: false,
    },
    File {
        path: "/docs/docs.css",
        content_type: "text/css; charset=utf-8",
        content: include_bytes!("../assets/docs.css"),
        packed: false,
    },
    File {
        path: "/docs/swagger-ui-bundle.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_bytes!("../assets/swagger-ui/swagger-ui-bundle.js.gz"),
        packed: true,
    },
    File {
        path: "/docs/swagger-ui.css",
        content_type: "text/css; charset=utf-8",
        content: include_bytes!("../assets/swagger-ui/swagger-ui.css.gz"),
        packed: true,
    },
];

/// The paths of [`routes`], without the files that the browser loads.
pub(crate) const PATHS: [&str; 2] = ["/openapi.json", "/docs"];

/// Returns the routes of the document and of its browser.
pub(crate) fn routes() -> Router {
    FILES.into_iter().fold(Router::new(), |router, file| {
        let tag = file.tag();
        let headers = file.headers();
        let serve =
            async move |conditions: Conditions| conditions.answer(&tag, (headers, file.content));
        router.route(file.path, get(serve))
    })
}

impl File {
    fn tag(&self) -> EntityTag {
        let mut hasher = DefaultHasher::new();
        self.content.hash(&mut hasher);
        EntityTag::of_content(&hasher.finish())
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (CONTENT_TYPE, self.content_type),
            (CACHE_CONTROL, "no-cache"), // it may be kept, and is asked for by its tag
            (CONTENT_SECURITY_POLICY, POLICY),
            (REFERRER_POLICY, "same-origin"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers
    }
}
