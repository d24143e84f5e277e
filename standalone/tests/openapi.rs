//! The OpenAPI document: it is what the code says, it has every route and problem, and answers are as it says.

#[path = "openapi/answers.rs"]
mod answers;
mod common;
#[path = "openapi/examples.rs"]
mod examples;

use answers::Document;
use chassis::base::problem::kind;
use chassis::openapi::document;
use common::files::{below, text};
use common::services::services;
use common::{Shop, ShopClient, setting};
use gateway::services::names;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Paths of the gateway and of services that are no part of the API, each with why.
const NOT_API: [(&str, &str); 10] = [
    ("/", "links for people and programs that follow links"),
    ("/openapi.json", "the document itself"),
    ("/docs", "the browser for it"),
    ("/sign-in", "for people: it leads to the issuer"),
    ("/sign-in/done", "for people: the issuer leads here"),
    ("/sign-out", "for people: a form"),
    ("/actuator/health", "for probes"),
    ("/admin/rebuild", "for operators, at the management address"),
    ("/reservations", "between services"),
    ("/reservations/{reservation}", "between services"),
];
/// What is below these pages is for their forms and scripts.
const PARTS_OF_PAGES: [&str; 3] = ["/shop/", "/me/", "/md/"];
/// Problems that no operation of the API answers, each with why.
const NOT_ANSWERED: [(&str, &str); 4] = [
    ("cross-site", "for people with a browser, and for operators"),
    ("reservation-released", "between services"),
    ("reservation-differs", "between services"),
    ("rebuild-running", "for operators"),
];

/// Returns the document as the code says it.
fn built() -> Value {
    let services = services().map(|service| (service.openapi)());
    let all = services.into_iter().chain(gateway::openapi::openapi()).collect();
    document(all, gateway::proxy::PROBLEMS)
}

fn is_api(path: &str) -> bool {
    NOT_API.iter().all(|(other, _)| *other != path)
        && !PARTS_OF_PAGES.iter().any(|page| path.starts_with(page))
}

/// Returns the operations of a document: path, method, operation.
fn operations(document: &Value) -> Vec<(&str, Method, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| {
            (path.as_str(), method.to_uppercase().parse().unwrap(), operation)
        })
    });
    methods.collect()
}

#[test]
fn the_document_is_the_one_in_the_book() {
    let document = built();
    let text = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
    if setting("WRITE_DOCS").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
        std::fs::write(file, &text).unwrap();
        return; // the gateway has it after the next build
    }
    let same = gateway::docs::DOCUMENT == text;
    assert!(same, "docs/openapi.json differs from the code: write it with `just openapi`");
}

#[test]
fn operations_and_schemas_have_unique_names_that_are_used() {
    let document = built();
    let operations = operations(&document);
    let ids: BTreeSet<&str> = operations
        .iter()
        .map(|(_, _, operation)| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), operations.len(), "{ids:?}");
    assert_eq!(operations.len(), 28);
    let text = document.to_string();
    for kind in ["schemas", "responses", "parameters", "headers"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let reference = format!("\"#/components/{kind}/{name}\"");
            // That of another method belongs to no operation.
            assert!(
                text.contains(&reference) || name == "MethodNotAllowed",
                "{reference} is not used"
            );
        }
    }
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
}

#[test]
fn every_problem_is_described() {
    let document = built();
    let services = services().map(|service| service.problems);
    let all = services.into_iter().chain([gateway::proxy::PROBLEMS, kind::ALL]).flatten();
    let mut there: BTreeSet<&str> = all.map(|kind| kind.slug).collect();
    for (slug, _) in NOT_ANSWERED {
        assert!(there.remove(slug), "{slug} is no problem");
    }
    let examples = document["components"]["examples"].as_object().unwrap();
    assert_eq!(there, examples.keys().map(String::as_str).collect());
    let types = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"].clone();
    let types: Vec<String> = serde_json::from_value(types).unwrap();
    assert_eq!(types, there.iter().map(|slug| format!("/problems/{slug}")).collect::<Vec<_>>());
}

#[test]
fn every_path_and_body_of_the_services_is_described_and_no_other() {
    let document = built();
    let operations = operations(&document);
    let described: BTreeSet<&str> = operations.iter().map(|(path, ..)| *path).collect();
    let surfaces = services().map(|service| (service.surface)());
    let surfaces: Vec<_> = surfaces.into_iter().chain([gateway::services::surface()]).collect();
    let there: BTreeSet<&str> = surfaces
        .iter()
        .flat_map(|surface| &surface.paths)
        .copied()
        .filter(|path| is_api(path))
        .collect();
    assert_eq!(described, there);
    let with_body =
        operations.iter().filter(|(.., operation)| operation["requestBody"].is_object());
    let with_body: BTreeSet<(String, &str)> =
        with_body.map(|(path, method, _)| (method.to_string(), *path)).collect();
    let bodies = |surface: &chassis::http::Surface| -> BTreeSet<(String, &'static str)> {
        let bodies = surface.bodies.iter().filter(|(_, path)| is_api(path));
        bodies.map(|(method, path)| (method.to_string(), *path)).collect()
    };
    assert_eq!(with_body, bodies(surfaces.last().unwrap()), "those of the gateway");
    assert_eq!(with_body, surfaces[..surfaces.len() - 1].iter().flat_map(bodies).collect());
    // A surface is a list as well: the routes are in the sources.
    for service in names() {
        for file in below(&format!("{service}/src"), "rs") {
            let source = std::fs::read_to_string(&file).unwrap();
            for route in source.split(".route(\"").skip(1) {
                let path = route.split('"').next().unwrap();
                assert!(described.contains(path) || !is_api(path), "{path} is not described");
            }
        }
    }
}

#[tokio::test]
async fn every_path_has_the_methods_that_are_described() {
    let (shop, document) = (Shop::start().await, built());
    let operations = operations(&document);
    for path in operations.iter().map(|(path, ..)| *path).collect::<BTreeSet<_>>() {
        let url = format!("{}{}", shop.web.base, path.replace("{id}", "1"));
        let answer = shop.web.client.request(Method::OPTIONS, url).send().await.unwrap();
        let allow = answer.headers()[header::ALLOW].to_str().unwrap().to_uppercase();
        let allow: BTreeSet<&str> = allow.split(',').map(str::trim).collect();
        let methods = operations.iter().filter(|(other, ..)| *other == path);
        let mut described: BTreeSet<&str> = methods.map(|(_, method, _)| method.as_str()).collect();
        described.extend(["OPTIONS", "HEAD"]);
        assert_eq!(described, allow, "{path}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn answers_are_as_described() {
    let (shop, document) = (Shop::with_a_paid_cart().await, Document(built()));
    let register = |id: i64| json!({ "gifticonId": id, "name": "Latte", "availableQuantity": "5", "price": 100 });
    let reads: Vec<_> = operations(&document.0)
        .into_iter()
        .filter(|(_, method, _)| method == Method::GET)
        .map(|(path, ..)| path.to_owned())
        .collect();
    for path in reads.iter().filter(|path| !path.ends_with("/stream")) {
        let query = match path.rsplit_once("/findBy") {
            Some((_, "GifticonId")) => "?gifticonId=1",
            Some(_) => "?cartId=1",
            None => "",
        };
        document.ask(&shop.web, &Method::GET, path, 1, query, None, &[]).await.expect(200);
    }
    for (path, event) in [("/mypages/stream", "mypage"), ("/live/stream", "event")] {
        document.listen(&shop.web, path, event).await;
    }
    let cached = [(header::IF_NONE_MATCH, "*")];
    document.ask(&shop.web, &Method::GET, "/carts/{id}", 1, "", None, &cached).await.expect(304);
    let absent = document.ask(&shop.web, &Method::GET, "/carts/{id}", 99, "", None, &[]).await;
    absent.expect(404);
    let (post, patch) = (Method::POST, Method::PATCH);
    for (method, path, id, body, status) in [
        (&post, "/gifticons", 0, register(2), 201),
        (&post, "/gifticons", 0, register(2), 409),
        (&post, "/gifticons", 0, register(-1), 422),
        (&post, "/gifticons", 0, json!({ "gifticonId": 1.5 }), 400),
        (&post, "/carts", 0, json!({ "gifticonId": "2", "quantity": 2 }), 201),
        (&post, "/carts", 0, json!({ "gifticonId": 2, "quantity": 9 }), 409),
        (&post, "/carts", 0, json!({ "gifticonId": 77, "quantity": 1 }), 404),
        (&patch, "/gifticons/{id}", 1, json!({ "restock": "1" }), 200),
        (&patch, "/gifticons/{id}", 1, json!({ "availableQuantity": 1 }), 428),
    ] {
        document.ask(&shop.web, method, path, id, "", Some(body), &[]).await.expect(status);
    }
    let stale = [(header::IF_MATCH, "\"999\"")];
    let (delete, item) = (Method::DELETE, "/gifticons/{id}");
    document.ask(&shop.web, &delete, item, 1, "", None, &stale).await.expect(412);
    document.ask(&shop.web, &delete, item, 1, "", None, &[]).await.expect(409);
    document.ask(&shop.web, &delete, "/carts/{id}", 1, "", None, &[]).await.expect(204);
    shop.stop().await;
}

/// Returns an answer of the gateway, and its body.
async fn file(web: &ShopClient, path: &str) -> (reqwest::header::HeaderMap, String) {
    let answer = web.client.get(format!("{}{path}", web.base)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    (answer.headers().clone(), String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned())
}

#[tokio::test]
async fn the_gateway_serves_the_document_and_its_browser() {
    let shop = Shop::start().await;
    let (headers, served) = file(&shop.web, "/openapi.json").await;
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(served, text("docs/openapi.json"));
    let tag = headers[header::ETAG].clone();
    let again = shop.web.client.get(format!("{}/openapi.json", shop.web.base));
    let again = again.header(header::IF_NONE_MATCH, tag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);

    let (_, page) = file(&shop.web, "/docs/").await; // as without the slash
    let mut count = 0;
    for attribute in ["href=\"/docs/", "src=\"/docs/"] {
        for name in page.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let (headers, _) = file(&shop.web, &format!("/docs/{name}")).await;
            let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(
                policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"),
                "{policy}"
            );
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            count += 1;
        }
    }
    assert_eq!(count, 4);
    // Nothing of a third party, and nothing that the policy forbids.
    assert!(
        !page.contains("://") && !page.contains("<style") && !page.contains("<script>"),
        "{page}"
    );
    shop.stop().await;
}
