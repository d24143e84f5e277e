//! HTTP of the view. It is only read here: events write it.

mod documents;
mod openapi;

pub use documents::streamed;
pub use openapi::openapi;

use crate::api::documents::{MypageView, StepView, item, time};
use crate::live::events::EventFeed;
use crate::live::views::{Interest, ViewFeed};
use crate::projection::{self, View};
use crate::rebuild::{Rebuild, Rebuilt, Stopping};
use crate::store::{self, MYPAGES, ViewRow};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use chassis::auth::Principal;
use chassis::base::i18n::Text;
use chassis::base::problem::{Kind, Problem};
use chassis::http::event_stream::{Streams, event_stream, last_event_id};
use chassis::http::hal::{Collection, Item};
use chassis::http::{
    Access, BaseUrl, Caller, Conditions, EntityTag, Id, Query, Surface, bad_query,
};
use chassis::listing::Scope;
use chassis::service::HEALTH_PATH;
use chassis::storage::Db;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

pub const UNKNOWN_MYPAGE: Kind = Kind::new(
    "no-such-mypage",
    StatusCode::NOT_FOUND,
    "There is no such page",
    "없는 페이지입니다",
);
pub const REBUILDING: Kind = Kind::new(
    "rebuild-running",
    StatusCode::CONFLICT,
    "The view is being rebuilt already",
    "이미 다시 만들고 있습니다",
);
/// The problems of this service. A test compares them with docs/reference/problems.md.
pub const PROBLEMS: &[Kind] = &[UNKNOWN_MYPAGE, REBUILDING];

/// Returns what [`routes`] serves.
pub fn surface() -> Surface {
    let paths = vec![
        "/",
        "/mypages",
        "/mypages/{id}",
        "/mypages/{id}/history",
        "/mypages/search",
        "/mypages/search/findByCartId",
        "/mypages/stream",
        "/live/stream",
        HEALTH_PATH,
    ];
    Surface {
        paths,
        bodies: &[],
        access: &[
            (Method::GET, "/", Access::Public),
            (Method::GET, "/mypages", Access::Reader),
            (Method::GET, "/mypages/search", Access::Public),
            (Method::GET, "/mypages/search/findByCartId", Access::Reader),
            (Method::GET, "/mypages/{id}", Access::Reader),
            (Method::GET, "/mypages/{id}/history", Access::Reader),
            (Method::GET, "/mypages/stream", Access::Reader),
            (Method::GET, "/live/stream", Access::Reader),
        ],
    }
}

/// What the routes need.
pub struct Api {
    pub db: Db,
    pub streams: Streams,
    pub views: Arc<ViewFeed>,
    pub events: Arc<EventFeed>,
}

/// Returns the routes.
pub fn routes(api: Api) -> Router {
    Router::new()
        .route("/", get(async |base: BaseUrl| Json(MYPAGES.root(&base))))
        .route("/mypages", get(list))
        .route("/mypages/search", get(async |base: BaseUrl| Json(MYPAGES.searches(&base))))
        .route("/mypages/search/findByCartId", get(find))
        .route("/mypages/{id}", get(one))
        .route("/mypages/{id}/history", get(history))
        .route("/mypages/stream", get(stream_views))
        .route("/live/stream", get(stream_events))
        .with_state(Arc::new(api)) // so that a request clones nothing else
}

/// Returns the routes at the management address.
pub fn management(rebuild: Rebuild) -> Router {
    let both = get(rebuild_progress).post(start_rebuild);
    Router::new().route("/admin/rebuild", both).with_state(rebuild)
}

fn answer(
    base: &BaseUrl,
    principal: &Principal,
    conditions: &Conditions,
    view: Option<MypageView>,
) -> Result<Response, Problem> {
    let view = view.ok_or_else(unknown_mypage)?.shown_to(principal);
    let id = view.id;
    let tag = EntityTag::of_content(&view);
    conditions.answer(&tag, Json(item(base, id, view)))
}

fn unknown_mypage() -> Problem {
    Problem::new(
        UNKNOWN_MYPAGE,
        Text::fixed(
            "a cart's page is here shortly after the cart is added",
            "장바구니에 담은 뒤 잠시 후에 볼 수 있습니다",
        ),
    )
}

async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    base: BaseUrl,
    query: Query,
) -> Result<Json<Collection<Item<MypageView>>>, Problem> {
    let read = |view: MypageView| (view.id, view.shown_to(&principal));
    Ok(Json(MYPAGES.page(&api.db, &base, &principal, &query, read).await?))
}

async fn one(
    State(api): State<Arc<Api>>,
    principal: Principal,
    base: BaseUrl,
    Id(id): Id,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let view = store::by_id(&api.db, &Scope::of(&principal), id).await?;
    answer(&base, &principal, &conditions, view)
}

async fn find(
    State(api): State<Arc<Api>>,
    principal: Principal,
    base: BaseUrl,
    query: Query,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let cart_id = query.number(&["cartId", "CartId"])?;
    let view = store::by_cart(&api.db, &Scope::of(&principal), cart_id).await?;
    answer(&base, &principal, &conditions, view)
}

async fn history(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Id(id): Id,
) -> Result<Json<Vec<StepView>>, Problem> {
    let row: Option<ViewRow> = store::by_id(&api.db, &Scope::of(&principal), id).await?;
    let row = row.ok_or_else(unknown_mypage)?;
    let step = |(kind, at): (projection::Kind, i64)| StepView {
        event_type: kind.event_type(),
        status: kind.status(),
        at: time(at),
    };
    Ok(Json(projection::in_order(View::from(row).steps).into_iter().map(step).collect()))
}

/// Carts that a stream may ask for.
const STREAMED_CARTS_MAX: usize = 100;

/// Tells the views that change, of those that the list shows: all, or those of the carts that `cartId` names.
async fn stream_views(
    State(api): State<Arc<Api>>,
    principal: Principal,
    client: Caller,
    base: BaseUrl,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let scope = Scope::asked(&principal, &query);
    let interest = Interest { scope, carts: carts(&query)? };
    let permit = api.streams.enter_as(client)?;
    let (watching, frames) = api.views.watch(interest.clone(), base.clone()).await?;
    let first = api.views.catch_up(&watching, &interest, &base, last_event_id(&headers)).await?;
    Ok(event_stream(permit, principal.expires(), &first, frames, move || watching.heartbeat()))
}

/// Returns the carts that a stream asks for, or `None` for all.
fn carts(query: &Query) -> Result<Option<BTreeSet<i64>>, Problem> {
    let carts: Option<BTreeSet<i64>> =
        query.all("cartId").map(common_events::number::parse).collect();
    match carts {
        Some(carts) if carts.is_empty() => Ok(None),
        Some(carts) if carts.len() <= STREAMED_CARTS_MAX => Ok(Some(carts)),
        _ => Err(bad_query(
            format!("cartId is a whole number, and may be there {STREAMED_CARTS_MAX} times"),
            format!("cartId 값은 정수여야 하며 {STREAMED_CARTS_MAX}개까지 쓸 수 있습니다"),
        )),
    }
}

/// Tells what happens in the shop.
async fn stream_events(
    State(api): State<Arc<Api>>,
    principal: Principal,
    client: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let permit = api.streams.enter_as(client)?;
    let (watching, first, frames) = api.events.watch(last_event_id(&headers)).await?;
    Ok(event_stream(permit, principal.expires(), &first, frames, move || watching.heartbeat()))
}

/// Answers when it is done, so that a script can wait for it.
async fn start_rebuild(
    State(rebuild): State<Rebuild>,
    principal: Principal,
) -> Result<Json<Rebuilt>, Problem> {
    let outcome = rebuild.start(principal.owner()).await.map_err(|error| {
        match error.downcast::<Stopping>() {
            Ok(Stopping) => Problem::unavailable(Text::fixed(
                "the service is stopping; begin the rebuild again",
                "서비스가 종료되는 중입니다. 다시 시작해 주세요",
            )),
            Err(error) => error.into(),
        }
    })?;
    let running = || {
        Problem::new(
            REBUILDING,
            Text::fixed(
                "wait for it to end; GET says how far it is",
                "끝날 때까지 기다려 주세요. GET 으로 진행 상황을 볼 수 있습니다",
            ),
        )
    };
    Ok(Json(outcome.ok_or_else(running)?))
}

/// Says whether a rebuild runs in this process, and how far it is.
async fn rebuild_progress(State(rebuild): State<Rebuild>) -> Json<Value> {
    let Some(progress) = rebuild.progress() else { return Json(json!({ "running": false })) };
    let mut answer = json!(progress);
    answer["running"] = true.into();
    Json(answer)
}
