//! The parameters of a Postgres URL.

use crate::base::uri::decoded;

/// Refuses parameters that sqlx does not know: it would log them with their values, and ignore them.
pub(super) fn check_parameters(url: &str) -> Result<(), String> {
    const KNOWN: [&str; 18] = [
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "application_name",
        "options",
    ];
    const FILES: [&str; 7] =
        ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let Some((_, query)) = url.split_once('?') else { return Ok(()) };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !KNOWN.contains(&name) && !name.starts_with("options[") {
            // The name is not shown: if a password contains a ?, this is the rest of the password.
            return Err(format!(
                "it has an unknown parameter after the ?; known are {}",
                KNOWN.join(", ")
            ));
        }
        if FILES.contains(&name) {
            readable(name, value)?;
        }
    }
    Ok(())
}

/// Refuses a parameter whose file cannot be read: no connection could ever be made.
fn readable(name: &str, value: &str) -> Result<(), String> {
    let path = decoded(value).ok_or_else(|| format!("{name} is not UTF-8"))?;
    if path.starts_with("-----BEGIN") {
        return Ok(()); // sqlx also accepts the certificate itself
    }
    std::fs::read(&path)
        .map(drop)
        .map_err(|error| format!("{name}={path} cannot be read: {error}; it is a PEM file"))
}
