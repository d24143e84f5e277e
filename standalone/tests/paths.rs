//! The data directory: its path is taken literally, and one process may use it.

mod common;

use common::process::Process;
use gateway::services::names;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_is_the_path_as_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for name in
        ["a%20b", "%2e%2e", "on%65", "a?b", "a?mode=rwc", "a#b", "a b", "가게", "a'b\"c", "file:x"]
    {
        let data = dir.path().join(name);
        let shop = Process::start(&data, &[]);
        shop.web.register(1, 10, 5000).await;
        for file in names().into_iter().chain(["events"]).map(|name| format!("{name}.db")) {
            let size = data
                .join(&file)
                .metadata()
                .unwrap_or_else(|error| panic!("{name}/{file}: {error}"));
            assert!(size.len() > 0, "{name}/{file} is not in the directory that was named");
        }
        shop.kill();
    }
    let names = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 10, "no other directory was created");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_files_is_refused_however_it_spells_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // With Kafka there is no log file, only those of the databases. The broker need not exist.
    for kafka in [None, Some("127.0.0.1:1")] {
        let settings: Vec<_> =
            kafka.map(|brokers| ("KAFKA_BROKERS", brokers)).into_iter().collect();
        let shop = Process::start(&data, &settings);
        let link = dir.path().join("link");
        let _ = std::os::unix::fs::symlink(&data, &link);
        for spelling in [data.clone(), dir.path().join("data/../data/."), link] {
            let mut second = Process::command(&spelling);
            let output = second.envs(settings.iter().copied()).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{}: {stderr}", spelling.display());
            assert!(stderr.contains("in use by another process"), "{stderr}");
        }
        shop.kill();
    }
}
