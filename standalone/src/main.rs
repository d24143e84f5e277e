use std::process::ExitCode;
use tokio::sync::OnceCell;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("token") {
        return print_token(arguments);
    }
    serve()
}

/// Prints the token that the arguments ask for.
fn print_token(arguments: impl Iterator<Item = String>) -> ExitCode {
    match standalone::token(arguments) {
        Ok(token) => {
            println!("{token}");
            ExitCode::SUCCESS
        }
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(error) => error.exit(),
            Err(error) => {
                eprintln!("standalone: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

#[tokio::main]
async fn serve() -> ExitCode {
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
