use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    chassis::launch::service("gifticon", gifticon::ABOUT, 8081, gifticon::start).await
}
