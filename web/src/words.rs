//! Every text of the pages, in English and Korean, in one table. `{n}` and other names in braces are filled in by [`fill`].

use chassis::base::i18n::Lang;

/// Declares [`Words`] and its two languages.
macro_rules! words {
    ($($name:ident: $en:literal, $ko:literal;)+) => {
        /// The texts in one language.
        #[derive(Debug)]
        pub(crate) struct Words {
            $(pub(crate) $name: &'static str,)+
        }

        const ENGLISH: Words = Words { $($name: $en,)+ };
        const KOREAN: Words = Words { $($name: $ko,)+ };

        #[cfg(test)]
        const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $en, $ko),)+];
    };
}

words! {
    // The frame.
    brand: "Gifticon", "기프티콘";
    skip: "Skip to content", "본문으로 건너뛰기";
    menu: "Pages", "메뉴";
    tab_shop: "Shop", "쇼핑";
    tab_me: "My page", "마이페이지";
    tab_md: "MD", "MD";
    tab_live: "Live", "라이브";
    other_language: "한국어", "English";
    theme_dark: "Dark theme", "어두운 화면으로";
    theme_light: "Light theme", "밝은 화면으로";
    theme_auto: "Theme of your system", "시스템 화면 설정대로";
    footer: "A shop for mobile gift vouchers, out of limited stock. Nothing here is charged for real.",
        "한정 수량 모바일 상품권 가게예요. 실제로 결제되지는 않아요.";
    api: "API for programs", "개발자용 API";

    // Signing in.
    sign_in: "Sign in", "로그인";
    sign_out: "Sign out", "로그아웃";
    sign_in_title: "Sign in to go on", "로그인이 필요해요";
    sign_in_text: "This page is for those who are signed in.", "로그인한 분만 볼 수 있는 화면이에요.";
    sign_in_to_buy: "Sign in to buy", "로그인하고 담기";
    sign_in_to_buy_named: "Sign in to buy {name}", "로그인하고 {name} 담기";
    forbidden_title: "This page is not for your account", "이 계정으로는 볼 수 없어요";
    forbidden_text: "Sign in with an account that may use it.", "권한이 있는 계정으로 로그인해 주세요.";
    no_sign_in_title: "Nobody can sign in here", "여기서는 로그인할 수 없어요";
    no_sign_in_text: "This shop takes tokens of its programs only. What is on sale can be seen.", "프로그램용 토큰만 받는 가게예요. 판매 중인 상품은 볼 수 있어요.";
    attempt_gone_title: "This sign-in is over", "로그인 시간이 지났어요";
    attempt_gone_text: "It took too long, or began in another browser. Begin again.", "시간이 너무 지났거나 다른 브라우저에서 시작한 로그인이에요. 다시 시작해 주세요.";
    sign_in_denied_title: "You are not signed in", "로그인하지 않았어요";
    sign_in_denied_text: "The sign-in was cancelled, or refused. You can try it again.", "로그인이 취소되었거나 거절되었어요. 다시 시도할 수 있어요.";
    sign_in_away_title: "You cannot sign in right now", "지금은 로그인할 수 없어요";
    sign_in_away_text: "The sign-in service does not answer. Try again in a moment.", "로그인 서비스가 응답하지 않아요. 잠시 후 다시 시도해 주세요.";
    sign_in_many_text: "There were too many attempts from your network. Try again in a minute.", "이 네트워크에서 시도가 너무 많았어요. 1분 뒤에 다시 시도해 주세요.";
    session_over_title: "Your sign-in has ended", "로그인이 만료됐어요";
    session_over_text: "Nothing was bought or changed. Sign in, and do it again.", "구매하거나 바꾼 것은 없어요. 다시 로그인한 뒤 한 번 더 해 주세요.";
    unchecked_title: "We cannot check your sign-in right now", "지금은 로그인을 확인할 수 없어요";
    unchecked_text: "Nothing was bought or changed. Try again in a moment.", "구매하거나 바꾼 것은 없어요. 잠시 후 다시 시도해 주세요.";
    signed_out_title: "You are signed out", "로그아웃했어요";
    signed_out_text: "Go on, so that the sign-in service forgets you as well.", "계속하면 로그인 서비스에서도 로그아웃돼요.";
    go_on: "Go on", "계속";

    // Trouble.
    trouble_title: "We cannot reach a part of the shop", "지금은 불러올 수 없어요";
    trouble_text: "This passes. Try again in a moment.", "잠시 뒤에 다시 시도해 주세요.";
    try_again: "Try again", "다시 시도";
    cross_site_title: "Nothing was done", "처리하지 않았어요";
    cross_site_text: "Another site sent this form. Open the page here, and send it again.",
        "다른 사이트에서 보낸 요청이에요. 이 페이지에서 다시 보내 주세요.";
    missing_title: "There is no such page", "없는 페이지예요";
    missing_text: "The address may be mistyped, or what was here is gone.",
        "주소가 잘못되었거나 사라진 페이지예요.";
    to_shop: "To the shop", "쇼핑하러 가기";
    live_on: "Live", "실시간";
    live_off: "Connecting again", "다시 연결하는 중";
    live_over: "Your sign-in has changed.", "로그인 상태가 바뀌었어요.";
    reload: "Reload", "새로고침";

    // The shop.
    shop_title: "Gift vouchers on sale", "지금 살 수 있는 기프티콘";
    shop_lead: "The stock is limited. What you add is yours at once, and is paid right away.",
        "수량이 정해져 있어요. 담는 순간 내 것이 되고, 바로 결제돼요.";
    shop_empty_title: "Nothing is on sale yet", "아직 판매 중인 상품이 없어요";
    shop_empty_text: "A merchandiser (MD) puts the first gift voucher on sale.",
        "MD 페이지에서 첫 기프티콘을 등록해 보세요.";
    shop_empty_link: "Put one on sale", "기프티콘 등록하기";
    left: "{n} left", "{n}개 남음";
    left_few: "Only {n} left", "{n}개만 남았어요";
    sold_out: "Sold out", "품절";
    sold_out_text: "Back if somebody cancels.", "취소되면 다시 살 수 있어요.";
    quantity: "Quantity of {name}", "{name} 수량";
    fewer: "One fewer", "한 개 빼기";
    more: "One more", "한 개 더하기";
    add: "Add", "담기";
    add_named: "Add {name} to cart", "{name} 담기";
    adding: "Adding", "담는 중";
    bought: "It is yours", "담았어요";
    bought_amount: "{quantity} for {amount}", "{quantity}개 · {amount}";
    bought_link: "See it on my page", "마이페이지에서 보기";
    bought_paying: "Payment under way", "결제하는 중";
    bought_paid: "Paid", "결제 완료";
    bought_over: "Declined or cancelled", "거절되거나 취소됐어요";
    bought_gone: "The payment of this cart was declined, or it is cancelled.", "결제가 거절되었거나 취소된 장바구니예요.";
    price_before: "Price before", "바뀌기 전 가격";
    price_now: "{name} costs {price} now.", "{name} 가격이 {price}으로 바뀌었어요.";
    previous: "Previous", "이전";
    next: "Next", "다음";
    page_of: "Page {n} of {of}", "{of}쪽 중 {n}쪽";
    pages: "Pages of the list", "목록 쪽 이동";
    beyond_text: "The list ends at page {of}.", "이 목록은 {of}쪽까지 있어요.";
    to_last_page: "To the last page", "마지막 쪽으로 가기";

    // What may go wrong when buying.
    error_summary: "It was not added", "담지 못했어요";
    error_sold_out: "{name} has just sold out.", "{name}, 방금 품절됐어요.";
    error_few: "Only {n} of {name} are left. Choose {n} or fewer.",
        "{name}, {n}개 남았어요. {n}개 이하로 골라 주세요.";
    error_busy: "Many people are shopping at once. Your choice is kept: try again in a moment.",
        "주문이 몰리고 있어요. 고른 내용은 그대로 있으니 잠시 뒤에 다시 시도해 주세요.";
    error_gone: "It is no longer on sale.", "판매가 끝난 상품이에요.";
    error_quantity: "Choose a quantity of 1 or more.", "수량은 1개 이상으로 골라 주세요.";
    error_price: "The price of {name} has changed from {old} to {new}. Look at it, and add it again if you like.",
        "{name} 가격이 {old}에서 {new}으로 바뀌었어요. 확인하고 다시 담아 주세요.";
    error_again: "Something was mixed up. Please add it again.", "요청이 섞였어요. 다시 담아 주세요.";

    // My page.
    me_title: "My page", "마이페이지";
    me_lead: "Every cart with its story. It changes by itself.", "담은 기프티콘과 진행 상황이에요. 바뀌면 바로 보여 드려요.";
    me_empty_title: "There is nothing here yet", "아직 담은 기프티콘이 없어요";
    me_empty_text: "Add a gift voucher in the shop: its story begins here.", "마음에 드는 기프티콘을 담으면 여기에서 볼 수 있어요.";
    cart_number: "Cart {n}", "장바구니 {n}번";
    units: "× {n}", "{n}개";
    unknown_name: "A gift voucher", "기프티콘";
    status_added: "Paying", "결제하는 중";
    status_approved: "Paid", "결제 완료";
    status_removed: "Cancelling", "취소하는 중";
    status_declined: "Payment declined", "결제 거절";
    status_cancelled: "Cancelled", "취소 완료";
    step_added: "Added to cart", "장바구니에 담음";
    step_approved: "Payment approved", "결제 승인";
    step_removed: "Cart removed", "장바구니에서 뺌";
    step_declined: "Payment declined", "결제 거절";
    step_cancelled: "Payment cancelled", "결제 취소";
    steps_of: "Story of cart {n}", "장바구니 {n}번 진행 상황";
    cancel: "Cancel", "취소하기";
    cancel_named: "Cancel cart {n}: {name}", "장바구니 {n}번 {name} 취소하기";
    cancel_ask: "You get {amount} back, and the voucher goes back on sale.",
        "{amount}을 돌려받고, 기프티콘은 다시 판매돼요.";
    cancel_ask_all: "You get your money back, and the voucher goes back on sale.",
        "결제한 금액을 모두 돌려받고, 기프티콘은 다시 판매돼요.";
    cancel_yes: "Yes, cancel it", "네, 취소할게요";
    cancelled: "Cancelled. The money and the stock go back.", "취소했어요. 결제 금액과 재고를 되돌리고 있어요.";
    cancel_gone: "This cart was cancelled already.", "이미 취소된 장바구니예요.";
    cancel_busy: "It is not cancelled yet: the shop is busy. Try again in a moment.",
        "아직 취소하지 못했어요. 잠시 뒤에 다시 시도해 주세요.";
    cancel_failed: "It was not cancelled", "취소하지 못했어요";
    changed_to: "Cart {n}: {status}", "장바구니 {n}번: {status}";

    // MD.
    md_title: "Merchandiser (MD)", "MD 판매 관리";
    md_lead: "Put gift vouchers on sale, restock them, and change prices.", "기프티콘을 등록하고, 재고와 가격을 바꿔요.";
    md_new: "Put on sale", "새 기프티콘 등록";
    md_list: "On sale", "판매 중";
    md_number: "Number", "상품 번호";
    md_name: "Name", "이름";
    md_stock: "Stock", "수량";
    md_price: "Price (₩)", "가격 (원)";
    md_register: "Put on sale", "등록하기";
    md_restock: "Restock by", "더할 수량";
    md_restock_hint: "A minus takes away", "빼려면 -를 붙여요";
    md_save: "Save", "저장";
    md_save_named: "Save {name}", "{name} 저장";
    md_sold: "Sold {n}", "판매 {n}";
    md_held: "In payment {n}", "결제 중 {n}";
    md_available: "Available {n}", "남음 {n}";
    md_split: "{sold} sold, {held} in payment, {available} available", "판매 {sold}개, 결제 중 {held}개, 남음 {available}개";
    md_basis: "Sold and in payment are counted in the newest {n} live carts.", "판매와 결제 중은 최근 장바구니 {n}건을 센 값이에요.";
    md_carts: "Live carts", "담긴 장바구니";
    md_in_payment: "In payment", "결제 중";
    md_on_sale: "Kinds on sale", "판매 중인 상품";
    md_parked: "Events set aside", "보류된 이벤트";
    md_registered: "It is on sale now.", "등록했어요. 지금부터 판매돼요.";
    md_changed: "Saved.", "저장했어요.";
    md_nothing: "Nothing was changed.", "바뀐 내용이 없어요.";
    md_failed: "It was not saved", "저장하지 못했어요";
    md_conflict: "Somebody else changed {name} while you looked. It costs {price} now. Check what you typed, and save it again.",
        "그사이 다른 사람이 {name} 상품을 바꿨어요. 지금 가격은 {price}이에요. 입력한 값을 확인하고 다시 저장해 주세요.";
    md_exists: "Number {n} is in use. Choose another.", "{n}번은 이미 있어요. 다른 번호를 써 주세요.";
    md_number_error: "Type a whole number of 1 or more.", "1 이상의 숫자를 입력해 주세요.";
    md_name_error: "Type a name of 1 to 80 characters.", "이름을 1~80자로 입력해 주세요.";
    md_stock_error: "Type a whole number of 0 or more.", "0 이상의 숫자를 입력해 주세요.";
    md_price_error: "Type a price from ₩0 to ₩1,000,000,000.", "0원부터 1,000,000,000원 사이로 입력해 주세요.";
    md_restock_error: "Type a whole number, such as 50 or -10.", "50이나 -10 같은 숫자를 입력해 주세요.";
    md_below: "That would make the stock negative.", "재고가 0보다 작아져요.";
    md_busy: "The shop is busy. What you typed is kept: try again in a moment.", "지금은 저장할 수 없어요. 입력한 내용은 그대로 있으니 잠시 뒤에 다시 시도해 주세요.";
    md_unsure: "No answer came: it may be saved, or not. What you typed is kept, and trying again does not save it twice.",
        "응답이 없어 저장됐는지 알 수 없어요. 입력한 내용은 그대로 있고, 다시 시도해도 두 번 저장되지 않아요.";
    md_look: "It may be saved already. {name} costs {price} now, and {n} are left. Save again only if your change is missing.",
        "이미 저장됐을 수 있어요. {name}, 지금 가격은 {price}이고 {n}개 남았어요. 바뀌지 않았을 때만 다시 저장해 주세요.";
    md_unread: "Not everything on sale can be read right now. Open this page again in a moment.",
        "지금은 판매 중인 상품을 모두 불러오지 못했어요. 잠시 뒤에 다시 열어 주세요.";
    md_empty: "Put the first gift voucher on sale with the form above.", "위 양식으로 첫 기프티콘을 등록해 보세요.";

    // The picture.
    live_title: "Live", "라이브";
    live_lead: "What happens in the shop, as it happens. Buy something in another window, and follow it here.",
        "가게에서 일어나는 일을 그대로 보여 드려요. 다른 창에서 하나 담고, 여기에서 따라가 보세요.";
    live_picture: "The services of the shop, and what they tell each other", "서비스끼리 주고받는 소식";
    live_events: "What just happened", "방금 일어난 일";
    live_events_empty: "Nothing yet. Buy or cancel something.", "아직 없어요. 하나 담거나 취소해 보세요.";
    live_events_no_script: "What happens is told here with JavaScript only.", "일어나는 일은 자바스크립트를 켜야 여기에 나타나요.";
    live_slow: "Slow motion", "천천히 보기";
    live_numbers: "Numbers", "숫자로 보기";
    live_carts: "Carts a second", "초당 장바구니";
    live_lag: "Events to be read", "밀린 소식";
    live_outbox: "Oldest unsent event", "소식 전송 대기 시간";
    live_breaker: "Stock reservations (circuit breaker)", "재고 예약 (서킷 브레이커)";
    live_stock: "Vouchers left", "남은 기프티콘";
    live_stock_part: "Vouchers left (not of all kinds)", "남은 기프티콘 (일부 상품)";
    live_seconds: "{n} s", "{n}초";
    live_voucher: "voucher {n}", "{n}번 기프티콘";
    breaker_closed: "working (closed)", "정상 (닫힘)";
    breaker_open: "stopped for now (open)", "잠시 중단 (열림)";
    breaker_half_open: "trying again (half open)", "다시 확인하는 중 (반열림)";
    unknown: "unknown", "알 수 없음";
    live_waits: "{n} to send", "보낼 것 {n}";
    live_unread: "{n} to read", "읽을 것 {n}";
    live_down: "no answer", "응답 없음";
    live_reserve: "reserve", "재고 예약";
    live_call: "Call, answered at once", "바로 답을 듣는 요청";
    live_event: "Event, posted for all to read", "게시판에 올려 알리는 소식 (이벤트)";
    live_no_script: "This is how things stand now. With JavaScript, events walk along the lines; without, reload the page.",
        "지금 상태예요. 자바스크립트를 켜면 소식이 오가는 모습을 볼 수 있고, 끄면 새로 고쳐서 볼 수 있어요.";
    node_browser: "you", "고객";
    node_gateway: "gateway", "게이트웨이";
    node_gifticon: "gifticon", "기프티콘";
    node_cart: "cart", "장바구니";
    node_payment: "payment", "결제";
    node_mypage: "mypage", "마이페이지";
    node_topic: "event board (topic)", "소식 게시판 (토픽)";
    role_gateway: "the way in", "입구";
    role_gifticon: "stock", "재고";
    role_cart: "purchases", "주문 진행";
    role_payment: "approval", "승인";
    role_mypage: "history", "주문 내역";
    happened_cart_added: "Cart {cart}: {quantity} × {gifticon} added", "장바구니 {cart}번: {gifticon} {quantity}개를 담았어요";
    happened_sold_out: "Refused, not enough are left: {quantity}", "재고가 모자라 담지 못한 주문: {quantity}건";
    happened_payment_approved: "Cart {cart}: payment approved", "장바구니 {cart}번: 결제가 승인됐어요";
    happened_payment_declined: "Cart {cart}: payment declined", "장바구니 {cart}번: 결제가 거절됐어요";
    happened_cart_removed: "Cart {cart}: removed, its stock goes back", "장바구니 {cart}번: 취소해서 재고를 되돌려요";
    happened_payment_cancelled: "Cart {cart}: the money went back", "장바구니 {cart}번: 결제를 취소했어요";
    happened_gifticon_registered: "On sale now: {gifticon}", "{gifticon}, 판매를 시작했어요";
    happened_quantity_modified: "{gifticon}: {quantity} left", "{gifticon}: {quantity}개 남았어요";
    happened_gifticon_deleted: "No longer on sale: {gifticon}", "{gifticon}, 판매를 마쳤어요";
}

impl Words {
    /// Returns the texts in a language.
    pub(crate) fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::English => &ENGLISH,
            Lang::Korean => &KOREAN,
        }
    }
}

/// Returns `text` with values in the places of their names.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        filled.push_str(before);
        let value = values.iter().find(|(other, _)| *other == name);
        filled.push_str(value.map_or("", |(_, value)| value));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn places(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0)).collect()
    }

    #[test]
    fn both_languages_have_the_same_places() {
        for (name, en, ko) in ALL {
            assert_eq!(places(en), places(ko), "{name}");
            assert!(!en.is_empty() && !ko.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_value_is_not_filled_in_again() {
        assert_eq!(fill("{a} and {b}", &[("a", "{b}"), ("b", "x")]), "{b} and x");
        assert_eq!(fill("no place", &[]), "no place");
    }
}
