//! The public keys of an issuer, out of its JWKS (RFC 7517).

use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use std::str::FromStr;

/// Keys of one issuer that are kept.
const KEYS_MAX: usize = 100;

/// The keys that an issuer signs tokens with.
#[derive(Clone, Default)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, if it names one.
    algorithm: Option<Algorithm>,
    public: DecodingKey,
    /// As the issuer wrote it.
    jwk: Value,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JWKS. Leaves out keys for encryption, shared secrets, and keys of a kind that we do not know.
    pub(super) fn parse(json: &[u8]) -> serde_json::Result<Self> {
        let document: Document = serde_json::from_slice(json)?;
        Ok(Self(document.keys.into_iter().filter_map(Key::read).take(KEYS_MAX).collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the key with this id that may be used with the algorithm. A token without an id means the only key there is
    /// for its algorithm.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut usable = self.0.iter().filter(|key| {
            key.public.family() == algorithm.family()
                && key.algorithm.is_none_or(|only| only == algorithm)
        });
        let Some(id) = id else {
            let only = usable.next()?;
            return usable.next().is_none().then_some(&only.public);
        };
        usable.find(|key| key.id.as_deref() == Some(id)).map(|key| &key.public)
    }

    /// Returns true if the others are the same keys.
    pub(super) fn equals(&self, others: &Self) -> bool {
        self.0.iter().map(|key| &key.jwk).eq(others.0.iter().map(|key| &key.jwk))
    }
}

impl Key {
    fn read(json: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json.clone()).ok()?;
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let algorithm = match common.key_algorithm {
            None => None,
            Some(named) => Some(algorithm(named)?),
        };
        let public = DecodingKey::from_jwk(&jwk).ok()?;
        let shared = public.family() == jsonwebtoken::AlgorithmFamily::Hmac;
        (!shared).then(|| Self { id: common.key_id.clone(), algorithm, public, jwk: json })
    }
}

/// Returns the algorithm of signatures with this name.
fn algorithm(named: KeyAlgorithm) -> Option<Algorithm> {
    let name = serde_json::to_value(named).ok()?;
    Algorithm::from_str(name.as_str()?).ok()
}
