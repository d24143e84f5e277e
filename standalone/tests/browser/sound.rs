//! What nobody may meet on a page: what axe finds, and what is cut.

use crate::driver::Browser;
use serde_json::json;

const AXE: &str = include_str!("vendor/axe.min.js");

/// Returns what axe finds on the page, without the rules of `excused` at the elements that they name by CSS. One that excuses
/// nothing is returned as well.
pub(crate) async fn violations_but(browser: &Browser, excused: &[(&str, &str)]) -> Vec<String> {
    let run = "const done = arguments[arguments.length - 1], used = new Set();
        const isExcused = (rule, node) => excused.some((one) => one[0] === rule
            && document.querySelector(node.target).matches(one[1]) && used.add(one));
        axe.run(document, { resultTypes: ['violations'] }).then((found) => {
            const bad = found.violations.flatMap(({ id, nodes }) => nodes.filter((node) => !isExcused(id, node))
                .map((node) => id + ': ' + node.html + ' ' + node.failureSummary));
            const vain = excused.filter((one) => !used.has(one)).map((one) => 'excused in vain: ' + one);
            done([...bad, ...vain]);
        }, (error) => done([String(error)]));";
    if browser.run("return !window.axe", &[]).await == true {
        browser.run(AXE, &[]).await;
    }
    let found = browser.run_until(&format!("const excused = {};\n{run}", json!(excused))).await;
    found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// Returns what axe finds on the page.
pub(crate) async fn violations(browser: &Browser) -> Vec<String> {
    violations_but(browser, &[]).await
}

/// Asserts that axe finds nothing on the page, and that nothing is cut.
pub(crate) async fn is_sound(browser: &Browser, place: &str) {
    assert_eq!(violations(browser).await, Vec::<String>::new(), "{place}");
    let cut = "const wide = document.scrollingElement.scrollWidth;
        const bar = document.querySelector('.tools')?.getBoundingClientRect().right ?? 0;
        const of = [...document.querySelectorAll('main *')].filter((one) => one.scrollWidth > one.clientWidth + 1
            && getComputedStyle(one).display !== 'inline' && one.clientWidth > 0 && !one.closest('svg, .unseen'));
        return [wide > innerWidth ? 'page ' + wide : '', bar > innerWidth ? 'bar ' + bar : '',
            ...of.map((one) => one.outerHTML.slice(0, 120))].filter(Boolean)";
    assert_eq!(browser.run(cut, &[]).await, json!([]), "{place}");
}

/// Asserts that the page is sound in the light and in the dark.
pub(crate) async fn is_sound_in_both_themes(browser: &Browser, place: &str) {
    for scheme in ["light", "dark"] {
        browser.prefers("prefers-color-scheme", scheme).await;
        is_sound(browser, &format!("{place}, {scheme}")).await;
    }
}
