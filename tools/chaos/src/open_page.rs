//! An open page of the shop: it follows both event streams of the gateway through all that happens.

use crate::ShopClient;
use anyhow::ensure;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The pause before a page connects again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The longest time in which nothing may come on a stream: some heartbeats. A page then takes it for dead.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Bound for the page to show what the shop says, when nothing changes any more.
const AGREE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bound for one stream: longer than any drill.
const STREAM_TIMEOUT: Duration = Duration::from_hours(3);

/// An open page. Dropping it closes it.
#[derive(Debug)]
pub struct OpenPage {
    shown: Arc<Mutex<Shown>>,
    _streams: JoinSet<()>,
}

/// What the page shows.
#[derive(Debug, Default)]
struct Shown {
    /// The newest data of each view, by its id.
    views: BTreeMap<i64, Value>,
    /// What is left of gifticons, by id.
    stock: BTreeMap<i64, i64>,
    /// Events that came.
    events: u64,
    /// How often a stream was connected.
    connects: u64,
}

impl OpenPage {
    /// Opens the page. It connects again whenever a stream ends, as a browser does.
    pub fn of(web: &ShopClient) -> Self {
        let (shown, mut streams) = (Arc::<Mutex<Shown>>::default(), JoinSet::new());
        for path in ["/mypages/stream", "/live/stream"] {
            streams.spawn(follow(web.clone(), path, Arc::clone(&shown)));
        }
        Self { shown, _streams: streams }
    }

    /// Waits until the page shows the newest views and the stock as the shop says that they are. Returns how many events came, and
    /// how often it connected.
    ///
    /// # Errors
    /// It shows something else for good: an event was lost, or a stream stands still.
    pub async fn agrees(&self, web: &ShopClient) -> anyhow::Result<(u64, u64)> {
        let began = Instant::now();
        loop {
            let views = web.get("/mypages?size=20&sort=id,desc").await;
            let gifticons = web.get("/gifticons?size=20").await;
            let Some(wrong) = lock(&self.shown).differs(&views, &gifticons) else {
                let shown = lock(&self.shown);
                return Ok((shown.events, shown.connects));
            };
            ensure!(began.elapsed() < AGREE_TIMEOUT, "an open page is wrong: {wrong}");
            sleep(RETRY_PAUSE).await;
        }
    }
}

impl Shown {
    /// Takes an event.
    fn take(&mut self, name: &str, data: &Value) {
        self.events += 1;
        match name {
            "mypage" => {
                let Some(id) = data["id"].as_i64() else { return };
                let older = |old: &Value| old["version"].as_i64() <= data["version"].as_i64();
                if self.views.get(&id).is_none_or(older) {
                    self.views.insert(id, data.clone());
                }
            }
            _ => {
                let gifticon = data["gifticonId"].as_i64();
                if let Some((id, left)) = gifticon.zip(data["availableQuantity"].as_i64()) {
                    self.stock.insert(id, left);
                }
            }
        }
    }

    /// Forgets what a stream told: what follows does not continue it.
    fn forget(&mut self, path: &str) {
        match path {
            "/mypages/stream" => self.views.clear(),
            _ => self.stock.clear(),
        }
    }

    /// Returns what is not as these pages of the shop's lists say, if anything is.
    fn differs(&self, views: &Value, gifticons: &Value) -> Option<String> {
        let items = |page: &Value, name: &str| {
            page["_embedded"][name].as_array().cloned().unwrap_or_default()
        };
        for view in items(views, "mypages") {
            let shown = self.views.get(&view["id"].as_i64()?);
            if shown.is_none_or(|shown| shown["status"] != view["status"]) {
                return Some(format!("{shown:?} is shown of view {view}"));
            }
        }
        let gifticons = items(gifticons, "gifticons");
        let known = gifticons.iter().filter_map(|one| {
            let id = one["id"].as_i64()?;
            Some((one, self.stock.get(&id)?))
        });
        let mut known = known.peekable();
        if known.peek().is_none() {
            return Some("nothing is shown of the stock".to_owned());
        }
        let wrong =
            |(one, left): &(&Value, &i64)| one["availableQuantity"].as_i64() != Some(**left);
        known.find(wrong).map(|(one, left)| format!("{left} units are shown of gifticon {one}"))
    }
}

/// Follows a stream for good.
async fn follow(web: ShopClient, path: &'static str, shown: Arc<Mutex<Shown>>) {
    let mut last_id = None;
    loop {
        let _ = follow_once(&web, path, &mut last_id, &shown).await;
        sleep(RETRY_PAUSE).await;
    }
}

/// Follows a stream until it ends. Remembers its last id.
async fn follow_once(
    web: &ShopClient,
    path: &str,
    last_id: &mut Option<String>,
    shown: &Mutex<Shown>,
) -> anyhow::Result<()> {
    let mut request =
        web.request(Method::GET, &format!("{}{path}", web.base)).timeout(STREAM_TIMEOUT);
    if let Some(id) = last_id.as_deref() {
        request = request.header("last-event-id", id);
    }
    let mut response = timeout(SILENCE_MAX, request.send()).await??;
    ensure!(response.status() == StatusCode::OK, "{path} answers {}", response.status());
    lock(shown).connects += 1;
    let (mut unread, mut event) = (Vec::new(), Event::default());
    while let Some(bytes) = timeout(SILENCE_MAX, response.chunk()).await?? {
        unread.extend_from_slice(&bytes);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if !event.takes(line.trim_end()) {
                continue;
            }
            let Event { name, data, id } = std::mem::take(&mut event);
            let mut shown = lock(shown);
            match name.as_str() {
                "reset" => shown.forget(path),
                "mypage" | "event" => shown.take(&name, &serde_json::from_str(&data)?),
                _ => {}
            }
            if let Some(id) = id {
                *last_id = Some(id).filter(|id| !id.is_empty()); // a reset has an empty one
            }
        }
    }
    Ok(())
}

/// An event, line by line.
#[derive(Debug, Default)]
struct Event {
    name: String,
    data: String,
    id: Option<String>,
}

impl Event {
    /// Takes a line. Returns whether the event ends with it.
    fn takes(&mut self, line: &str) -> bool {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => value.clone_into(&mut self.data),
            "id" => self.id = Some(value.to_owned()),
            _ => {} // a comment has an empty one
        }
        line.is_empty()
    }
}

fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lists(status: &str, left: i64) -> (Value, Value) {
        let view = json!({ "id": 7, "status": status });
        let gifticon = json!({ "id": 1, "availableQuantity": left });
        let of = |name: &str, item| json!({ "_embedded": { name: [item] } });
        (of("mypages", view), of("gifticons", gifticon))
    }

    #[test]
    fn a_page_that_is_behind_is_wrong() {
        let mut shown = Shown::default();
        shown.take("mypage", &json!({ "id": 7, "version": 2, "status": "PaymentApproved" }));
        shown.take("mypage", &json!({ "id": 7, "version": 1, "status": "CartAdded" }));
        shown.take("event", &json!({ "gifticonId": 1, "availableQuantity": 9 }));
        shown.take("event", &json!({ "gifticonId": 1, "quantity": 2 }));
        let differs =
            |shown: &Shown, (views, gifticons): (Value, Value)| shown.differs(&views, &gifticons);
        assert_eq!(differs(&shown, lists("PaymentApproved", 9)), None);
        assert!(
            differs(&shown, lists("PaymentCancelled", 9)).is_some_and(|why| why.contains("view"))
        );
        assert!(
            differs(&shown, lists("PaymentApproved", 8)).is_some_and(|why| why.contains("9 units"))
        );
        shown.forget("/live/stream");
        assert!(
            differs(&shown, lists("PaymentApproved", 9)).is_some_and(|why| why.contains("stock"))
        );
    }

    #[test]
    fn an_event_ends_with_an_empty_line() {
        let mut event = Event::default();
        let lines = ["id: 0:7", "event: event", "data: {}", ": heartbeat", ""];
        assert_eq!(lines.map(|line| event.takes(line)), [false, false, false, false, true]);
        assert_eq!((&*event.name, &*event.data, event.id.as_deref()), ("event", "{}", Some("0:7")));
        let mut reset = Event::default();
        let lines = ["id:", "event: reset", "data: {}", ""];
        assert_eq!(lines.map(|line| reset.takes(line)), [false, false, false, true]);
        assert_eq!((&*reset.name, reset.id.as_deref()), ("reset", Some("")));
    }
}
