//! The issuer of a shop under test, and the accounts of those who use the shop.

use chassis::test_issuer::{Algorithm, SigningKey, TestIssuer, signing_key};
use reqwest::RequestBuilder;
use serde_json::Value;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long a token is good: short, so that a drill outlives many.
const TOKEN_LIFETIME: Duration = Duration::from_mins(1);
/// How long a token is used. The rest is more than a request takes.
const TOKEN_USE_TIME: Duration = Duration::from_secs(30);
/// How long a key is published before tokens are signed with it, as issuers should: a process looks for keys that it does not
/// know once in 10 s.
const KEY_NOTICE: Duration = Duration::from_secs(15);
/// How long tokens are then signed with it, before the next one is published.
const KEY_USE_TIME: Duration = Duration::from_secs(15);
/// Keys that have signed and stay published. A key is withdrawn when the last of its tokens has ended.
const KEYS_KEPT: usize = 3;
/// Owners that customers share: each has several customers at a time.
const OWNERS: usize = 5;
/// The owner of what is made without an issuer.
const GUEST: &str = "guest";

/// Somebody whom the issuer knows. Clones share a token, which is renewed before it ends.
#[derive(Clone)]
pub struct Account {
    issuer: TestIssuer,
    subject: String,
    role: &'static str,
    owner: Arc<str>,
    token: Arc<Mutex<Option<(String, Instant)>>>,
}

impl Account {
    /// Returns somebody with this role.
    pub fn new(issuer: &TestIssuer, subject: impl Into<String>, role: &'static str) -> Self {
        let (issuer, subject) = (issuer.clone(), subject.into());
        let owner = format!("{}#{subject}", issuer.url).into();
        Self { issuer, subject, role, owner, token: Arc::default() }
    }

    /// Returns a token that is good for longer than a request takes.
    pub fn token(&self) -> String {
        let mut kept = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, since)) = &*kept
            && since.elapsed() < TOKEN_USE_TIME
        {
            return token.clone();
        }
        let claims = self.issuer.claims_for(&self.subject, &[self.role], TOKEN_LIFETIME);
        let token = self.issuer.key().sign(&claims);
        *kept = Some((token.clone(), Instant::now()));
        token
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Account").field(&self.owner).finish()
    }
}

/// Who makes a request: somebody with an account, or nobody that is known.
#[derive(Clone, Debug, Default)]
pub struct Identity(Option<Account>);

impl Identity {
    /// Returns the request with the token, if there is one.
    pub(crate) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.0 {
            Some(account) => request.bearer_auth(account.token()),
            None => request,
        }
    }

    /// Returns whom what they make belongs to: `ISSUER#SUBJECT`, or `guest`.
    pub fn owner(&self) -> Arc<str> {
        self.0.as_ref().map_or(GUEST.into(), |account| Arc::clone(&account.owner))
    }

    /// Returns true for somebody with an account.
    pub fn is_known(&self) -> bool {
        self.0.is_some()
    }
}

impl From<Account> for Identity {
    fn from(account: Account) -> Self {
        Self(Some(account))
    }
}

/// Everybody who uses a shop under test. Without an issuer they are all the guest.
#[derive(Debug, Default)]
pub struct People {
    issuer: Option<Issuer>,
    customers: Vec<Account>,
    md: Identity,
    operator: Identity,
}

/// An issuer whose keys change.
struct Issuer {
    issuer: TestIssuer,
    /// Keys that have signed so far.
    keys: Arc<AtomicU64>,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issuer").field(&self.issuer.url).finish()
    }
}

impl People {
    /// Starts an issuer on loopback, whose keys change from then on: customers, a merchandiser (MD) and an operator.
    pub async fn with_issuer() -> Self {
        let (issuer, keys) = (TestIssuer::start().await, Arc::new(AtomicU64::new(1)));
        tokio::spawn(Keys::of(issuer.clone()).change(Arc::clone(&keys)));
        let customer = |number| Account::new(&issuer, format!("customer-{number}"), "customer");
        Self {
            customers: (0..OWNERS).map(customer).collect(),
            md: Account::new(&issuer, "minji", "md").into(),
            operator: Account::new(&issuer, "ops", "operator").into(),
            issuer: Some(Issuer { issuer, keys }),
        }
    }

    /// Returns the URL of the issuer, if there is one.
    pub fn issuer(&self) -> Option<&str> {
        Some(&self.issuer.as_ref()?.issuer.url)
    }

    /// Returns with how many keys the issuer has signed so far.
    pub fn keys(&self) -> Option<u64> {
        Some(self.issuer.as_ref()?.keys.load(Ordering::Relaxed))
    }

    /// Returns the customer of this number. Several numbers are the same owner.
    pub fn customer(&self, number: u64) -> Identity {
        let owners = self.customers.len().max(1) as u64;
        let number = usize::try_from(number % owners).unwrap_or_default();
        Identity(self.customers.get(number).cloned())
    }

    /// Returns one customer of each owner.
    pub fn owners(&self) -> impl Iterator<Item = Identity> {
        self.customers.iter().cloned().map(Identity::from)
    }

    /// Returns who registers and restocks gifticons.
    pub fn md(&self) -> Identity {
        self.md.clone()
    }

    /// Returns who reads everything.
    pub fn operator(&self) -> Identity {
        self.operator.clone()
    }

    /// Returns tokens of the first customer that nobody may believe, each with what is wrong with it.
    pub fn bad_tokens(&self) -> Vec<(&'static str, String)> {
        let Some(customer) = self.customers.first() else { return Vec::new() };
        let claims = customer.issuer.claims(&customer.subject, &[customer.role]);
        let mut ended = claims.clone();
        ended["exp"] = claims["iat"].as_u64().unwrap_or_default().saturating_sub(3_600).into();
        let key = customer.issuer.key();
        let other = signing_key(&key.id, Algorithm::ES256);
        vec![
            ("a token that has ended", key.sign(&ended)),
            ("a token of another's key", other.sign(&claims)), // of RS256 it has another algorithm as well
            ("the signature of another token", forged(&key, &claims)),
        ]
    }
}

/// Returns a token that names the right key and its algorithm, and whose signature is of other claims.
fn forged(key: &SigningKey, claims: &Value) -> String {
    let mut others = claims.clone();
    others["sub"] = "somebody else".into();
    let (wanted, signed) = (key.sign(claims), key.sign(&others));
    let signature = signed.rsplit_once('.').map_or("", |(_, signature)| signature);
    let content = wanted.rsplit_once('.').map_or("", |(content, _)| content);
    format!("{content}.{signature}")
}

/// The keys of an issuer.
struct Keys {
    issuer: TestIssuer,
    /// Those that have signed and are published, the one that signs first.
    signed: Vec<SigningKey>,
    /// The one that is published and signs next.
    next: Option<SigningKey>,
    /// How many were made.
    made: u64,
}

impl Keys {
    fn of(issuer: TestIssuer) -> Self {
        Self { signed: vec![issuer.key()], issuer, next: None, made: 1 }
    }

    /// Changes the key that tokens are signed with, again and again, and counts them.
    async fn change(mut self, count: Arc<AtomicU64>) {
        loop {
            sleep(KEY_USE_TIME).await;
            self.publish_next();
            sleep(KEY_NOTICE).await;
            self.sign_with_next();
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Publishes a new key, of RS256 and of ES256 in turns.
    fn publish_next(&mut self) {
        self.made += 1;
        let algorithms = [Algorithm::RS256, Algorithm::ES256];
        let algorithm = algorithms[usize::from(self.made % 2 == 1)];
        self.next = Some(signing_key(&format!("key-{}", self.made), algorithm));
        self.issuer.publish(self.signed.iter().chain(&self.next).cloned().collect());
    }

    /// Signs with the new key from now on, and withdraws the oldest.
    fn sign_with_next(&mut self) {
        self.signed.splice(0..0, self.next.take());
        self.signed.truncate(KEYS_KEPT);
        self.issuer.publish(self.signed.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ShopClient;

    #[tokio::test]
    async fn customers_share_owners_and_tokens() {
        let people = People::with_issuer().await;
        let (first, again) = (people.customer(0), people.customer(OWNERS as u64));
        assert_eq!(first.owner(), again.owner());
        assert_ne!(first.owner(), people.customer(1).owner());
        assert_eq!(*first.owner(), format!("{}#customer-0", people.issuer().unwrap()));
        let token = |identity: &Identity| identity.0.as_ref().unwrap().token();
        assert_eq!(token(&first), token(&again));
        assert_eq!(people.owners().count(), OWNERS);
    }

    #[test]
    fn without_an_issuer_everybody_is_the_guest() {
        let people = People::default();
        for somebody in [people.customer(3), people.md(), people.operator()] {
            assert!(!somebody.is_known());
            assert_eq!(&*somebody.owner(), "guest");
        }
        assert_eq!((people.issuer(), people.keys(), people.owners().count()), (None, None, 0));
    }

    #[tokio::test]
    async fn a_key_is_published_before_it_signs_and_stays_while_its_tokens_last() {
        let issuer = TestIssuer::start().await;
        let web = ShopClient::new(issuer.url.clone());
        let published = async || {
            let document = web.get("/keys").await;
            let ids = document["keys"].as_array().unwrap().iter();
            ids.map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let mut keys = Keys::of(issuer.clone());
        keys.publish_next();
        assert_eq!(published().await, ["first", "key-2"]);
        assert_eq!(issuer.key().id, "first");
        keys.sign_with_next();
        assert_eq!(issuer.key().id, "key-2");
        for _ in 0..2 {
            keys.publish_next();
            keys.sign_with_next();
        }
        assert_eq!(published().await, ["key-4", "key-3", "key-2"]);
    }
}
