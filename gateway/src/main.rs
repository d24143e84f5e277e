use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let start = async |config| Ok(vec![gateway::start(config)?]);
    chassis::launch::process("gateway", gateway::ABOUT, 8088, start, async || {}).await
}
