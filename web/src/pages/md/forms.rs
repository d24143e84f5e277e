//! The forms of the page, as they were sent.

use crate::form::Form;
use crate::pages::Summary;
use axum::http::StatusCode;

/// Name of the field that a form has if it was sent before and may have been saved.
pub(super) const UNSURE: &str = "unsure";

/// The form for a new gifticon, and what is wrong with it.
#[derive(Default)]
pub(super) struct NewForm {
    pub(super) number: String,
    pub(super) name: String,
    pub(super) stock: String,
    pub(super) price: String,
    pub(super) number_error: Option<String>,
    pub(super) name_error: Option<String>,
    pub(super) stock_error: Option<String>,
    pub(super) price_error: Option<String>,
}

/// The form of a gifticon, and what is wrong with it.
pub(super) struct ChangeForm {
    pub(super) id: i64,
    /// What the form showed: the version, the name and the price.
    pub(super) etag: String,
    pub(super) seen_name: String,
    pub(super) seen_price: Option<i64>,
    /// What was typed.
    pub(super) price: String,
    pub(super) restock: String,
    pub(super) price_error: Option<&'static str>,
    pub(super) restock_error: Option<&'static str>,
    /// True if it may have been saved under `etag`. It is saved under no other one then, so that it is not saved twice.
    pub(super) is_unsure: bool,
    /// True if there is no such gifticon.
    pub(super) is_gone: bool,
}

/// A form that was refused.
#[derive(Default)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) summary: Option<Summary>,
    pub(super) new: NewForm,
    pub(super) change: Option<ChangeForm>,
}

impl NewForm {
    /// Returns what was typed.
    pub(super) fn of(form: &Form) -> Self {
        Self {
            number: form.text("gifticonId").to_owned(),
            name: form.text("name").to_owned(),
            stock: form.text("availableQuantity").to_owned(),
            price: form.text("price").to_owned(),
            ..Self::default()
        }
    }

    /// Returns the first field that is wrong, with what is wrong.
    pub(super) fn first_error(&self) -> Option<(&'static str, &str)> {
        let errors = [
            ("#new-number", &self.number_error),
            ("#new-name", &self.name_error),
            ("#new-stock", &self.stock_error),
            ("#new-price", &self.price_error),
        ];
        errors.into_iter().find_map(|(field, error)| Some((field, error.as_deref()?)))
    }

    /// Returns the fields to be sent again.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("gifticonId", self.number.clone()),
            ("name", self.name.clone()),
            ("availableQuantity", self.stock.clone()),
            ("price", self.price.clone()),
        ]
    }
}

impl ChangeForm {
    /// Returns the form of the gifticon with this id as it was sent.
    pub(super) fn of(form: &Form, id: i64) -> Self {
        Self {
            id,
            etag: form.text("etag").to_owned(),
            seen_name: form.text("seenName").to_owned(),
            seen_price: form.number("seenPrice"),
            price: form.text("price").to_owned(),
            restock: form.text("restock").to_owned(),
            price_error: None,
            restock_error: None,
            is_unsure: !form.text(UNSURE).is_empty(),
            is_gone: false,
        }
    }

    /// Returns the first field that is wrong, with what is wrong.
    pub(super) fn first_error(&self) -> Option<(String, &'static str)> {
        let price = self.price_error.map(|error| (format!("#price-{}", self.id), error));
        price.or_else(|| Some((format!("#restock-{}", self.id), self.restock_error?)))
    }

    /// Returns the fields to be sent again.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let seen_price = self.seen_price.map(|price| price.to_string()).unwrap_or_default();
        let mut fields = vec![
            ("etag", self.etag.clone()),
            ("seenName", self.seen_name.clone()),
            ("seenPrice", seen_price),
            ("price", self.price.clone()),
            ("restock", self.restock.clone()),
        ];
        if self.is_unsure {
            fields.push((UNSURE, "1".to_owned()));
        }
        fields
    }
}
