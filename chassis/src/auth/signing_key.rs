//! Keys that sign tokens: of the `dev` issuer, and of the tests.

use crate::auth::crypto;
use anyhow::{anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use serde_json::{Value, json};
use std::fmt;

/// Returns the bytes as a part of a token.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key that signs tokens. Its `Debug` shows its id alone.
#[derive(Clone)]
pub struct SigningKey {
    /// `kid`.
    pub id: String,
    algorithm: Algorithm,
    /// In PKCS #8.
    private: Vec<u8>,
    jwk: Value,
}

impl SigningKey {
    /// Returns a new key for ES256 or EdDSA.
    ///
    /// # Errors
    /// For another algorithm, or if the system has no randomness.
    pub fn generate(id: &str, algorithm: Algorithm) -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let failed = |_| anyhow!("no key could be made");
        let made = match algorithm {
            Algorithm::ES256 => {
                let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
                EcdsaKeyPair::generate_pkcs8(curve, &random).map_err(failed)?
            }
            Algorithm::EdDSA => Ed25519KeyPair::generate_pkcs8(&random).map_err(failed)?,
            other => return Err(anyhow!("no key is made for {other:?}")),
        };
        Self::from_pkcs8(id, algorithm, made.as_ref())
    }

    /// Returns the private key in `pkcs8`, for RS256, ES256 or EdDSA.
    ///
    /// # Errors
    /// If it is no key for the algorithm.
    pub fn from_pkcs8(id: &str, algorithm: Algorithm, pkcs8: &[u8]) -> anyhow::Result<Self> {
        crypto::install();
        let rejected = |error| anyhow!("this is no key for {algorithm:?}: {error}");
        let mut jwk = match algorithm {
            Algorithm::RS256 => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(rejected)?;
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "n": base64url(&public.n), "e": base64url(&public.e) })
            }
            Algorithm::ES256 => {
                let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8, &SystemRandom::new());
                let pair = pair.map_err(rejected)?;
                let point = pair.public_key().as_ref();
                ensure!(point.len() == 65, "a point of P-256 has 65 bytes");
                let (x, y) = point[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y) })
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(rejected)?;
                let x = base64url(pair.public_key().as_ref());
                json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
            }
            other => return Err(anyhow!("no key is made for {other:?}")),
        };
        jwk["kid"] = id.into();
        jwk["use"] = "sig".into();
        jwk["alg"] = json!(algorithm);
        Ok(Self { id: id.into(), algorithm, private: pkcs8.to_vec(), jwk })
    }

    /// Returns a token with these claims.
    ///
    /// # Panics
    /// Panics if `claims` is no object.
    pub fn sign(&self, claims: &Value) -> String {
        let head = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        self.sign_as(&head, claims)
    }

    /// Returns a token with this head, whose algorithm must be one of the key.
    ///
    /// # Panics
    /// Panics if it is not.
    pub fn sign_as(&self, head: &Header, claims: &Value) -> String {
        let key = match self.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_der(&self.private),
            Algorithm::ES256 => EncodingKey::from_ec_der(&self.private),
            _ => EncodingKey::from_ed_der(&self.private),
        };
        encode(head, claims, &key).expect("the key was checked, and claims are JSON")
    }

    /// Returns the public key as a JWKS has it.
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// Returns the private key in PKCS #8. Keep it secret.
    pub fn pkcs8(&self) -> &[u8] {
        &self.private
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}
