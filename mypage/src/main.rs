use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    chassis::service::launch::service("mypage", mypage::ABOUT, 8084, mypage::start).await
}
