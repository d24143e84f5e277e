//! pgbouncer in front of Postgres: session mode works, and transaction mode is detected before anything is written.
//! `TEST_PGBOUNCER` is the path of its program.

use chassis::storage::{Db, Schema};
use chassis::testing::{TestDb, eventually, server};
use sqlx::query;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::timeout;

struct Pgbouncer {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Pgbouncer {
    /// Starts it in front of the server of `db`.
    async fn start(program: &str, db: &TestDb, mode: &str) -> Self {
        let (_, server) = db.url.as_str().split_once('@').expect("the URL names a user");
        let (host, port) = server.split('/').next().unwrap().split_once(':').expect("and a port");
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = dir.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={host} port={port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {free}\nauth_type = any\nunix_socket_dir =\npool_mode = {mode}\n\
             ignore_startup_parameters = extra_float_digits\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        let child = command.args(["-q", "-u", "nobody"]).arg(&config).stderr(Stdio::null()).spawn();
        let child = child.expect("it starts");
        eventually("pgbouncer to listen", async || TcpStream::connect(("127.0.0.1", free)).ok())
            .await;
        Self { child, port: free, _dir: dir }
    }

    /// Changes the URL of `db` so that it leads through pgbouncer.
    fn redirect(&self, db: &mut TestDb) {
        let (_, name) = db.url.as_str().rsplit_once('/').unwrap();
        let url = format!("postgres://postgres@127.0.0.1:{}/{name}", self.port);
        db.url = url.parse().unwrap();
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a database behind pgbouncer, and a direct connection to it.
async fn behind(mode: &str) -> (Pgbouncer, TestDb, Db) {
    let mut db = TestDb::postgres().await;
    let direct = Db::open(&db.url, &Schema::new(&[])).await.unwrap();
    let pgbouncer = Pgbouncer::start(&server("TEST_PGBOUNCER"), &db, mode).await;
    pgbouncer.redirect(&mut db);
    (pgbouncer, db, direct)
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL and TEST_PGBOUNCER"]
async fn a_pooler_in_transaction_mode_is_recognised_and_nothing_is_written_through_it() {
    let (_pgbouncer, test, direct) = behind("transaction").await;
    let schema = Schema::new(&[]);
    let db = Db::open(&test.url, &schema).await.unwrap();
    assert!(timeout(Duration::from_secs(4), db.migrate(&schema)).await.is_err(), "it is refused");
    assert!(!db.answers().await, "it is ready");
    let tables = "select 1 from pg_tables where schemaname = 'public'";
    assert_eq!(direct.fetch_all(query(tables)).await.unwrap().len(), 0);
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL and TEST_PGBOUNCER"]
async fn a_pooler_in_session_mode_can_be_used() {
    let (_pgbouncer, test, _) = behind("session").await;
    let db = timeout(Duration::from_secs(10), test.open(&Schema::new(&[]))).await;
    assert!(db.expect("it opens").answers().await);
}
