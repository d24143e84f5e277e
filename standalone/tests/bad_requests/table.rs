//! The table of bad requests, route by route.

use super::request::Bad;

const RESERVATION: &str = "/reservations/018f0000-0000-7000-8000-000000000000";

/// Returns `fields` as a JSON object, in which the field `field` has the text `value`, or is missing.
fn with(fields: &[(&str, &str)], field: &str, value: Option<&[u8]>) -> Vec<u8> {
    let mut json = b"{".to_vec();
    for (name, usual) in fields {
        let value = if *name == field { value } else { Some(usual.as_bytes()) };
        let Some(value) = value else { continue };
        let comma = if json.len() > 1 { "," } else { "" };
        json.extend(format!("{comma}\"{name}\":").bytes());
        json.extend(value);
    }
    json.push(b'}');
    json
}

/// Returns requests with bodies that every route refuses.
fn bodies(method: &str, path: &str, good: &[(&str, &str)]) -> Vec<Bad> {
    let good_body = with(good, "", None);
    let values: Vec<&str> = good.iter().map(|(_, value)| *value).collect();
    let unread =
        r#"| |not json|null|true|1|"text"|[]|[{}]|{|{}x|{]|{'a':1}|gifticonId=1&quantity=1"#;
    let mut bad: Vec<Bad> =
        unread.split('|').map(|body| Bad::json(method, path, body, 400)).collect();
    bad.push(Bad::new(method, path, 400)); // empty, so of no type
    bad.push(Bad::json(method, path, "\u{feff}{}", 400));
    bad.push(Bad::json(method, path, format!("[{}]", values.join(",")), 400));
    bad.push(Bad::json(method, path, "[".repeat(20_000), 400));
    bad.push(Bad::json(method, path, [&good_body[..], b"x"].concat(), 400));
    bad.push(Bad::json(method, path, vec![0xff, 0xfe, b'{', 0, b'}', 0], 400));
    bad.push(Bad::json(method, path, "x".repeat(65 * 1024), 413));
    bad.push(Bad::json(method, path, [&good_body[..], &vec![b' '; 65 * 1024]].concat(), 413));
    for (name, value) in good {
        let twice = format!("{{\"{name}\":{value},{}", String::from_utf8_lossy(&good_body[1..]));
        bad.push(Bad::json(method, path, twice, 400));
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        bad.push(Bad::json(method, path, with(good, name, Some(deep.as_bytes())), 400));
    }
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", ""]
    {
        let content_type = Some(content_type);
        bad.push(Bad { content_type, ..Bad::json(method, path, good_body.clone(), 415) });
    }
    bad.push(Bad { content_type: None, ..Bad::json(method, path, good_body, 415) });
    bad
}

/// Returns requests whose field is no whole number from `least` to `most`.
fn numbers(
    method: &str,
    path: &str,
    good: &[(&str, &str)],
    field: &str,
    least: i64,
    most: i64,
) -> Vec<Bad> {
    let unread = r#"1.5|"1.5"|"1e3"|""|" 1"|"+1"|"1 "|"0x10"|"１"|"one"|true|[]|[1]|{}|NaN|Infinity|01|"1\u0000"|0.1|1.0000000000000000001|1e-1|"1.0"|1.|.1|1e"#;
    let below = i128::from(least) - 1;
    let above = i128::from(most) + 1;
    let outside = format!(
        "{below}|\"{below}\"|{above}|\"{above}\"|{}|9223372036854775808|99999999999999999999|\
         \"99999999999999999999\"|-99999999999999999999|1e30|1e999|-1e400|99999999999999999999.0|{}",
        i64::MIN,
        "9".repeat(300),
    );
    let bad = |value: &str, status| {
        Bad::json(method, path, with(good, field, Some(value.as_bytes())), status)
    };
    let unread = unread.split('|').map(|value| bad(value, 400));
    unread.chain(outside.split('|').map(|value| bad(value, 422))).collect()
}

/// Returns requests whose name is invalid.
fn names(method: &str, path: &str, good: &[(&str, &str)]) -> Vec<Bad> {
    let bad =
        |value: &[u8], status| Bad::json(method, path, with(good, "name", Some(value)), status);
    let long = |letter: &str| format!("\"{}\"", letter.repeat(81));
    let mut all: Vec<Bad> =
        [r#""""#, r#""   ""#, r#""\u3000""#, &long("x"), &long("커"), &long("\u{1112}\u{1161}")]
            .iter()
            .map(|value| bad(value.as_bytes(), 422))
            .collect();
    let invisible =
        r"\u200b|\u3164|\u2800|\u202e|\ufeff|\u00ad|\u200d\ufe0f|\u115f\u1160|\udb40\udc41";
    let reordered = r"x\u202ey|x\u2066y|x\u2028y";
    let control = r"a\u0000b|a\nb|\t|\u001b[31m|a\u0085";
    let none = r"\ufffe|\uffff|\ufdd0|\ud834\udd59|\ud81b\udfe4|\u0378";
    let others = reordered.split('|').chain(control.split('|')).chain(none.split('|'));
    for name in invisible.split('|').chain(others) {
        all.push(bad(format!("\"{name}\"").as_bytes(), 422));
    }
    for value in ["1", "true", "[]", "{}", "null", r#""\ud800""#, "\"a\nb\""] {
        all.push(bad(value.as_bytes(), 400));
    }
    all.push(bad(b"\"\xff\xfe\"", 400));
    all.push(bad(b"\"\xed\xa0\x80\"", 400)); // a surrogate
    all
}

/// Returns reads that every collection refuses.
fn reads(collection: &str, search: Option<&str>) -> Vec<Bad> {
    let mut bad = Vec::new();
    let ids = "abc -1 0 1.5 +1 99999999999999999999 %00 %ff %20 1%20 1%00 ٣ 999 1/x 1// /1 \
         ..%2f1 1;drop 9223372036854775807 9223372036854775808"
        .split(' ');
    for id in ids {
        bad.push(Bad::new("GET", &format!("/{collection}/{id}"), 404));
        bad.push(Bad::new("HEAD", &format!("/{collection}/{id}"), 404));
    }
    for query in "page=-1 page=x page=1.5 page= page=1e3 page=99999999999999999999 page=%00 \
         page=%ff size=0 size=-1 size=1001 size=x size= size=2147483648 sort=nope \
         sort=_links sort=desc sort=,asc sort=id;drop%20table sort=id,sideways sort=%00 sort=%ff \
         sort=id&sort=nope after=x after=-1 after= after=1.5 after=99999999999999999999 \
         before=x before=-1 before= before=1.5 before=99999999999999999999 after=1&before=1 x=%ff \
         %ff=1 page=0&x=%ed%a0%80"
        .split(' ')
    {
        bad.push(Bad::new("GET", &format!("/{collection}?{query}"), 400));
    }
    for sort in [vec!["id"; 2_000].join(","), vec!["id"; 2_000].join("&sort=")] {
        bad.push(Bad::new("GET", &format!("/{collection}?sort={sort}"), 400));
    }
    let shared = if collection == "gifticons" { "price" } else { "status" }; // by several items
    for key in ["after", "before"] {
        bad.push(Bad::new("GET", &format!("/{collection}?{key}=1&sort={shared}"), 400));
    }
    for tag in [&b"\"999\""[..], b"W/\"1\"", b"1", b"", b"\"999\", \"998\""] {
        let item = format!("/{collection}/1");
        bad.push(Bad::new("GET", &item, 412).header("if-match", tag));
        bad.push(Bad::new("HEAD", &item, 412).header("if-match", tag));
        bad.push(Bad::new("GET", &format!("/{collection}/999"), 404).header("if-match", tag));
    }
    bad.push(Bad::new("GET", &format!("/{collection}/search/findByNothing?x=1"), 404));
    let Some((path, parameter)) = search.and_then(|search| search.split_once('?')) else {
        return bad;
    };
    let path = format!("/{collection}/search/{path}");
    bad.push(Bad::new("GET", &path, 400));
    bad.push(Bad::new("GET", &format!("{path}?other=1"), 400));
    bad.push(Bad::new("GET", &format!("{path}?{parameter}=999"), 404));
    bad.push(Bad::new("GET", &format!("{path}?{parameter}=-1"), 404));
    for value in ["", "abc", "1.5", "1e3", "99999999999999999999", "%00", "%ff", "+1", "1%20"] {
        bad.push(Bad::new("GET", &format!("{path}?{parameter}={value}"), 400));
    }
    bad
}

/// Returns requests with methods that the path does not have.
fn methods(path: &str, methods: &[&str]) -> Vec<Bad> {
    let bad = |method: &&str| Bad::json(method, path, r#"{"quantity":1}"#, 405);
    methods.iter().map(bad).collect()
}

const GIFTICON: &[(&str, &str)] =
    &[("gifticonId", "7"), ("name", "\"Latte\""), ("availableQuantity", "5"), ("price", "100")];
const CART: &[(&str, &str)] = &[("gifticonId", "1"), ("quantity", "1")];
const UNITS_MAX: i64 = 2_147_483_647;
const NUMBER_MAX: i64 = 9_007_199_254_740_991;

pub(crate) fn gifticons() -> Vec<Bad> {
    let mut bad = reads("gifticons", Some("findByGifticonId?gifticonId"));
    let post = |body: Vec<u8>, status| Bad::json("POST", "/gifticons", body, status);
    bad.extend(bodies("POST", "/gifticons", GIFTICON));
    bad.extend(names("POST", "/gifticons", GIFTICON));
    for (field, least, most) in [
        ("gifticonId", 1, NUMBER_MAX),
        ("availableQuantity", 0, UNITS_MAX),
        ("price", 0, 1_000_000_000),
    ] {
        bad.extend(numbers("POST", "/gifticons", GIFTICON, field, least, most));
    }
    for (field, _) in GIFTICON {
        bad.push(post(with(GIFTICON, field, None), 400));
        bad.push(post(with(GIFTICON, field, Some(b"null")), 400));
    }
    bad.push(post(with(GIFTICON, "gifticonId", Some(b"1")), 409));
    bad.push(post(with(GIFTICON, "gifticonId", Some(b"\"1\"")), 409));

    let patch = |body: &str, status| Bad::json("PATCH", "/gifticons/1", body, status);
    bad.extend(bodies(
        "PATCH",
        "/gifticons/1",
        &[("name", "\"x\""), ("price", "1"), ("restock", "1")],
    ));
    bad.extend(names("PATCH", "/gifticons/1", &[("name", "")]));
    bad.extend(numbers("PATCH", "/gifticons/1", &[("price", "")], "price", 0, 1_000_000_000));
    let units = [("restock", -UNITS_MAX), ("availableQuantity", 0)];
    for (field, least) in units {
        bad.extend(numbers("PATCH", "/gifticons/1", &[(field, "")], field, least, UNITS_MAX));
    }
    bad.push(patch(r#"{"restock":-1000}"#, 422));
    bad.push(patch(r#"{"restock":2147483647}"#, 422));
    bad.push(patch(r#"{"availableQuantity":10}"#, 428));
    for etag in [
        &b"\"999\""[..],
        b"\"abc\"",
        b"W/\"1\"",
        b"1",
        b"\"",
        b"",
        b"\"\xff\"",
        b"\"-1\"",
        b"\"999\", \"998\"",
        b"*, \"999\"",
    ] {
        bad.push(patch(r#"{"availableQuantity":10}"#, 412).header("if-match", etag));
        bad.push(patch(r#"{"name":"Other"}"#, 412).header("if-match", etag));
        bad.push(Bad::new("DELETE", "/gifticons/1", 412).header("if-match", etag));
        bad.push(Bad::new("DELETE", "/gifticons/999", 404).header("if-match", etag));
    }
    bad.push(patch(r#"{"name":"Other"}"#, 412).header("if-none-match", "*"));
    bad.push(Bad::new("DELETE", "/gifticons/1", 412).header("if-none-match", "*"));
    for field in ["price", "restock", "availableQuantity"] {
        bad.push(patch(&format!("{{\"{field}\":null}}"), 400));
    }
    for method in ["PUT", "POST", "BREW", "PATCH", "DELETE"] {
        bad.push(Bad::json(method, "/gifticons/abc", "x".repeat(65 * 1024), 404));
    }
    for id in "abc -1 0 1.5 999 99999999999999999999 %00 %ff".split(' ') {
        bad.push(Bad::json("PATCH", &format!("/gifticons/{id}"), r#"{"restock":1}"#, 404));
        bad.push(Bad::new("DELETE", &format!("/gifticons/{id}"), 404));
    }
    bad.push(Bad::new("DELETE", "/gifticons/1", 409)); // a live cart holds it
    bad.push(Bad::json("PUT", "/gifticons/1", "x".repeat(65 * 1024), 405));
    bad.extend(methods("/gifticons", &["PUT", "PATCH", "DELETE", "TRACE", "BREW"]));
    bad.extend(methods("/gifticons/1", &["PUT", "POST", "TRACE", "BREW"]));
    bad.extend(methods("/gifticons/search", &["PUT", "POST", "PATCH", "DELETE"]));
    bad.extend(methods("/gifticons/search/findByGifticonId", &["PUT", "POST", "PATCH", "DELETE"]));
    bad
}

pub(crate) fn carts() -> Vec<Bad> {
    let mut bad = reads("carts", None);
    let post = |body: Vec<u8>, status| Bad::json("POST", "/carts", body, status);
    bad.extend(bodies("POST", "/carts", CART));
    bad.extend(numbers("POST", "/carts", CART, "gifticonId", 1, NUMBER_MAX));
    bad.extend(numbers("POST", "/carts", CART, "quantity", 1, UNITS_MAX));
    for (field, _) in CART {
        bad.push(post(with(CART, field, None), 400));
        bad.push(post(with(CART, field, Some(b"null")), 400));
    }
    bad.push(post(b"{\"gifticonId\":1,\"quantity\":1,\"other\":\"\xff\"}".into(), 400));
    bad.push(post(with(CART, "gifticonId", Some(b"999")), 404));
    bad.push(post(with(CART, "gifticonId", Some(b"\"9007199254740991\"")), 404));
    bad.push(post(with(CART, "quantity", Some(b"10")), 409));
    bad.push(post(with(CART, "quantity", Some(b"\"2147483647\"")), 409));
    let good = || post(with(CART, "", None), 400);
    for key in [&b""[..], b" ", &[b'k'; 256], &[b'k'; 5000], b"\xec\xbb\xa4", b"a\tb", b"\xff"] {
        bad.push(good().header("idempotency-key", key));
    }
    bad.push(good().header("idempotency-key", "one").header("idempotency-key", "two"));
    bad.push(good().header("idempotency-key", "one").header("idempotency-key", "one"));
    for id in "abc -1 0 1.5 999 99999999999999999999 %00 %ff".split(' ') {
        bad.push(Bad::new("DELETE", &format!("/carts/{id}"), 404));
    }
    for tag in [&b"\"999\""[..], b"W/\"2\"", b"2", b"", b"\"1\""] {
        bad.push(Bad::new("DELETE", "/carts/1", 412).header("if-match", tag));
        bad.push(Bad::new("DELETE", "/carts/999", 404).header("if-match", tag));
    }
    bad.push(Bad::new("DELETE", "/carts/1", 412).header("if-none-match", "*"));
    bad.push(Bad::new("DELETE", "/carts/1", 412).header("if-none-match", "W/\"2\""));
    bad.extend(methods("/carts", &["PUT", "PATCH", "DELETE", "TRACE", "BREW"]));
    bad.extend(methods("/carts/1", &["PUT", "PATCH", "POST", "TRACE", "BREW"]));
    bad.extend(methods("/carts/search", &["PUT", "POST", "PATCH", "DELETE"]));
    bad
}

/// Returns requests to collections that are read-only.
pub(crate) fn views(collection: &str) -> Vec<Bad> {
    let mut bad = reads(collection, Some("findByCartId?cartId"));
    for path in
        ["", "/1", "/999", "/search", "/search/findByCartId", "/search/findByCartId?cartId=1"]
    {
        let path = format!("/{collection}{path}");
        bad.extend(methods(&path, &["POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"]));
        bad.push(Bad::json("POST", &path, "x".repeat(65 * 1024), 405));
    }
    bad
}

pub(crate) fn histories() -> Vec<Bad> {
    let mut bad = methods("/mypages/1/history", &["POST", "PUT", "PATCH", "DELETE"]);
    let ids = ["abc", "-1", "0", "999", "%00", "%ff", "99999999999999999999"];
    bad.extend(ids.map(|id| Bad::new("GET", &format!("/mypages/{id}/history"), 404)));
    bad
}

/// Returns requests to the reservations of gifticon, which only cart makes.
pub(crate) fn reservations() -> Vec<Bad> {
    let mut bad = bodies("PUT", RESERVATION, CART);
    bad.extend(numbers("PUT", RESERVATION, CART, "gifticonId", 1, NUMBER_MAX));
    bad.extend(numbers("PUT", RESERVATION, CART, "quantity", 1, UNITS_MAX));
    for (field, _) in CART {
        bad.push(Bad::json("PUT", RESERVATION, with(CART, field, None), 400));
    }
    bad.push(Bad::json("PUT", RESERVATION, with(CART, "gifticonId", Some(b"999")), 404));
    bad.push(Bad::json("PUT", RESERVATION, with(CART, "quantity", Some(b"10")), 409));
    for id in "x 1 %00 %ff 018f0000-0000-7000-8000-00000000000".split(' ') {
        bad.push(Bad::json("PUT", &format!("/reservations/{id}"), with(CART, "", None), 404));
        bad.push(Bad::new("DELETE", &format!("/reservations/{id}"), 404));
    }
    bad.extend(methods(RESERVATION, &["GET", "POST", "PATCH", "TRACE"]));
    bad.extend(methods("/reservations", &["GET", "PUT", "PATCH", "DELETE"]));
    bad.push(Bad::new("GET", "/checkAndModifyQuantity?gifticonId=1&quantity=1", 404));
    bad
}

/// Returns requests that every process refuses.
pub(crate) fn everywhere() -> Vec<Bad> {
    let mut bad = methods("/", &["POST", "PUT", "PATCH", "DELETE"]);
    bad.extend(methods("/actuator/health", &["POST", "PUT", "DELETE"]));
    let absent = ["/nothing", "/%00", "/%ff", "/admin", "/actuator/env", "//", "/favicon.ico"];
    bad.extend(absent.map(|path| Bad::new("GET", path, 404)));
    // These paths are at the management address.
    let managed = ["/metrics", "/admin/parked", "/admin/rebuild", "/cart/metrics"];
    bad.extend(managed.map(|path| Bad::new("GET", path, 404)));
    bad.push(Bad::new("POST", "/admin/parked/replay", 404));
    bad.push(Bad::new("HEAD", "/nothing", 404));
    bad.push(Bad::json("POST", "/nothing", "x".repeat(65 * 1024), 404));
    bad
}

/// Returns requests to the management routes of each service.
pub(crate) fn management() -> Vec<Bad> {
    let mut bad = methods("/admin/parked", &["POST", "PUT", "DELETE"]);
    bad.push(Bad::new("HEAD", "/nothing", 404));
    bad.push(Bad::new("HEAD", "/admin/parked/replay", 405));
    bad.push(Bad::new("HEAD", "/admin/parked/abc", 404));
    bad.extend(methods("/metrics", &["POST", "PUT", "DELETE"]));
    bad.push(Bad::new("POST", "/admin/parked/abc/replay", 404));
    bad.push(Bad::new("DELETE", "/admin/parked/1", 400));
    bad.push(Bad::new("DELETE", "/admin/parked/1?reason=", 400));
    bad.push(Bad::new("DELETE", "/admin/parked/1?reason=x", 404));
    bad.push(Bad::new("DELETE", "/admin/parked/%ff?reason=x", 404));
    bad
}
