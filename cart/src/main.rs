use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    chassis::launch::service("cart", cart::ABOUT, 8082, cart::start).await
}
