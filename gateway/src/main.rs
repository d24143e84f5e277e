use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let start = async |config| Ok(vec![gateway::start(config)?]);
    chassis::service::launch::process("gateway", gateway::ABOUT, 8088, start, async || {}).await
}
