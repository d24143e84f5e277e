use std::process::ExitCode;
use tokio::sync::OnceCell;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    standalone::failpoints::arm();
    let log = OnceCell::new();
    let start = async |config| standalone::start_parts(config, &log).await;
    let after = async || {
        if let Some(log) = log.get() {
            log.close().await;
        }
    };
    chassis::service::launch::process("standalone", standalone::ABOUT, 0, start, after).await
}
