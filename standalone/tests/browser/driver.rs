//! A real Chromium, driven by the WebDriver protocol: JSON over HTTP, so the tests' own HTTP client is all that it takes.

use crate::base64::base64;
use crate::common::server;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

/// How long a test waits for the page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the driver may take: the first browser of a busy machine starts slowly.
const DRIVER_TIMEOUT: Duration = Duration::from_mins(1);
/// The name of an element in WebDriver.
pub(crate) const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one visitor. Dropping it closes it, after a picture if the test has failed.
pub(crate) struct Browser {
    client: reqwest::Client,
    session: String,
    pub(crate) base: String,
}

impl Browser {
    /// Starts a browser that prefers `language` and visits the shop at `base`.
    pub(crate) async fn start(base: &str, language: &str) -> Self {
        let client = chassis::http::client::new().unwrap();
        let driver = server("TEST_CHROMEDRIVER");
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                "args": [
                    "--headless=new",
                    "--no-sandbox", // root needs it
                    "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run", "--disable-extensions",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", // nothing but loopback
                    "--force-device-scale-factor=1", "--window-size=1200,1000", "--hide-scrollbars",
                    format!("--lang={language}"),
                ],
                "prefs": { "intl.accept_languages": language },
            },
        } } });
        let url = format!("{driver}/session");
        let started = client.post(url).timeout(DRIVER_TIMEOUT).json(&capabilities).send().await;
        let started: Value = started.unwrap().json().await.unwrap();
        let id = started["value"]["sessionId"].as_str();
        let id = id.unwrap_or_else(|| panic!("no browser: {started}"));
        let browser =
            Self { client, session: format!("{driver}/session/{id}"), base: base.to_owned() };
        browser.viewport(1200, 900, false).await;
        browser
    }

    /// Sends a command of WebDriver.
    async fn command(&self, path: &str, body: Value) -> Result<Value, Value> {
        let url = format!("{}/{path}", self.session);
        let answer = self.client.post(url).timeout(DRIVER_TIMEOUT).json(&body).send().await;
        let mut answer: Value = answer.unwrap().json().await.unwrap();
        let value = answer["value"].take();
        if value["error"].is_string() { Err(value) } else { Ok(value) }
    }

    /// Sends a command of WebDriver, which does not fail.
    pub(crate) async fn must(&self, path: &str, body: Value) -> Value {
        self.command(path, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Sends a command of Chromium's own protocol.
    pub(crate) async fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.must("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Sets the size of the page, as a desktop or a phone has it.
    pub(crate) async fn viewport(&self, width: u32, height: u32, is_phone: bool) {
        let metrics = json!({
            "width": width, "height": height, "mobile": is_phone,
            "deviceScaleFactor": if is_phone { 2 } else { 1 },
        });
        self.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Sets what the visitor's system prefers.
    pub(crate) async fn prefers(&self, feature: &str, value: &str) {
        let media = json!({ "features": [{ "name": feature, "value": value }] });
        self.cdp("Emulation.setEmulatedMedia", media).await;
    }

    /// Switches JavaScript off.
    pub(crate) async fn without_scripts(&self) {
        self.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    }

    /// Opens a page of the shop.
    pub(crate) async fn open(&self, path: &str) {
        self.must("url", json!({ "url": format!("{}{path}", self.base) })).await;
    }

    /// Goes back.
    pub(crate) async fn back(&self) {
        self.must("back", json!({})).await;
    }

    /// Runs a script with `arguments`, and returns its value.
    pub(crate) async fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.must("execute/sync", json!({ "script": script, "args": arguments })).await
    }

    /// Runs a script that calls its last argument with its value.
    pub(crate) async fn run_until(&self, script: &str) -> Value {
        self.must("execute/async", json!({ "script": script, "args": [] })).await
    }

    /// Returns the element that `css` selects, as WebDriver names it. Waits until it is there.
    pub(crate) async fn element(&self, css: &str) -> String {
        let what = format!("an element {css}");
        self.until(&what, async || {
            let body = json!({ "using": "css selector", "value": css });
            let found = self.command("element", body).await.ok()?;
            found[ELEMENT].as_str().map(ToOwned::to_owned)
        })
        .await
    }

    /// Calls `ask` until it returns a value, and returns that.
    pub(crate) async fn until<T>(&self, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            assert!(started.elapsed() < PAGE_TIMEOUT, "waited {PAGE_TIMEOUT:?} in vain for {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns the text of what `css` selects.
    pub(crate) async fn text(&self, css: &str) -> String {
        let element = self.element(css).await;
        let url = format!("{}/element/{element}/text", self.session);
        let answer: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        answer["value"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until what `css` selects shows `text`, also where scripts are off.
    pub(crate) async fn shows(&self, css: &str, text: &str) {
        self.until(&format!("{css} to show {text:?}"), async || {
            self.text(css).await.contains(text).then_some(())
        })
        .await;
    }

    /// Waits until what `css` selects says `text`.
    pub(crate) async fn says(&self, css: &str, text: &str) {
        self.until(&format!("{css} to say {text:?}"), async || {
            let script =
                "const one = document.querySelector(arguments[0]); return one && one.innerText";
            let said = self.run(script, &[json!(css)]).await;
            said.as_str()?.contains(text).then_some(())
        })
        .await;
    }

    /// Returns how many elements `css` selects.
    pub(crate) async fn count(&self, css: &str) -> u64 {
        let script = "return document.querySelectorAll(arguments[0]).length";
        self.run(script, &[json!(css)]).await.as_u64().unwrap()
    }

    /// Waits until the page is live.
    pub(crate) async fn is_live(&self) {
        self.until("the page to be live", async || {
            (self.count("#state.is-on").await == 1).then_some(())
        })
        .await;
    }

    /// Marks this page. [`Self::was_not_reloaded`] sees whether it is still the same.
    pub(crate) async fn mark(&self) {
        self.run("window.marked = true", &[]).await;
    }

    /// Asserts that the page is the one that was marked.
    pub(crate) async fn was_not_reloaded(&self) {
        assert_eq!(self.run("return window.marked === true", &[]).await, true, "it was reloaded");
    }

    /// Opens another tab and goes to it. Returns the tab before.
    pub(crate) async fn new_tab(&self) -> Value {
        let tab = self.must("window/new", json!({ "type": "tab" })).await;
        self.to_other_tab(&tab["handle"]).await
    }

    /// Goes to a tab. Returns the tab before.
    pub(crate) async fn to_other_tab(&self, tab: &Value) -> Value {
        let before = self.tab().await;
        self.to_tab(tab).await;
        before
    }

    /// Returns the tab that it is at.
    async fn tab(&self) -> Value {
        let url = format!("{}/window", self.session);
        let mut answer: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        answer["value"].take()
    }

    /// Goes to a tab.
    pub(crate) async fn to_tab(&self, tab: &Value) {
        self.must("window", json!({ "handle": tab })).await;
    }

    /// Returns a picture of what is in view, or of the whole page.
    pub(crate) async fn picture(&self, whole: bool) -> Vec<u8> {
        let mut parameters = json!({ "format": "png", "captureBeyondViewport": whole });
        if whole {
            let size = &self.cdp("Page.getLayoutMetrics", json!({})).await["cssContentSize"];
            parameters["clip"] = json!({
                "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1,
            });
        }
        let picture = self.cdp("Page.captureScreenshot", parameters).await;
        base64(picture["data"].as_str().unwrap())
    }

    /// Puts HTML in place of the footer of the page, whose scripts may be off.
    pub(crate) async fn insert(&self, html: &str) {
        let document = self.cdp("DOM.getDocument", json!({})).await;
        let footer = json!({ "nodeId": document["root"]["nodeId"], "selector": "footer" });
        let node = self.cdp("DOM.querySelector", footer).await["nodeId"].take();
        self.cdp("DOM.setOuterHTML", json!({ "nodeId": node, "outerHTML": html })).await;
    }

    /// Returns what the browser has complained of since the last time: errors of scripts, violations of the
    /// Content-Security-Policy. It also logs each answer that is no 200, which tests ask for.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.must("se/log", json!({ "type": "browser" })).await;
        let entries = log.as_array().unwrap().iter();
        entries
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING")
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .filter(|message| {
                !message.contains("Failed to load resource") && !message.contains("net::ERR")
            })
            .collect()
    }

    /// Asserts that the browser has complained of nothing since the last time.
    pub(crate) async fn has_no_complaints(&self) {
        assert_eq!(self.complaints().await, Vec::<String>::new());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        block_in_place(|| {
            Handle::current().block_on(async {
                if std::thread::panicking() {
                    let url = format!("{}/screenshot", self.session);
                    let answer = self.client.get(url).timeout(PAGE_TIMEOUT).send().await;
                    if let Ok(Ok(answer)) =
                        futures(answer.map(reqwest::Response::json::<Value>)).await
                    {
                        let name =
                            std::thread::current().name().unwrap_or("test").replace(':', "-");
                        let file =
                            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
                        let picture = base64(answer["value"].as_str().unwrap_or_default());
                        let written = std::fs::write(&file, picture);
                        println!("a picture of the failure: {} {written:?}", file.display());
                    }
                }
                let _ = self.client.delete(&self.session).timeout(PAGE_TIMEOUT).send().await;
            });
        });
    }
}

/// Awaits the future in a result.
async fn futures<T, E>(result: Result<impl Future<Output = T>, E>) -> Result<T, E> {
    match result {
        Ok(future) => Ok(future.await),
        Err(error) => Err(error),
    }
}
