//! Open pages while the shop is killed and started again.

use crate::common::process::Process;
use crate::driver::Browser;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs TEST_CHROMEDRIVER"]
async fn open_pages_go_on_after_the_shop_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Process::start(dir.path(), &[]);
    shop.web.register(1, 10, 5_000).await;
    shop.web.add(1, 1, None).await.unwrap();
    let browser = Browser::start(&shop.web.base, "ko").await;
    browser.open("/shop").await;
    browser.is_live().await;
    browser.mark().await;
    let first = browser.new_tab().await;
    browser.open("/me").await;
    browser.says("#c-1 .chip", "결제 완료").await;
    browser.is_live().await;
    browser.mark().await;

    let addr = shop.web.base.trim_start_matches("http://").to_owned();
    shop.kill();
    browser.says("#state", "다시 연결하는 중").await;
    let shop = Process::start_at(dir.path(), &addr);
    browser.is_live().await;
    shop.web.add(1, 2, None).await.unwrap();
    browser.says("#c-2 .chip", "결제 완료").await;
    browser.was_not_reloaded().await;

    // A form that was opened before.
    let second = browser.to_other_tab(&first).await;
    browser.says("#g-1 .stock", "7개만 남았어요").await;
    browser.was_not_reloaded().await;
    browser.click("#g-1 .buy button.primary").await;
    browser.says("#g-1 .notice", "결제 완료").await;
    browser.to_tab(&second).await;
    browser.says("#c-3 .chip", "결제 완료").await;
    browser.was_not_reloaded().await;
    browser.has_no_complaints().await;
    drop(browser);
    shop.kill();
}
