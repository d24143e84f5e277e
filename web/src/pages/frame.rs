//! What is around every page: the bar at its top, and the summary of what went wrong.

use crate::assets;
use crate::pages::WayBack;
use crate::pages::pager::{asked, link};
use crate::visit::{Theme, Visit};
use crate::visitor::Visitor;
use crate::words::Words;

/// A tab of the bar.
pub(crate) struct Tab {
    pub(crate) href: String,
    pub(crate) name: &'static str,
    /// The file of its sign, without the extension.
    pub(crate) sign: &'static str,
    pub(crate) is_current: bool,
}

/// What is around every page.
pub(crate) struct Frame {
    pub(crate) t: &'static Words,
    pub(crate) title: &'static str,
    pub(crate) lang: &'static str,
    pub(crate) other_lang: &'static str,
    pub(crate) theme: &'static str,
    pub(crate) next_theme: &'static str,
    pub(crate) next_theme_name: &'static str,
    pub(crate) prefix: String,
    pub(crate) path: &'static str,
    /// The page of the list. Nothing else of a query is kept: it tells of a form that is done.
    pub(crate) page: i64,
    pub(crate) tabs: Vec<Tab>,
    /// What somebody is called who is signed in.
    pub(crate) account: Option<String>,
    /// Which account it is: tabs of the same one share a stream. Empty where nobody is signed in.
    pub(crate) account_key: String,
    pub(crate) can_sign_in: bool,
    /// True for somebody to whom the services open no stream.
    pub(crate) is_still: bool,
    pub(crate) style: String,
    pub(crate) icon: String,
    pub(crate) scripts: Vec<String>,
}

impl Frame {
    /// Returns the frame of the page at `path`, which loads `script` besides what each page loads.
    pub(crate) fn new(
        visit: &Visit,
        path: &'static str,
        title: &'static str,
        script: Option<&str>,
    ) -> Self {
        let t = visit.words();
        let tab =
            |href, name, sign| Tab { href: visit.path(href), name, sign, is_current: href == path };
        let other_lang = match visit.lang.tag() {
            "ko" => "en",
            _ => "ko",
        };
        let next = visit.theme.next();
        Self {
            t,
            title,
            lang: visit.lang.tag(),
            other_lang,
            theme: visit.theme.name(),
            next_theme: next.name(),
            next_theme_name: match next {
                Theme::Auto => t.theme_auto,
                Theme::Light => t.theme_light,
                Theme::Dark => t.theme_dark,
            },
            prefix: visit.prefix.clone(),
            path,
            page: asked(visit),
            tabs: [
                Some(tab("/shop", t.tab_shop, "shop")),
                Some(tab("/me", t.tab_me, "me")),
                visit.visitor.may_manage().then(|| tab("/md", t.tab_md, "md")),
                Some(tab("/live", t.tab_live, "live")),
            ]
            .into_iter()
            .flatten()
            .collect(),
            account: visit.visitor.name().map(ToOwned::to_owned),
            account_key: visit.visitor.key().to_owned(),
            can_sign_in: visit.visitor.can_sign_in(),
            is_still: visit.visitor == Visitor::Stranger,
            style: visit.path(&assets::path("style.css")),
            icon: visit.path(&assets::path("icon.svg")),
            scripts: [Some("page.js"), script]
                .into_iter()
                .flatten()
                .map(|script| visit.path(&assets::path(script)))
                .collect(),
        }
    }

    /// Returns the frame around a page of a list that a form has asked for.
    pub(crate) fn on_page(self, page: i64) -> Self {
        Self { page, ..self }
    }

    /// Returns where a visitor signs in, and is then led back to this page.
    pub(crate) fn sign_in_href(&self) -> String {
        format!("{}/sign-in?to={}", self.prefix, WayBack::new(self.path, self.page))
    }

    /// Returns where the page is in the other language.
    pub(crate) fn other_lang_href(&self) -> String {
        let lang = format!("lang={}", self.other_lang);
        format!("{}{}", self.prefix, link(self.path, self.page, &lang))
    }
}

/// What went wrong with a form, at the top of its page, where it takes the focus.
pub(crate) struct Summary {
    pub(crate) title: &'static str,
    pub(crate) text: String,
    /// The field that it is about, as `#id`.
    pub(crate) field: Option<String>,
    /// The form once more, to be sent by a button.
    pub(crate) retry: Option<Retry>,
}

/// A form that can be sent again as it was.
pub(crate) struct Retry {
    pub(crate) action: String,
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl Summary {
    /// Returns a summary without a field and without a form.
    pub(crate) fn new(title: &'static str, text: impl Into<String>) -> Self {
        Self { title, text: text.into(), field: None, retry: None }
    }

    /// Adds the field that it is about.
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds the form that can be sent again.
    pub(crate) fn retry(mut self, action: String, fields: Vec<(&'static str, String)>) -> Self {
        self.retry = Some(Retry { action, fields });
        self
    }
}
