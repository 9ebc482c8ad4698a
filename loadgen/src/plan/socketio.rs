//! What `--protocol socketio` asks for: where a client enters, which room it joins, what it calls its events.
//!
//! Why apart: these flags mean nothing elsewhere, and the sentences that refuse them stand together here.
//!
//! Invariants: namespace, room and event are short and hold no control character; bare Engine.IO, which has none of
//! them, is spoken in echoes only.

use super::decide::usage;
use super::{Protocol, Scenario, Target, UsageError};
use crate::cli::RunArgs;
use serde::{Deserialize, Serialize};

/// Bytes of a namespace, room or event.
const NAME_MAX: usize = 128;
/// Names that Socket.IO keeps for itself.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
/// The path of bare Engine.IO on a stentor.
const ENGINE_IO: &str = "/engine.io/";
/// The path of Socket.IO on any server.
const SOCKET_IO: &str = "/socket.io/";

/// How Socket.IO is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketIo {
    /// Where clients enter.
    pub namespace: String,
    /// The room that they join there.
    pub room: Option<String>,
    /// What a message is called.
    pub event: String,
    /// Engine.IO alone: an echo without namespaces and events.
    pub is_bare: bool,
}

/// What the flags say about it; completes the targets' paths.
pub(super) fn decide(args: &RunArgs, targets: &mut [Target]) -> Result<Option<SocketIo>, UsageError> {
    let given = [("--namespace", &args.namespace), ("--room", &args.room), ("--event", &args.event)];
    let named: Vec<_> = given.into_iter().filter_map(|(flag, text)| Some((flag, text.as_deref()?))).collect();
    if args.protocol == Protocol::Raw {
        return match named.first() {
            Some((flag, _)) => Err(UsageError(format!("{flag} belongs to --protocol socketio"))),
            None => Ok(None),
        };
    }
    match args.scenario {
        Scenario::Broadcast | Scenario::Echo | Scenario::Idle | Scenario::Connect => {}
        Scenario::Churn | Scenario::Storm | Scenario::Slow | Scenario::Chat => {
            return Err(UsageError(format!(
                "--protocol socketio is for broadcast, echo, idle and connect, not for `{}`",
                args.scenario
            )));
        }
    }
    for (flag, text) in &named {
        check_name(flag, text)?;
    }
    for target in &mut *targets {
        target.speak_engine_io(default_path(args.scenario));
    }
    let bare = targets.iter().filter(|target| target.path.starts_with("/engine.io")).count();
    let is_bare = args.scenario == Scenario::Echo && bare == targets.len();
    if args.scenario == Scenario::Echo && bare > 0 && !is_bare {
        return Err(usage(
            "some targets are echoes of bare Engine.IO, others of Socket.IO: measure them apart",
        ));
    }
    if let (true, Some((flag, _))) = (is_bare, named.first()) {
        return Err(UsageError(format!(
            "{flag} is for Socket.IO, and echoes go to bare Engine.IO unless the URL says otherwise; \
             ws://HOST/socket.io/ would work, if that server answers events"
        )));
    }
    Ok(Some(SocketIo {
        namespace: args.namespace.clone().unwrap_or_else(|| "/".to_owned()),
        room: args.room.clone(),
        event: args.event.clone().unwrap_or_else(|| "message".to_owned()),
        is_bare,
    }))
}

/// Where it is spoken when the URL names no path: only Engine.IO sends back what it is told.
pub(super) const fn default_path(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Echo => ENGINE_IO,
        Scenario::Broadcast
        | Scenario::Idle
        | Scenario::Connect
        | Scenario::Churn
        | Scenario::Storm
        | Scenario::Slow
        | Scenario::Chat => SOCKET_IO,
    }
}

fn check_name(flag: &str, text: &str) -> Result<(), UsageError> {
    if text.is_empty() || text.len() > NAME_MAX || text.contains(char::is_control) {
        return Err(UsageError(format!("{flag} is 1 to {NAME_MAX} bytes without control characters")));
    }
    if flag == "--namespace" && (!text.starts_with('/') || text.contains([',', '?'])) {
        return Err(UsageError(format!(
            "--namespace `{}` must begin with / and hold neither , nor ?",
            text.escape_debug()
        )));
    }
    if flag == "--event" && RESERVED.contains(&text) {
        return Err(UsageError(format!(
            "--event `{text}` is a name that Socket.IO keeps for itself; message would work"
        )));
    }
    Ok(())
}
