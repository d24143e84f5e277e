use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    chassis::launch::service("payment", payment::ABOUT, 8083, payment::start).await
}
