//! `standalone token`: prints a token of the issuer `dev`.

use crate::config::DEV_ISSUER_ADDR;
use crate::dev_issuer::{Claims, signing_key};
use chassis::base::config::Auth;
use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Prints a token of the issuer `dev`, for AUTH_ISSUER=dev. Whoever can read DATA_DIR can make one.
#[derive(Debug, Parser)]
#[command(name = "standalone token")]
struct TokenCommand {
    /// Who it is; each subject owns what it makes
    #[arg(long)]
    subject: String,

    /// customer, md or operator; may be given several times
    #[arg(long = "role", value_parser = ["customer", "md", "operator"])]
    roles: Vec<String>,

    /// How long it is good, as 90s, 30m, 8h or 7d
    #[arg(long, default_value = "8h", value_parser = lifetime)]
    ttl: Duration,

    /// Directory with the key of the issuer, which is made if missing
    #[arg(long, env, default_value = "./data")]
    data_dir: PathBuf,

    /// Address of the issuer, which is a part of its name
    #[arg(long, env, default_value = DEV_ISSUER_ADDR)]
    dev_issuer_addr: SocketAddr,

    /// Audience of the token
    #[arg(long, env, default_value = Auth::AUDIENCE)]
    auth_audience: String,

    /// Path of the list of roles in the token, with dots
    #[arg(long, env, default_value = Auth::ROLES_CLAIM)]
    auth_roles_claim: String,
}

/// Returns the token that `arguments` ask for, after the name of the command.
///
/// # Errors
/// If they are wrong, or the key cannot be read or made.
pub fn token(arguments: impl Iterator<Item = String>) -> anyhow::Result<String> {
    let command = TokenCommand::try_parse_from(["token".to_owned()].into_iter().chain(arguments))?;
    let claims = Claims {
        issuer: format!("http://{}", command.dev_issuer_addr),
        audience: command.auth_audience,
        roles_claim: command.auth_roles_claim,
    };
    let key = signing_key(&command.data_dir)?;
    Ok(claims.access_token(&key, &command.subject, &command.roles, command.ttl))
}

/// Returns the time of a text such as `8h`.
fn lifetime(text: &str) -> Result<Duration, &'static str> {
    let invalid = "it looks like 90s, 30m, 8h or 7d, and is a year at most";
    let unit = text.chars().last().ok_or(invalid)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(invalid),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| invalid)?;
    let time = number.checked_mul(seconds).filter(|time| (1..=31_536_000).contains(time));
    time.map(Duration::from_secs).ok_or(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_has_a_unit() {
        assert_eq!(lifetime("8h"), Ok(Duration::from_hours(8)));
        assert_eq!(lifetime("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "8", "h", "0s", "-1h", "1.5h", "366d", "18446744073709551615d", "8시"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
