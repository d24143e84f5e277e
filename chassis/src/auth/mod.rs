//! Who makes a request, and what they may do.

mod authenticator;
mod cache;
mod claims;
mod crypto;
mod discovery;
mod https;
mod issuer;
mod keys;
mod principal;
mod signing_key;

pub use authenticator::{Authenticator, Denied, Identity, log_mode};
pub use claims::expires_within;
pub use crypto::install as install_crypto;
pub use discovery::Discovery;
pub use https::HttpsClient;
pub use jsonwebtoken::Algorithm;
pub use principal::{Principal, Role};
pub use signing_key::{SigningKey, base64url};
