//! OAUTHBEARER, with an identity provider in the test.

use super::{Broker, new_topic};
use crate::common::Shop;
use crate::common::process::Process;
use chassis::base::config::{KafkaOauth, KafkaSecurity, Mechanism, Protocol};
use chassis::bus::{Bus, Message};
use chassis::testing::eventually;
use reqwest::Method;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// Lifetime of a token. The broker ends a session with its token.
const TOKEN_LIFETIME: Duration = Duration::from_secs(8);
const ID: &str = "shop";
const SECRET: &str = "a-secret-of-the-gate";

/// An identity provider whose tokens the broker accepts.
struct Provider {
    url: String,
    /// Tokens that it has issued.
    issued: AtomicUsize,
    /// Requests that it has refused.
    refused: AtomicUsize,
    refuses: AtomicBool,
    key: PathBuf,
}

impl Provider {
    async fn start(broker: &Broker) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Arc::new(Self {
            url: format!("http://{}/token", listener.local_addr().unwrap()),
            issued: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            refuses: AtomicBool::new(false),
            key: broker.dir.join("tokens.key"),
        });
        let served = Arc::clone(&provider);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                served.answer(stream).await;
            }
        });
        provider
    }

    async fn answer(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let (mut authorization, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            match line.trim_end().split_once(": ") {
                Some(("authorization", value)) => value.clone_into(&mut authorization),
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None if line.starts_with("POST /token ") => {}
                None => break,
            }
        }
        let mut form = vec![0; length];
        stream.read_exact(&mut form).await.unwrap();
        assert_eq!(form, b"grant_type=client_credentials&scope=kafka");
        let right = format!("Basic {}", base64(format!("{ID}:{SECRET}").as_bytes()));
        let (status, body) = if authorization == right && !self.refuses.load(Ordering::Relaxed) {
            self.issued.fetch_add(1, Ordering::Relaxed);
            let (token, seconds) = (jwt(&self.key), TOKEN_LIFETIME.as_secs());
            let token = format!(r#"{{"access_token":"{token}","expires_in":{seconds}}}"#);
            ("200 OK", token)
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned())
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close");
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
    }

    fn issued(&self) -> usize {
        self.issued.load(Ordering::Relaxed)
    }

    fn security(&self, broker: &Broker) -> KafkaSecurity {
        KafkaSecurity {
            kafka_security_protocol: Protocol::SaslSsl,
            kafka_sasl_mechanism: Some(Mechanism::Oauthbearer),
            kafka_ssl_ca_location: Some(broker.dir.join("ca.pem")),
            oauth: KafkaOauth {
                kafka_sasl_oauthbearer_token_endpoint_url: Some(self.url.parse().unwrap()),
                kafka_sasl_oauthbearer_client_id: Some(ID.into()),
                kafka_sasl_oauthbearer_client_secret: Some(SECRET.parse().unwrap()),
                kafka_sasl_oauthbearer_scope: Some("kafka".into()),
            },
            ..KafkaSecurity::default()
        }
    }
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn base64(bytes: &[u8]) -> String {
    String::from_utf8(openssl(&["base64", "-A"], bytes)).unwrap()
}

/// Returns a token for the broker, signed by RS256.
fn jwt(key: &Path) -> String {
    let url = |bytes: &[u8]| base64(bytes).replace('+', "-").replace('/', "_").replace('=', "");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let ends = now + TOKEN_LIFETIME.as_secs();
    let claims = format!(r#"{{"iss":"gate","aud":"kafka","sub":"{ID}","iat":{now},"exp":{ends}}}"#);
    let signed = format!("{}.{}", url(br#"{"alg":"RS256","kid":"1"}"#), url(claims.as_bytes()));
    let sign = ["dgst", "-sha256", "-sign", key.to_str().unwrap()];
    let signature = openssl(&sign, signed.as_bytes());
    format!("{signed}.{}", url(&signature))
}

/// Creates a topic as a user with a password.
async fn topic(broker: &Broker) -> String {
    let topic = new_topic();
    let scram = broker.security("ca.pem", Mechanism::ScramSha512, &broker.password);
    broker.bus(&topic, &scram).publisher().await.unwrap();
    topic
}

#[tokio::test]
#[ignore = "needs TEST_KAFKA_TLS_BROKERS"]
async fn clients_go_on_when_their_tokens_end() {
    let broker = Broker::of_the_gate();
    let provider = Provider::start(&broker).await;
    let bus = broker.bus(&topic(&broker).await, &provider.security(&broker));
    let publisher = bus.publisher().await.unwrap();
    let mut reader = bus.subscribe("a").await.unwrap();
    for round in 0..4 {
        let message = Message { key: "1".into(), payload: round.to_string(), headers: vec![] };
        publisher.publish(&[message]).await.remove(0).unwrap();
        let taken = timeout(Duration::from_secs(30), reader.poll(1)).await.unwrap().unwrap();
        assert_eq!(taken[0].payload.as_deref(), Some(round.to_string().as_bytes()));
        reader.commit(&[taken[0].position]).await.unwrap();
        // A consumer takes its next token while it polls, as services do all the time.
        assert!(
            timeout(TOKEN_LIFETIME / 2, reader.poll(1)).await.is_err(),
            "there is no other message"
        );
    }
    assert!(provider.issued() >= 3, "{}", provider.issued());
    reader.leave().await;
    assert_eq!(bus.lag("a").await.unwrap(), 0);
    let mut replay = bus.replay().await.unwrap();
    let mut replayed = 0;
    while let Some(taken) = replay.next(9).await.unwrap() {
        replayed += taken.len();
    }
    assert_eq!(replayed, 4);
}

/// Sells a cart and waits until the customer sees that it is paid.
async fn sell(web: &chaos::ShopClient, cart: u64) {
    web.add(1, 1, None).await.unwrap();
    eventually("a payment in the view", async || {
        let page = format!("/mypages/search/findByCartId?cartId={cart}");
        let (_, page) = web.ask(Method::GET, &page, None).await.ok()?;
        (page["status"] == "PaymentApproved").then_some(())
    })
    .await;
}

/// Checks also that it recovers from an outage of the provider that is longer than the lifetime of a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA_TLS_BROKERS"]
async fn the_shop_sells_carts_by_oauthbearer() {
    let broker = Broker::of_the_gate();
    let provider = Provider::start(&broker).await;
    let topic = topic(&broker).await;
    let shop = Shop::with(|config| {
        config.kafka_brokers = Some(broker.brokers.clone());
        config.topic.kafka_topic = topic;
        config.security = provider.security(&broker);
    })
    .await;
    shop.web.register(1, 10, 5_000).await;
    sell(&shop.web, 1).await;
    let issued = provider.issued();
    // All clients of the shop have a second token, and the sessions of the first have ended.
    sleep(2 * TOKEN_LIFETIME).await;
    assert!(provider.issued() > issued);
    sell(&shop.web, 2).await;
    provider.refuses.store(true, Ordering::Relaxed);
    sleep(2 * TOKEN_LIFETIME).await; // the outage of the provider
    provider.refuses.store(false, Ordering::Relaxed);
    sell(&shop.web, 3).await;
    shop.stop().await;
}

/// Checks that the process keeps running, logs the reason once without the secret, and serves customers without Kafka.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA_TLS_BROKERS"]
async fn the_shop_waits_for_a_provider_that_gives_it_no_token() {
    let broker = Broker::of_the_gate();
    let provider = Provider::start(&broker).await;
    let dir = tempfile::tempdir().unwrap();
    let ca = broker.dir.join("ca.pem");
    let topic = topic(&broker).await;
    provider.refuses.store(true, Ordering::Relaxed);
    let settings = [
        ("KAFKA_BROKERS", broker.brokers.as_str()),
        ("KAFKA_TOPIC", topic.as_str()),
        ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
        ("KAFKA_SASL_MECHANISM", "OAUTHBEARER"),
        ("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", provider.url.as_str()),
        ("KAFKA_SASL_OAUTHBEARER_CLIENT_ID", ID),
        ("KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", SECRET),
        ("KAFKA_SASL_OAUTHBEARER_SCOPE", "kafka"),
        ("KAFKA_SSL_CA_LOCATION", ca.to_str().unwrap()),
    ];
    let (process, log) = Process::start_logged(dir.path(), &settings);
    process.web.register(1, 10, 5_000).await;
    process.web.add(1, 1, None).await.unwrap();
    eventually("a third request for a token", async || {
        (provider.refused.load(Ordering::Relaxed) >= 3).then_some(())
    })
    .await;
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(said.matches("401 Unauthorized: invalid_client").count(), 1, "{said}");
    assert!(said.contains(" WARN ") && !said.contains(SECRET), "{said}");
    provider.refuses.store(false, Ordering::Relaxed);
    sell(&process.web, 2).await;
    assert!(process.terminate().await.success());
    assert!(!std::fs::read_to_string(&log).unwrap().contains(SECRET));
}
