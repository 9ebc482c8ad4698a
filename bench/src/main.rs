//! The program `bench`: runs the experiments and prints their tables.
//!
//! `bench run` repeats the numbers of the project's documents. The hidden `bench serve` is the same program as
//! a server, so that floor and peers need no installation of their own.
//!
//! Invariants: tables and JSON go to stdout or the named file, progress to stderr; 0 every bar measured was
//! met, 1 the run itself failed, 3 a bar was missed.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use bench::bars::{self, Outcome};
use bench::driver::{Trust, raise_descriptor_limit};
use bench::experiment::{self, Plan, Question, Scale};
use bench::floor::{self, Departures};
use bench::peers;
use bench::server::{Contestant, Cores};
use bench::table::{self, Document, Environment};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measures stentor against a floor and its peers.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run experiments: all contestants in turn, a table at the end.
    Run(RunArgs),
    /// Draw the pictures of the studies from the data beside them.
    Plot {
        /// Which ones [default: all].
        #[arg(value_name = "NAME")]
        only: Vec<String>,
        /// Where the studies are: the data in `data/`, the pictures beside the pages.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/studies"), hide_default_value = true, value_name = "DIR")]
        studies: PathBuf,
    },
    /// Be a server of the comparison.
    #[command(hide = true)]
    Serve {
        /// Which one.
        peer: Peer,
        /// 0 takes a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Of a floor: pings everybody in each, as `9s`.
        #[arg(long, value_parser = seconds)]
        ping_interval: Option<Duration>,
    },
}

#[derive(Args)]
struct RunArgs {
    /// Questions to ask.
    #[arg(long, value_delimiter = ',', default_values_t = ["fanout", "echo", "handshake", "idle", "amid", "deflate", "flood", "parting", "stalled", "beside", "burst", "heartbeats", "socketio"].map(String::from), value_name = "LIST")]
    only: Vec<String>,
    /// Contestants; `floor-send` and `floor-batch` are what the bars are drawn against.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "floor-send,floor-batch,stentor,tungstenite,fastwebsockets,ws,socket.io",
        value_name = "LIST"
    )]
    servers: Vec<String>,
    /// One more contestant: listens on a free port of 127.0.0.1 and says `listening on ADDRESS:PORT` on stderr.
    #[arg(long, value_name = "NAME=COMMAND")]
    with: Vec<String>,
    /// How often everybody has their turn.
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// How long one measurement lasts.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Few connections, two short rounds: shows that everything runs, not how fast.
    #[arg(long)]
    quick: bool,
    /// Ask with this many connections instead of the documents' sizes.
    #[arg(long, conflicts_with = "quick", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(8..))]
    clients: Option<u32>,
    /// The program to judge [default: `stentor` beside this program].
    #[arg(long, value_name = "PATH")]
    stentor: Option<PathBuf>,
    /// Write everything as JSON; `-` is stdout.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Peer {
    FloorSend,
    FloorBatch,
    Tungstenite,
    Fastwebsockets,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Task::Run(args) => run(&args),
        Task::Plot { only, studies } => bench::plot::write(&studies, &only).map(|()| ExitCode::SUCCESS),
        Task::Serve { peer, port, ping_interval } => {
            serve(peer, port, ping_interval).map(|()| ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("bench: {error}");
        ExitCode::FAILURE
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').ok_or("seconds, as `9s`")?;
    number.parse().map(Duration::from_secs).map_err(|error| format!("{error}: seconds, as `9s`"))
}

fn serve(peer: Peer, port: u16, ping_interval: Option<Duration>) -> io::Result<()> {
    raise_descriptor_limit();
    // Whoever compares us is our parent; without it nobody would end us.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    match peer {
        Peer::FloorSend => floor::serve(Departures::Send, port, ping_interval).map(|never| match never {}),
        Peer::FloorBatch => floor::serve(Departures::Batch, port, ping_interval).map(|never| match never {}),
        Peer::Tungstenite => peers::tungstenite::serve(port),
        Peer::Fastwebsockets => peers::fastwebsockets::serve(port),
    }
}

fn run(args: &RunArgs) -> io::Result<ExitCode> {
    let plan = plan(args)?;
    let environment = Environment::find(plan.rounds, plan.duration.as_secs_f64());
    let findings = experiment::run(&plan, |finding| {
        let (round, rounds) = (finding.round + 1, plan.rounds);
        let result = match (finding.value, &finding.failure) {
            (Some(value), _) => format!("{value:.3} {}", finding.cell.question.unit()),
            (None, Some(failure)) => format!("failed: {failure}"),
            (None, None) => "nothing".to_owned(),
        };
        eprintln!(
            "{:?} {} · {round}/{rounds} · {}: {result}",
            finding.cell.question, finding.cell, finding.server
        );
    });
    let document = serde_json::to_vec_pretty(&Document::new(&findings, &environment))?;
    let mut stdout = io::stdout().lock();
    match &args.json {
        Some(path) if path == Path::new("-") => stdout.write_all(&document)?,
        Some(path) => fs::write(path, document)?,
        None => {}
    }
    if args.json.as_deref() != Some(Path::new("-")) {
        write!(stdout, "{}", table::markdown(&findings, &environment))?;
    }
    let missed = bars::judge(&findings).iter().any(|verdict| verdict.outcome == Outcome::Fail);
    Ok(ExitCode::from(if missed { 3 } else { 0 }))
}

/// Settles everything before the first server starts, and says what is left out and why.
fn plan(args: &RunArgs) -> io::Result<Plan> {
    let mut contestants = Vec::new();
    for name in &args.servers {
        match contestant(name, args) {
            Ok(contestant) => contestants.push(contestant),
            Err(error) => eprintln!("bench: {name} does not take part: {error}"),
        }
    }
    for with in &args.with {
        let (name, command) = with.split_once('=').ok_or_else(|| usage("--with takes NAME=COMMAND"))?;
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if command.is_empty() {
            return Err(usage("--with takes NAME=COMMAND"));
        }
        contestants.push(Contestant { name: name.to_owned(), command, trust: Trust::Nothing });
    }
    // Beside its connections a process needs a few descriptors of its own.
    let affordable = usize::try_from(raise_descriptor_limit()).unwrap_or(usize::MAX).saturating_sub(64);
    let scale = match args.clients {
        Some(clients) => Scale::Clients(clients as usize),
        None if args.quick => Scale::Quick,
        None => Scale::Full,
    };
    let mut sessions = Vec::new();
    for name in &args.only {
        let question = Question::from_str(name, true).map_err(usage)?;
        for session in experiment::sessions(question, scale) {
            if session.clients <= affordable {
                sessions.push(session);
            } else {
                eprintln!(
                    "bench: {question:?} with {} connections is left out: {affordable} at most",
                    session.clients
                );
            }
        }
    }
    let (rounds, seconds) = if args.quick { (args.rounds.min(2), 0.2) } else { (args.rounds, args.seconds) };
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| usage(error.to_string()))?;
    let cores = Cores::find();
    if cores.is_none() {
        eprintln!("bench: only one core: server and driver share it");
    }
    Ok(Plan { contestants, sessions, rounds, duration, cores })
}

fn usage(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}

fn contestant(name: &str, args: &RunArgs) -> io::Result<Contestant> {
    let ourselves = std::env::current_exe()?;
    let beside = ourselves.parent().expect("a program lies in a directory");
    let (command, trust) = match name {
        "stentor" => {
            let program = match &args.stentor {
                Some(program) => program.clone(),
                None => built_stentor(beside)?,
            };
            if !program.exists() {
                let hint = "build it (cargo build --release) or name it (--stentor PATH)";
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("no {}: {hint}", program.display()),
                ));
            }
            // Heartbeats off and queues deep: what is compared is the work, not the manners.
            let settings = [
                "--listen",
                "127.0.0.1:0",
                "--ping-interval",
                "0",
                "--queue-max",
                "64mi",
                "--message-max",
                "2mi",
            ];
            (words(&program, &settings), Trust::Nothing)
        }
        "ws" => {
            let files = [include_str!("peers/ws/package.json"), include_str!("peers/ws/server.mjs")];
            (node_peer(beside, "ws", files)?, Trust::Nothing)
        }
        bars::SOCKET_IO => {
            let files =
                [include_str!("peers/socketio/package.json"), include_str!("peers/socketio/server.mjs")];
            (node_peer(beside, "socket.io", files)?, Trust::Nothing)
        }
        floor if floor.starts_with("floor-") => (words(&ourselves, &["serve", floor]), Trust::Contents),
        peer => (words(&ourselves, &["serve", peer]), Trust::Nothing),
    };
    if command[0] == ourselves.to_string_lossy() && Peer::from_str(name, true).is_err() {
        return Err(usage("there is no such server (--with NAME=COMMAND adds one)"));
    }
    Ok(Contestant { name: name.to_owned(), command, trust })
}

/// The server beside this program. Under `cargo run` it is brought up to date first: a table about yesterday's
/// server helps nobody.
fn built_stentor(beside: &Path) -> io::Result<PathBuf> {
    if let Some(cargo) = std::env::var_os("CARGO") {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "stentor", "--manifest-path", manifest]);
        if beside.ends_with("release") {
            build.arg("--release");
        }
        let status = build.status()?;
        if !status.success() {
            return Err(io::Error::other(format!("cargo build: {status}")));
        }
    }
    Ok(beside.join("stentor"))
}

fn words(program: &Path, arguments: &[&str]) -> Vec<String> {
    let program = program.to_string_lossy().into_owned();
    std::iter::once(program).chain(arguments.iter().map(|&word| word.to_owned())).collect()
}

/// The command that runs a peer of Node. Lays its two files into the target directory and lets npm fetch the package by
/// name, once.
fn node_peer(beside: &Path, package: &str, [manifest, script]: [&str; 2]) -> io::Result<Vec<String>> {
    let directory = beside.parent().unwrap_or(beside).join("peers").join(package);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("server.mjs"), script)?;
    let command = words(Path::new("node"), &[&directory.join("server.mjs").to_string_lossy(), "0"]);
    let known = fs::read_to_string(directory.join("package.json")).is_ok_and(|known| known == manifest);
    if known && directory.join("node_modules").join(package).exists() {
        return Ok(command);
    }
    fs::write(directory.join("package.json"), manifest)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--silent"]).current_dir(&directory);
    let status = npm.status().map_err(|error| io::Error::new(error.kind(), format!("npm: {error}")))?;
    if status.success() { Ok(command) } else { Err(io::Error::other(format!("npm install: {status}"))) }
}
