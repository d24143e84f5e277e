use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    chassis::launch::service("mypage", mypage::ABOUT, 8084, mypage::start).await
}
