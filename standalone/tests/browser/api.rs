//! The browser of the API, in a browser.

use crate::common::Shop;
use crate::driver::Browser;
use crate::sound::violations_but;
use serde_json::Value;
use std::collections::BTreeSet;

/// What Swagger UI itself does to its elements, which no setting and no style sheet of ours changes.
const SWAGGER_UI: [(&str, &str); 5] = [
    ("heading-order", ".opblock-tag"), // h3 right below h1
    ("nested-interactive", ".opblock-summary-control"), // a link in a button
    ("region", ".information-container"), // outside of its `main`
    ("region", ".schemes-server-container"), // the same
    ("select-name", "#servers"),       // its label is empty
];

/// What it does to those of operations that are open.
const OPEN_OPERATIONS: [(&str, &str); 2] = [
    ("landmark-unique", ".responses-table"), // a region without a name in each of them
    ("select-name", ".examples-select-element"), // its label names nothing
];

/// Returns the id that Swagger UI gives to each operation of the document.
fn operations() -> BTreeSet<String> {
    let document: Value = serde_json::from_str(gateway::docs::DOCUMENT).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let id = |operation: &Value| {
        Some(format!(
            "operations-{}-{}",
            operation["tags"][0].as_str()?,
            operation["operationId"].as_str()?
        ))
    };
    operations.filter_map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn every_operation_is_shown_and_one_is_called() {
    let shop = Shop::with_a_paid_cart().await;
    let browser = Browser::start(&shop.web.base, "en").await;
    browser.open("/docs").await;
    browser.says("#browser h1", "Gifticon").await;
    let shown = browser
        .run("return [...document.querySelectorAll('.opblock')].map((one) => one.id)", &[])
        .await;
    let shown: BTreeSet<String> = serde_json::from_value(shown).unwrap();
    assert_eq!(shown, operations());
    for scheme in ["light", "dark"] {
        browser.prefers("prefers-color-scheme", scheme).await;
        let found = violations_but(&browser, &SWAGGER_UI).await;
        assert_eq!(found, Vec::<String>::new(), "{scheme}");
    }

    // One has parameters and a long example, the other one code in its description.
    browser.prefers("prefers-color-scheme", "light").await;
    let (operation, other) =
        ("#operations-gifticons-listGifticons", "#operations-gifticons-deleteGifticon");
    for operation in [operation, other] {
        browser.click(&format!("{operation} .opblock-summary-control")).await;
        browser.element(&format!("{operation} .examples-select-element")).await;
    }
    let found = violations_but(&browser, &[&SWAGGER_UI[..], &OPEN_OPERATIONS].concat()).await;
    assert_eq!(found, Vec::<String>::new(), "open");
    browser.click(&format!("{operation} .try-out__btn")).await;
    browser.click(&format!("{operation} .execute")).await;
    browser
        .says(&format!("{operation} .live-responses-table .response .response-col_status"), "200")
        .await;
    browser.says(&format!("{operation} .live-responses-table"), "Americano").await;
    browser.has_no_complaints().await;
    drop(browser);
    shop.stop().await;
}
