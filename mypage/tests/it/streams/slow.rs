//! A client that does not read its stream, and those beside it.

use super::TIMEOUT;
use crate::common::{Mypage, at, event};
use chassis::testing::{SentEvent, eventually};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// Asks for a stream and reads nothing of it. The kernel keeps little of it at this end.
async fn ask_and_wait(addr: &str, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(65_536).unwrap();
    let mut stream = socket.connect(addr.parse().unwrap()).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_reads_too_slowly_gets_a_reset_and_others_get_everything() {
    const EVENTS: i64 = 60;
    let mypage = Mypage::start().await;
    let carts: Vec<String> = (1..=EVENTS).map(|cart| format!("cartId={cart}")).collect();
    let views = format!("/mypages/stream?{}", carts.join("&"));
    let addr = mypage.running.url().trim_start_matches("http://").to_owned();
    let mut slow = Vec::new();
    for path in [views.as_str(), "/live/stream"] {
        slow.push((path, ask_and_wait(&addr, path).await));
    }
    let (mut fast, mut fast_live) =
        (mypage.stream(&views, "").await, mypage.stream("/live/stream", "").await);
    eventually("the slow streams", async || {
        (mypage.metric("event_streams_open").await == 4).then_some(())
    })
    .await;
    // The kernel keeps some megabytes of a stream, and its queue 32 frames, each of what came in 100 ms.
    let name = "가".repeat(150_000);
    let making = async {
        for cart in 1..=EVENTS {
            let mut added = event("CartAdded", cart, 1);
            added["name"] = json!(name);
            mypage.hear(cart, &added).await;
            let stock = json!({
                "eventType": "QuantityModified", "id": 1, "gifticonId": 7, "name": name, "availableQuantity": cart,
                "price": 5_000, "occurredAt": at(3),
            });
            mypage.hear(7, &stock).await;
            sleep(Duration::from_millis(120)).await;
        }
    };
    let reading = async {
        for cart in 1..=EVENTS {
            assert_eq!(mypage.next(&mut fast).await.data["cartId"], cart);
        }
    };
    let reading_live = async {
        let mut left = 0;
        while left < EVENTS {
            let SentEvent { event, data } = mypage.next(&mut fast_live).await;
            assert_eq!(event, "event");
            left = data["availableQuantity"].as_i64().unwrap_or(left);
        }
    };
    tokio::join!(making, reading, reading_live);
    assert_eq!(mypage.metric("event_streams_slow_total").await, 2);
    for (path, mut stream) in slow {
        let mut text = String::new();
        timeout(TIMEOUT, stream.read_to_string(&mut text)).await.expect("it ends").unwrap();
        let end = text.get(text.len() - 60..).unwrap_or(&text);
        assert!(end.ends_with("id:\nevent: reset\ndata: {}\n\n\r\n0\r\n\r\n"), "{path}: {end:?}");
        let told = text.matches(&name).count();
        assert!(told > 2 && told < usize::try_from(EVENTS).unwrap(), "{path}: {told} events");
    }
    // It connects again without an id, as a browser does after the empty one, and begins anew.
    let mut again = mypage.stream("/live/stream", "").await;
    assert_eq!(mypage.next(&mut again).await.event, "event");
}
