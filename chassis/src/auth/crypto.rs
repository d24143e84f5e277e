//! The cryptography of `jsonwebtoken`, by ring: it checks signatures, and makes those of our own issuers.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{self as ring_signature, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use signature::{Error, Signer, Verifier};
use std::sync::Once;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        Ok(Box::new(Signing { algorithm: *algorithm, key: key.clone() }))
    },
    verifier_factory: |algorithm, key| {
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        Ok(Box::new(Checking { algorithm: *algorithm, key: key.clone() }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring the cryptography of `jsonwebtoken` in this process. Call it before it is used.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

/// Checks signatures with a public key.
struct Checking {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for Checking {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        use ring_signature as s;
        let raw = |algorithm: &'static dyn s::VerificationAlgorithm| {
            let key = self.key.try_get_as_bytes().map_err(|_| ring::error::Unspecified)?;
            s::UnparsedPublicKey::new(algorithm, key).verify(message, signature)
        };
        let rsa = |algorithm: &'static s::RsaParameters| match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                s::RsaPublicKeyComponents { n, e }.verify(algorithm, message, signature)
            }
            DecodingKeyKind::SecretOrDer(_) => Err(ring::error::Unspecified),
        };
        let checked = match self.algorithm {
            Algorithm::RS256 => rsa(&s::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => rsa(&s::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => rsa(&s::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => rsa(&s::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => rsa(&s::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => rsa(&s::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 => raw(&s::ECDSA_P256_SHA256_FIXED),
            Algorithm::ES384 => raw(&s::ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDSA => raw(&s::ED25519),
            _ => Err(ring::error::Unspecified), // those with a shared secret
        };
        checked.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Checking {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// Signs with a private key in PKCS #8, or of RSA in its own DER.
struct Signing {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        let (key, random) = (self.key.as_bytes(), SystemRandom::new());
        match self.algorithm {
            Algorithm::ES256 => {
                let curve = &ring_signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair =
                    EcdsaKeyPair::from_pkcs8(curve, key, &random).map_err(|_| Error::new())?;
                let signature = pair.sign(&random, message).map_err(|_| Error::new())?;
                Ok(signature.as_ref().to_vec())
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8(key).map_err(|_| Error::new())?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
            Algorithm::RS256 => {
                let pair = RsaKeyPair::from_pkcs8(key).or_else(|_| RsaKeyPair::from_der(key));
                let pair = pair.map_err(|_| Error::new())?;
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding = &ring_signature::RSA_PKCS1_SHA256;
                pair.sign(padding, &random, message, &mut signature).map_err(|_| Error::new())?;
                Ok(signature)
            }
            _ => Err(Error::new()),
        }
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
