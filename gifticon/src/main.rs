use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    chassis::service::launch::service("gifticon", gifticon::ABOUT, 8081, gifticon::start).await
}
