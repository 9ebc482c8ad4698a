//! The program `stentor`: flags in, exit code out.
//!
//! Flags are in `flags/`; the settings are checked before anything is opened, and are printed by
//! `--check`. Logs go to stderr, numbers to HTTP.
//!
//! Invariant: the exit code is 0 after a good end, 1 when the server could not run or was told twice to stop, 2 for
//! flags that make no sense.

mod flags;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use flags::{LogFormat, Options, effective};
use stentor::server::{Config, Server};

fn main() -> ExitCode {
    let options = Options::parse();
    log_to_stderr(&options);
    let is_check = options.check;
    let config = options.into_config();
    if let Err(wrong) = config.check() {
        complain(&wrong);
        return ExitCode::from(2);
    }
    if is_check {
        let printed = std::io::stdout().write_all(effective(&config).as_bytes());
        return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config) -> Result<(), stentor::server::Failure> {
    let server = Server::with_config(config).bind()?;
    // The one line that scripts wait for stands whatever is logged; a closed stderr harms nobody.
    let _ = writeln!(std::io::stderr(), "{}", server.summary());
    server.run()
}

fn complain(what: &str) {
    let _ = writeln!(std::io::stderr(), "error: {what}");
}

fn log_to_stderr(options: &Options) {
    let is_terminal = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let logs = tracing_subscriber::fmt()
        .with_max_level(options.log)
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => logs.with_target(false).init(),
        LogFormat::Json => logs.json().init(),
    }
}
