//! `/shop/theme`: the switch between light and dark.

use crate::answer::{remember, see};
use crate::form::Form;
use crate::pages::{PATHS, pager};
use crate::visit::{THEME_COOKIE, Theme};
use axum::response::Response;

/// Handles the switch: remembers the theme, and leads back to the page that it was on.
pub(crate) async fn change(form: Form) -> Response {
    let theme = Theme::named(form.text("theme")).unwrap_or(Theme::Auto);
    let back = form.text("back");
    let back = PATHS.into_iter().find(|path| *path == back).unwrap_or("/shop");
    let mut response = see(&form.visit, &pager::link(back, form.page(), ""));
    remember(response.headers_mut(), &form.visit.cookie(THEME_COOKIE, theme.name()));
    response
}
