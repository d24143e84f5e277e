//! Styles, scripts and the icon. They are in the binary, and each has a hash of its content in its name, so that a browser
//! may keep it for ever.

use crate::services::Services;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

/// A file that pages load.
struct Asset {
    /// Its name without the hash.
    stem: &'static str,
    /// Its name, as pages load it.
    file: String,
    content_type: &'static str,
    content: String,
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The style of every page.
pub(crate) const STYLE: &str = include_str!("../assets/style.css");

/// The files. A script that imports another one stands after it.
static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let sources = [
        ("style.css", CSS, STYLE),
        ("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
        ("stream.js", JS, include_str!("../assets/stream.js")),
        ("page.js", JS, include_str!("../assets/page.js")),
        ("shop.js", JS, include_str!("../assets/shop.js")),
        ("me.js", JS, include_str!("../assets/me.js")),
        ("live.js", JS, include_str!("../assets/live.js")),
    ];
    let mut assets: Vec<Asset> = Vec::new();
    for (stem, content_type, source) in sources {
        let imported = assets.iter().fold(source.to_owned(), |content, other| {
            content.replace(&format!("./{}", other.stem), &format!("./{}", other.file))
        });
        let file = name(stem, &imported);
        assets.push(Asset { stem, file, content_type, content: imported });
    }
    assets
});

/// Returns the name of a file with this content: `style-0123456789abcdef.css`.
fn name(stem: &str, content: &str) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let (name, extension) = stem.split_once('.').unwrap_or((stem, ""));
    format!("{name}-{:016x}.{extension}", hasher.finish())
}

/// Returns the path at which pages load the file `stem`.
///
/// # Panics
/// Panics if there is no such file.
pub(crate) fn path(stem: &str) -> String {
    let asset = ASSETS.iter().find(|asset| asset.stem == stem);
    format!("/assets/{}", asset.expect("the file is in the list").file)
}

/// Handles `GET /assets/{file}`. A page of another build, which names another hash, gets the file of this build, to be asked
/// for again.
pub(crate) async fn serve(State(_): State<Services>, uri: Uri) -> Response {
    let file = uri.path().rsplit('/').next().unwrap_or_default();
    let stem = |file: &str| {
        let (name, extension) = file.rsplit_once('.')?;
        Some(format!("{}.{extension}", name.rsplit_once('-').map_or(name, |(name, _)| name)))
    };
    let asked = stem(file);
    let found = ASSETS.iter().find(|asset| asked.as_deref() == Some(asset.stem));
    let Some(asset) = found else { return StatusCode::NOT_FOUND.into_response() };
    let cache = if asset.file == file { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, cache),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, asset.content.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_import_each_other_by_the_names_that_are_served() {
        for asset in ASSETS.iter().filter(|asset| asset.content_type == JS) {
            for import in asset.content.split("from \"./").skip(1) {
                let file = import.split('"').next().unwrap();
                assert!(
                    ASSETS.iter().any(|other| other.file == file),
                    "{} imports {file}",
                    asset.stem
                );
            }
        }
    }
}
