//! `smallbrain send`: one command to MQTT devices, through the running daemon.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::bus::{Lang, SOCKET, channel};
use crate::config::duration;
use crate::wire::bus as wire;
use crate::wire::bus::command_service_client::CommandServiceClient;

/// Arguments of `send`.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// Where the device listens
    pub topic: String,
    /// What it is told
    pub payload: String,
    /// After so long a sleeping device does not get it any more: "30s", "10m" [default: never]
    #[arg(long, value_parser = duration)]
    pub expires: Option<Duration>,
    /// The daemon's socket
    #[arg(long, default_value = SOCKET)]
    pub socket: PathBuf,
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh)]
    pub lang: Lang,
}

/// Shown below `send --help`.
pub const HELP: &str = "\
Examples:
  smallbrain send zigbee2mqtt/siren/set '{\"warning\":{\"mode\":\"burglar\"}}' --expires 30s
  smallbrain send compound/valve-2/down close

Published at QoS 1. A device whose session is kept gets it when it wakes up, a restart of the gateway between or not. Exit
code 1 when nobody has subscribed to the topic.";

/// Sends once.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    match send(args, out).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody left to tell.
            let _ = writeln!(std::io::stderr(), "smallbrain send: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn send(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let Args { topic, payload, expires, socket, lang } = args.clone();
    let channel = channel(&socket).await.map_err(|cause| {
        anyhow::anyhow!("no daemon on {}: {cause}; --socket says where it listens", socket.display())
    })?;
    let expires = expires.map(prost_types::Duration::try_from).transpose()?;
    let request = wire::SendRequest { topic, payload: payload.into_bytes(), expires };
    let sent = CommandServiceClient::new(channel).send(request).await;
    let clients = sent.map_err(|status| anyhow::anyhow!("{}", status.message()))?.into_inner().clients;
    match lang {
        Lang::Zh => writeln!(out, "已交给 {clients} 个客户端 (离线的等它上线)")?,
        Lang::En => writeln!(out, "given to {clients} clients; one that sleeps gets it when it wakes up")?,
    }
    Ok(out.flush()?)
}
