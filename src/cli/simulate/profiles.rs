//! `simulate profile`: its arguments, and what is printed when the devices have said what they had to say.

use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap::builder::PossibleValuesParser;
use tokio_util::sync::CancellationToken;

use super::{Target, positive};
use crate::simulate::mqtt::{self, Convention};

pub(super) const EXAMPLES: &str = "\
Examples:
  smallbrain simulate profile zigbee2mqtt --server 127.0.0.1:1883 --devices 5 --seconds 10
      one bridge with five devices, and what each of them has said as text
  smallbrain simulate profile sparkplug_b --vanish --seconds 10 --json
      a node that vanishes after ten seconds, so that the server publishes its NDEATH
  smallbrain simulate profile tasmota --user '{device}' --password-file devices.key --seconds 10
      each device as a user of its own

zigbee2mqtt, chirpstack_v4, sparkplug_b, neuron_values, neuron_tags and thingsboard_gateway are one connection for all
devices, called zigbee2mqtt, chirpstack, node-1, neuron, neuron and tb-gateway; of the others each device has its own, called
tasmota-1, shelly1-1, and so on. Times without a zone are those of UTC+8. People are made up, and listed at the end. A message
counts when it is acknowledged; what is lost with a connection is counted as not acked, and not said again.";

/// Arguments of `simulate profile`.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// The mapping profile whose convention is spoken
    #[arg(value_parser = PossibleValuesParser::new(Convention::all().iter().map(Convention::name)))]
    profile: String,
    #[command(flatten)]
    target: Target,
    /// Devices
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    devices: u16,
    /// Seconds between two rounds of messages of a device
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    period: f64,
    /// The same seed says the same things
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End without a goodbye, so that the server publishes the wills
    #[arg(long)]
    vanish: bool,
}

impl ProfileArgs {
    /// Speaks to the end and prints what was said.
    pub(super) async fn run(self, out: &mut impl Write, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(convention) = Convention::find(&self.profile) else {
            bail!("there is no profile {:?}; --help lists them", self.profile);
        };
        let server = &self.target.server;
        let (host, port) = self.target.address()?;
        let settings = mqtt::Settings {
            host,
            port,
            user: self.target.user()?,
            devices: self.devices,
            period: Duration::from_secs_f64(self.period),
            seed: self.seed,
            vanish: self.vanish,
            ..mqtt::Settings::new(convention)
        };
        let (report, ()) = tokio::join!(mqtt::run(settings, stop.clone()), self.target.end(&stop));
        if self.target.json {
            writeln!(out, "{}", serde_json::to_string(&report)?)?;
        } else {
            writeln!(out, "{report}")?;
        }
        let trouble = report.trouble.as_deref().unwrap_or("no answer in time");
        if report.messages == 0 {
            bail!("{server} acknowledged nothing: {trouble}");
        }
        if report.unacked > 0 {
            bail!("{server} did not acknowledge {} messages: {trouble}", report.unacked);
        }
        Ok(())
    }
}
