//! The program `stentor`: flags in, exit code out.
//!
//! Flags are in `flags/`; the settings are checked before anything is opened, and are printed by
//! `--check`. Logs go to stderr, through a [thread of their own](logs); numbers go to HTTP.
//!
//! Invariant: the exit code is 0 after a good end, 1 when the server could not run or was told twice to stop, 2 for
//! flags that make no sense.

mod flags;
mod heap;
mod logs;

use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use clap::Parser as _;
use flags::{LogFormat, Options, effective};
use stentor::server::supervisor::{Ended, Orders, same_again, supervise};
use stentor::server::{Config, Failure, Server, make_room};

fn main() -> ExitCode {
    let options = Options::parse();
    heap::settle();
    // Before there is a second thread, the one that logs.
    make_room(options.connections_max);
    let dropped = Arc::new(AtomicU64::new(0));
    let mut last_words = match log_to_stderr(&options, &dropped) {
        Ok(last_words) => last_words,
        Err(error) => {
            complain(&format!("cannot start the thread that logs: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let is_check = options.check;
    let mut config = options.into_config();
    config.log_lines_dropped = dropped;
    if let Err(wrong) = config.check() {
        complain(&wrong);
        return ExitCode::from(2);
    }
    if is_check {
        return match std::io::stdout().write_all(effective(&config).as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("cannot print the settings: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    match serve(config) {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Told) => ExitCode::FAILURE,
        Err(failure) => {
            last_words.say(&format!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// Serves, alone or as one of several workers, or supervises these.
fn serve(mut config: Config) -> Result<Ended, Failure> {
    if let Some(orders) = Orders::received()? {
        let worker = orders.index();
        orders.apply(&mut config)?;
        let _lines_of = tracing::error_span!("worker", n = worker).entered();
        return Server::with_config(config).run().map(|()| Ended::Well);
    }
    let workers = config.workers.count(config.connections_max);
    if workers > 1 {
        return supervise(&config, workers, same_again);
    }
    let server = Server::with_config(config).bind()?;
    // The one line that scripts wait for stands whatever is logged; a closed stderr harms nobody.
    let _ = writeln!(std::io::stderr(), "{}", server.summary());
    server.run().map(|()| Ended::Well)
}

fn complain(what: &str) {
    let _ = writeln!(std::io::stderr(), "error: {what}");
}

fn log_to_stderr(options: &Options, dropped: &Arc<AtomicU64>) -> std::io::Result<logs::LastWords> {
    let is_terminal = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A descriptor of its own: a write that blocks must not hold the lock of ours.
    let stderr = std::fs::File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    let (writer, last_words) = logs::start(stderr, Arc::clone(dropped))?;
    let logs = tracing_subscriber::fmt()
        .with_max_level(options.log)
        .with_ansi(is_terminal)
        .with_writer(move || writer.clone());
    match options.log_format {
        LogFormat::Text => logs.with_target(false).init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(last_words)
}
