//! Who makes a request, and what they may do.

mod authenticator;
mod cache;
mod crypto;
mod issuer;
mod keys;
mod principal;

pub use authenticator::{Authenticator, Denied, log_mode};
pub use crypto::install as install_crypto;
pub use principal::{Principal, Role};
