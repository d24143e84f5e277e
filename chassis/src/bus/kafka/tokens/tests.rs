use super::*;
use crate::testing::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

fn granted(answer: &str) -> anyhow::Result<Duration> {
    token(serde_json::from_str(answer).unwrap(), Instant::now()).map(|token| token.lifetime)
}

#[test]
fn the_lifetime_is_that_of_the_response_or_of_the_token() {
    let seconds = |seconds| Duration::from_secs(seconds);
    assert_eq!(granted(r#"{"access_token":"a","expires_in":300}"#).unwrap(), seconds(300));
    assert_eq!(granted(r#"{"access_token":"a","expires_in":"60"}"#).unwrap(), seconds(60));
    // {"iat":1000,"exp":1600,"sub":"a?~"}
    let jwt = "e30.eyJpYXQiOjEwMDAsImV4cCI6MTYwMCwic3ViIjoiYT9-In0.x";
    assert_eq!(granted(&format!(r#"{{"access_token":"{jwt}"}}"#)).unwrap(), seconds(600));
    let both = format!(r#"{{"access_token":"{jwt}","expires_in":7}}"#);
    assert_eq!(granted(&both).unwrap(), seconds(7));
    for invalid in [
        r#"{"access_token":"opaque"}"#,
        r#"{"access_token":"e30.e30.x"}"#,
        r#"{"access_token":"e30.eyJleHAiOjE2MDB9.x"}"#, // {"exp":1600}
        r#"{"access_token":"e30.eyJpYXQiOjE2MDAsImV4cCI6MTAwMH0.x"}"#, // {"iat":1600,"exp":1000}
        r#"{"access_token":"a","expires_in":0}"#,
        r#"{"access_token":"a","expires_in":-1}"#,
        r#"{"access_token":"a","expires_in":1e300}"#,
        r#"{"access_token":"","expires_in":300}"#,
        r#"{"access_token":"a\u0000","expires_in":300}"#,
    ] {
        assert!(granted(invalid).is_err(), "{invalid}");
    }
}

/// Responds to one request, and returns the request.
async fn respond(listener: &TcpListener, status: &str, body: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut request, mut part) = (String::new(), [0; 1024]);
    while !request.contains("grant_type=") {
        let read = stream.read(&mut part).await.unwrap();
        assert!(read > 0, "{request}");
        request.push_str(std::str::from_utf8(&part[..read]).unwrap());
    }
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
    request
}

#[tokio::test]
async fn a_refused_token_request_is_repeated_and_clients_get_the_token() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token?tenant=1", listener.local_addr().unwrap());
    let tokens = Tokens::of(TokenRequest {
        endpoint: url.parse().unwrap(),
        client_id: "shop".into(),
        secret: "s3cret".parse().unwrap(),
        scope: Some("kafka read".into()),
    })
    .unwrap();
    let provider = async {
        respond(&listener, "401 Unauthorized", r#"{"error":"invalid_client"}"#).await;
        respond(&listener, "200 OK", r#"{"access_token":"abc","expires_in":300}"#).await
    };
    assert!(tokens.latest().is_err(), "there is no token yet");
    let ((), request) = tokio::join!(tokens.ready(), provider);
    assert!(request.starts_with("POST /token?tenant=1 "), "{request}");
    assert!(request.contains("Basic c2hvcDpzM2NyZXQ="), "{request}"); // shop:s3cret
    assert!(request.ends_with("grant_type=client_credentials&scope=kafka+read"), "{request}");
    let token = tokens.latest().unwrap();
    assert_eq!((token.token.as_str(), token.principal_name.as_str()), ("abc", "shop"));
    let remaining = tokens.0.unwrap().latest.borrow().as_ref().and_then(Token::remaining).unwrap();
    assert!((290..=300).contains(&remaining.as_secs()), "{remaining:?}");
}

#[tokio::test]
async fn the_next_token_is_fetched_before_one_expires() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = TokenRequest {
        endpoint: format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap(),
        client_id: "shop".into(),
        secret: "s3cret".parse().unwrap(),
        scope: None,
    };
    let tokens = Tokens::of(request).unwrap();
    let first = r#"{"access_token":"first","expires_in":2}"#;
    let began = Instant::now();
    let ((), _) = tokio::join!(tokens.ready(), respond(&listener, "200 OK", first));
    let second = r#"{"access_token":"second","expires_in":2}"#;
    respond(&listener, "200 OK", second).await;
    assert!(began.elapsed() >= Duration::from_millis(1_400), "{:?}", began.elapsed());
    let renewed = async || tokens.latest().is_ok_and(|token| token.token == "second").then_some(());
    eventually("the next token", renewed).await;
    drop(tokens);
    assert!(
        timeout(Duration::from_secs(2), listener.accept()).await.is_err(),
        "the fetcher stops with the last client"
    );
}
