//! What a visitor does with a mouse, a finger and a keyboard.

use crate::driver::{Browser, ELEMENT};
use serde_json::json;

/// Keys of WebDriver.
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const SPACE: &str = " ";

impl Browser {
    /// Gives the visitor a screen that is touched.
    pub(crate) async fn touches(&self) {
        self.cdp("Emulation.setTouchEmulationEnabled", json!({ "enabled": true })).await;
    }

    /// Clicks on what `css` selects.
    pub(crate) async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.must(&format!("element/{element}/click"), json!({})).await;
    }

    /// Clicks twice, as fast as a hand does.
    pub(crate) async fn double_click(&self, css: &str) {
        self.point(css, "mouse", 2).await;
    }

    /// Taps on what `css` selects, or on what covers it.
    pub(crate) async fn tap(&self, css: &str) {
        self.point(css, "touch", 1).await;
    }

    /// Presses a `pointer` in the middle of what `css` selects.
    async fn point(&self, css: &str, pointer: &str, presses: usize) {
        let element = json!({ ELEMENT: self.element(css).await });
        let into_view = "arguments[0].scrollIntoView({ block: 'center' })";
        self.run(into_view, std::slice::from_ref(&element)).await;
        let to = json!({ "type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": element });
        let press = ["pointerDown", "pointerUp"].map(|kind| json!({ "type": kind, "button": 0 }));
        let presses = std::iter::repeat_n(press, presses).flatten();
        let actions: Vec<_> = std::iter::once(to).chain(presses).collect();
        let hand = json!({
            "type": "pointer", "id": pointer, "parameters": { "pointerType": pointer },
            "actions": actions,
        });
        self.must("actions", json!({ "actions": [hand] })).await;
    }

    /// Types into what `css` selects, in place of what is there.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.must(&format!("element/{element}/clear"), json!({})).await;
        self.must(&format!("element/{element}/value"), json!({ "text": text })).await;
    }

    /// Presses keys one after the other, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let press = |key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }));
        let keys: Vec<_> = keys.chars().flat_map(press).collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": keys }] });
        self.must("actions", actions).await;
    }

    /// Presses Tab until the element with the focus matches `css`, and returns how often.
    pub(crate) async fn tab_to(&self, css: &str) -> usize {
        for presses in 1..=60 {
            self.press(TAB).await;
            let script = "return document.activeElement.matches(arguments[0])";
            if self.run(script, &[json!(css)]).await == true {
                return presses;
            }
        }
        panic!("the focus never came to {css}");
    }
}
