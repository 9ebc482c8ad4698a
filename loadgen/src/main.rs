//! The program `loadgen`: flags in, exit code out.
//!
//! Why so little: everything that can be tested is in the library; here a tool is only chosen.
//!
//! Invariant: what is not built is refused by name, with the exit code of wrong usage.

use clap::Parser;
use loadgen::cli::{Cli, Tool};
use loadgen::{doctor, fleet, report, run, selftest};
use std::io::IsTerminal;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.tool {
        None => run::run(&cli.run),
        Some(Tool::Doctor) => {
            let findings = doctor::examine();
            let colour = report::text::wants_colour(std::io::stdout().is_terminal());
            if report::outputs::to_stdout(doctor::render(&findings, colour).as_bytes()).is_err() {
                return ExitCode::from(run::EXIT_FAILED);
            }
            match doctor::worst(&findings) {
                doctor::Health::Ok | doctor::Health::Warn => ExitCode::SUCCESS,
                doctor::Health::Bad => ExitCode::from(run::EXIT_PREFLIGHT),
            }
        }
        Some(Tool::Selftest) => match selftest::run(&run::measure_plan, &mut std::io::stdout()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) | Err(_) => ExitCode::from(run::EXIT_FAILED),
        },
        Some(Tool::Sweep(_)) => not_built("sweep"),
        Some(Tool::Search(_)) => not_built("search"),
        Some(Tool::Ab(_)) => not_built("ab"),
        Some(Tool::Compare(_)) => not_built("compare"),
        Some(Tool::Merge(_)) => not_built("merge"),
        Some(Tool::Report(_)) => not_built("report"),
        Some(Tool::Shard) => fleet::shard(),
        Some(Tool::Server { listen, message_max, deflate, workers }) => {
            serve(listen, message_max, deflate, workers)
        }
    }
}

fn not_built(tool: &str) -> ExitCode {
    eprintln!("error: the tool `{tool}` is not built yet; built are doctor and selftest");
    ExitCode::from(run::EXIT_USAGE)
}

#[cfg(feature = "embedded")]
fn serve(listen: std::net::SocketAddr, message_max: u64, deflate: bool, workers: u32) -> ExitCode {
    loadgen::embedded::serve(listen, message_max, deflate, workers)
}

#[cfg(not(feature = "embedded"))]
fn serve(_listen: std::net::SocketAddr, _message_max: u64, _deflate: bool, _workers: u32) -> ExitCode {
    eprintln!("error: this loadgen was built without a server (feature `embedded`)");
    ExitCode::from(run::EXIT_USAGE)
}
