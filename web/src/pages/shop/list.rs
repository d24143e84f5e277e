//! `GET /shop`: what is on sale.

use crate::answer;
use crate::form::new_key;
use crate::format::{count, won};
use crate::pages::pager::{Collection, Pager, asked};
use crate::pages::{Frame, Summary, WayBack, trouble};
use crate::visit::Visit;
use crate::visitor::Visitor;
use crate::voucher;
use crate::words::fill;
use askama::Template;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use chassis::http::Id;
use serde::Deserialize;

/// Gifticons on one page.
const PAGE_SIZE: i64 = 24;
/// So many left, and fewer, are few.
const FEW: i64 = 10;
/// The bar of a gifticon is full while so many are left.
const FULL: i64 = 100;
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A gifticon, as its service shows it.
#[expect(clippy::struct_field_names, reason = "the fields have the names of the service")]
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gifticon {
    pub(crate) id: i64,
    pub(crate) gifticon_id: i64,
    pub(crate) name: String,
    pub(crate) available_quantity: i64,
    pub(crate) price: i64,
}

/// `_embedded` of the list.
#[derive(Debug, Deserialize)]
pub(crate) struct Gifticons {
    pub(crate) gifticons: Vec<Gifticon>,
}

/// A cart, as its service shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cart {
    id: i64,
    gifticon_id: i64,
    quantity: i64,
    amount: i64,
    status: String,
}

/// What a visitor has just bought.
struct Bought {
    gifticon_id: i64,
    cart_id: i64,
    text: String,
    href: String,
    is_paid: bool,
}

/// The cart that a page is to show as just bought.
enum Purchase {
    None,
    Gone,
    Made(Bought),
}

/// What a card offers to its visitor.
enum Offer {
    /// The form that buys.
    Form,
    /// To sign in first.
    SignIn,
    /// Nothing: the account is none of a customer.
    Nothing,
}

/// A gifticon on sale.
struct Card {
    id: i64,
    gifticon_id: i64,
    name: String,
    art: String,
    price: i64,
    price_text: String,
    left: i64,
    left_text: String,
    bar: i64,
    is_low: bool,
    is_sold_out: bool,
    quantity_name: String,
    add_name: String,
    sign_in_name: String,
    offer: Offer,
    quantity: String,
    key: String,
    error: Option<String>,
    bought: Option<Bought>,
}

#[derive(Template)]
#[template(path = "shop.html")]
struct ShopPage {
    frame: Frame,
    summary: Option<Summary>,
    gone: bool,
    /// What was bought of a gifticon that is on another page by now.
    elsewhere: Option<Bought>,
    cards: Vec<Card>,
    pager: Option<Pager>,
}

#[derive(Template)]
#[template(path = "card.html")]
struct CardPart {
    frame: Frame,
    card: Card,
}

/// Returns the text for what is left.
pub(crate) fn left_text(visit: &Visit, left: i64) -> String {
    let t = visit.words();
    match left {
        ..=0 => t.sold_out.to_owned(),
        1..=FEW => fill(t.left_few, &[("n", &count(left))]),
        _ => fill(t.left, &[("n", &count(left))]),
    }
}

impl Card {
    fn new(visit: &Visit, gifticon: &Gifticon) -> Self {
        let (t, left) = (visit.words(), gifticon.available_quantity.max(0));
        Self {
            id: gifticon.id,
            gifticon_id: gifticon.gifticon_id,
            art: voucher::draw(&gifticon.name),
            price: gifticon.price,
            price_text: won(gifticon.price, visit.lang),
            left,
            left_text: left_text(visit, left),
            bar: left.min(FULL) * 100 / FULL,
            is_low: left <= FEW,
            is_sold_out: left == 0,
            quantity_name: fill(t.quantity, &[("name", &gifticon.name)]),
            add_name: fill(t.add_named, &[("name", &gifticon.name)]),
            sign_in_name: fill(t.sign_in_to_buy_named, &[("name", &gifticon.name)]),
            offer: match &visit.visitor {
                Visitor::Stranger => Offer::SignIn,
                visitor if visitor.may_buy() => Offer::Form,
                _ => Offer::Nothing,
            },
            quantity: "1".into(),
            key: new_key(),
            error: None,
            bought: None,
            name: gifticon.name.clone(),
        }
    }
}

/// A form that was refused: what the visitor typed, and what is wrong.
pub(super) struct Refused {
    pub(super) gifticon_id: i64,
    pub(super) quantity: String,
    /// The key to go on with; a new one if the old one stands for the refusal.
    pub(super) key: String,
    pub(super) summary: Summary,
    /// What is wrong with the quantity, at its field.
    pub(super) error: Option<String>,
    pub(super) status: StatusCode,
}

/// Handles `GET /shop`.
pub(crate) async fn page(visit: Visit) -> Response {
    let number = asked(&visit);
    show(&visit, number, None).await
}

/// Handles `GET /shop/gifticons/{id}?page=N`: one card of a page of the list, for a script whose card is old.
pub(crate) async fn card(visit: Visit, Id(id): Id) -> Response {
    match visit.client.get::<Gifticon>(&format!("/gifticons/{id}")).await {
        Ok(gifticon) => {
            let frame = Frame::new(&visit, "/shop", visit.words().shop_title, None);
            let card = Card::new(&visit, &gifticon);
            answer::page(StatusCode::OK, &visit, &CardPart { frame, card })
        }
        Err(refusal) => refusal.status.into_response(),
    }
}

/// Returns the page, after a form that was refused if there is one.
pub(super) async fn show(visit: &Visit, number: i64, refused: Option<Refused>) -> Response {
    let t = visit.words();
    let path = format!("/gifticons?page={number}&size={PAGE_SIZE}&sort=id,desc");
    let (listed, bought) =
        futures_util::join!(visit.client.get::<Collection<Gifticons>>(&path), bought(visit));
    let list = match (listed, &refused) {
        (Ok(list), _) => Some(list),
        (Err(refusal), None) => {
            return trouble::unavailable(visit, WayBack::new("/shop", number), &refusal);
        }
        (Err(_), Some(_)) => None, // the summary says what to do
    };
    let (gone, mut bought) = match bought {
        Purchase::None => (false, None),
        Purchase::Gone => (true, None),
        Purchase::Made(bought) => (false, Some(bought)),
    };
    let mut cards = Vec::new();
    for gifticon in list.iter().flat_map(|list| &list.embedded.gifticons) {
        let mut card = Card::new(visit, gifticon);
        card.bought = bought.take_if(|bought| bought.gifticon_id == gifticon.gifticon_id);
        if let Some(refused) = &refused
            && refused.gifticon_id == gifticon.gifticon_id
        {
            card.quantity.clone_from(&refused.quantity);
            card.key.clone_from(&refused.key);
            card.error.clone_from(&refused.error);
        }
        cards.push(card);
    }
    let pager = list.and_then(|list| Pager::new(visit, "/shop", &list.page));
    let status = refused.as_ref().map_or(StatusCode::OK, |refused| refused.status);
    let status = Pager::status(pager.as_ref(), status);
    let page = ShopPage {
        frame: Frame::new(visit, "/shop", t.shop_title, Some("shop.js")).on_page(number),
        summary: refused.map(|refused| refused.summary),
        gone,
        elsewhere: bought,
        cards,
        pager,
    };
    answer::page(status, visit, &page)
}

/// Returns the cart that the query names.
async fn bought(visit: &Visit) -> Purchase {
    let cart_id = visit.query.get(&["bought"]).and_then(|id| id.parse::<i64>().ok());
    let Some(cart_id) = cart_id else { return Purchase::None };
    let cart = match visit.client.get::<Cart>(&format!("/carts/{cart_id}")).await {
        Ok(cart) => cart,
        Err(refusal) if refusal.status == StatusCode::NOT_FOUND => return Purchase::Gone,
        Err(_) => return Purchase::None, // my page tells it later
    };
    let (quantity, amount) = (count(cart.quantity), won(cart.amount, visit.lang));
    let values = [("quantity", &*quantity), ("amount", &*amount)];
    Purchase::Made(Bought {
        gifticon_id: cart.gifticon_id,
        cart_id: cart.id,
        text: fill(visit.words().bought_amount, &values),
        href: visit.path(&format!("/me#c-{cart_id}")),
        is_paid: cart.status == "PaymentApproved",
    })
}
