//! TLS to Postgres by `sslmode`. The gate has a server with a certificate for `localhost`: `TEST_TLS_DATABASE_URL` leads to it
//! at `localhost`, and the directory `TEST_TLS_CERTIFICATES` has `ca.pem`, which signed it, and `other.pem`, which did not.

use chassis::base::config::DatabaseUrl;
use chassis::storage::{Db, Schema};
use chassis::testing::server;
use sqlx::{Row, query};

struct Server {
    url: String,
    certificates: String,
}

impl Server {
    fn find() -> Self {
        let (url, certificates) = ("TEST_TLS_DATABASE_URL", "TEST_TLS_CERTIFICATES");
        Self { url: server(url), certificates: server(certificates) }
    }

    /// Returns the URL with `sslmode` that trusts the CA in the file `ca`.
    fn url(&self, sslmode: &str, ca: &str) -> String {
        format!("{}?sslmode={sslmode}&sslrootcert={}/{ca}", self.url, self.certificates)
    }
}

/// Returns whether a connection is encrypted, or why it failed.
async fn encrypted(url: &str) -> Result<bool, String> {
    let url: DatabaseUrl = url.parse().unwrap();
    let db = Db::open(&url, &Schema::new(&[])).await.unwrap();
    let ssl = query("select ssl::int from pg_stat_ssl where pid = pg_backend_pid()");
    let row = db.fetch_one(ssl).await.map_err(|error| error.to_string())?;
    Ok(row.get::<i32, _>(0) == 1)
}

#[tokio::test]
#[ignore = "needs TEST_TLS_DATABASE_URL and TEST_TLS_CERTIFICATES"]
async fn each_sslmode_encrypts_and_checks_as_it_says() {
    let server = Server::find();
    let by_address = |url: String| url.replacen("localhost", "127.0.0.1", 1);
    assert_eq!(encrypted(&format!("{}?sslmode=disable", server.url)).await, Ok(false));
    for sslmode in ["prefer", "require"] {
        assert_eq!(
            encrypted(&format!("{}?sslmode={sslmode}", server.url)).await,
            Ok(true),
            "{sslmode}"
        );
    }
    for sslmode in ["verify-ca", "verify-full"] {
        assert_eq!(encrypted(&server.url(sslmode, "ca.pem")).await, Ok(true), "{sslmode}");
        let other = encrypted(&server.url(sslmode, "other.pem")).await;
        assert!(
            other.as_ref().is_err_and(|why| why.contains("certificate")),
            "{sslmode}: {other:?}"
        );
    }
    // The certificate is for the name, not for the address.
    assert_eq!(encrypted(&by_address(server.url("verify-ca", "ca.pem"))).await, Ok(true));
    let wrong = encrypted(&by_address(server.url("verify-full", "ca.pem"))).await;
    assert!(wrong.as_ref().is_err_and(|why| why.contains("certificate")), "{wrong:?}");
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_server_without_tls_is_refused_with_the_cause_where_tls_is_required() {
    let url = server("TEST_DATABASE_URL");
    assert_eq!(encrypted(&format!("{url}?sslmode=prefer")).await, Ok(false));
    for sslmode in ["require", "verify-ca", "verify-full"] {
        let refused = encrypted(&format!("{url}?sslmode={sslmode}")).await;
        assert!(refused.as_ref().is_err_and(|why| why.contains("TLS")), "{sslmode}: {refused:?}");
    }
}
