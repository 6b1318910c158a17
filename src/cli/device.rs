//! `smallbrain device add`: credentials for an MQTT device, shown once; `--from-pending` leads to [`super::onboard`].

use std::io::Write;

use clap::{Args as Arguments, Subcommand};

use super::onboard::FromPending;
use crate::device::mqtt::auth;
use crate::model::DeviceId;

/// Arguments of `device`.
#[derive(Debug, Arguments)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "\
Examples:
  smallbrain device add door-1 >> /etc/smallbrain/conf.d/devices.toml
  smallbrain device add --from-pending hall/door --id door-9 --write /etc/smallbrain/conf.d/door-9.toml";

#[derive(Debug, Subcommand)]
enum What {
    /// Makes a password, and prints the lines for the configuration
    #[command(after_help = EXAMPLES)]
    Add {
        /// The device, which is also its user name
        #[arg(required_unless_present = "from_pending", conflicts_with = "from_pending")]
        device: Option<DeviceId>,
        #[command(flatten)]
        pending: FromPending,
    },
}

impl Args {
    /// The unknown device that is to be taken in, if it is about one.
    #[must_use]
    pub fn from_pending(&self) -> Option<(&FromPending, &str)> {
        let What::Add { pending, .. } = &self.what;
        Some((pending, pending.from_pending.as_deref()?))
    }
}

/// Prints a `[[mqtt.user]]` stanza; the password itself stands only in a comment, to be taken out.
///
/// # Errors
/// No random numbers, or no output.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let What::Add { device: Some(device), .. } = &args.what else { return Ok(()) };
    let (password, hash) = auth::generate()?;
    writeln!(
        out,
        "# password of {device}: {password} (shown once: put it into the device, then delete this line)"
    )?;
    writeln!(out, "[[mqtt.user]]\nname = \"{device}\"\npassword_hash = \"{hash}\"")?;
    Ok(())
}
