//! `smallbrain device add`: who may connect over MQTT, with a password that is shown once; `--from-pending` leads to
//! [`super::onboard`].
//!
//! Guarantees: what is written or printed with `--config` makes a configuration that is taken; a file is touched only
//! where `--write` names one that is read, and never gets the password itself.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args as Arguments, Subcommand};

use super::onboard::FromPending;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::device::mqtt::auth;
use crate::model::DeviceId;

/// Examples of `device`.
pub(super) const HELP: &str = "\
Examples:
  smallbrain device add door-1
      a password, and the lines for the configuration
  smallbrain device add door-1 --config /etc/smallbrain/config.toml --write /etc/smallbrain/conf.d/devices.toml
      the same, checked and appended; the daemon takes it within seconds
  smallbrain device add zigbee --publish 'zigbee2mqtt/#' --subscribe 'zigbee2mqtt/+/set' --devices 'leak-*,smoke-*'
      a gateway that speaks for several devices
  smallbrain device add door-1 --certificate door-1.compound.example
      no password: a client certificate with that name, signed by client_ca of [mqtt.tls]
  smallbrain device add --from-pending hall/door --id door-9 --write /etc/smallbrain/conf.d/door-9.toml
      the lines for a device that `smallbrain devices pending` shows";

/// Arguments of `device`.
#[derive(Debug, Arguments)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Makes a password, and prints or writes the lines for the configuration
    #[command(after_help = HELP)]
    Add(Add),
}

#[derive(Debug, Arguments)]
struct Add {
    /// The name of the user: that of the device, or of a gateway of several
    #[arg(required_unless_present = "from_pending", conflicts_with = "from_pending")]
    device: Option<DeviceId>,
    #[command(flatten)]
    pending: FromPending,
    /// The configuration that is to take it: what is wrong with it is told, and nothing printed
    #[arg(long)]
    config: Option<PathBuf>,
    /// Append the lines to this file of the configuration, new or old; with --from-pending a new file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Instead of a password: a name (CN, DNS or URI) in its client certificate
    #[arg(long, value_name = "NAME")]
    certificate: Option<String>,
    /// The devices it speaks for, "*" for any part [default: the one of its name]
    #[arg(long, value_delimiter = ',')]
    devices: Vec<String>,
    /// Topic filter where it publishes; may be repeated [default: the topics of its devices]
    #[arg(long, value_name = "FILTER")]
    publish: Vec<String>,
    /// Topic filter that it may subscribe to; may be repeated [default: the commands of its devices]
    #[arg(long, value_name = "FILTER")]
    subscribe: Vec<String>,
}

impl Args {
    /// The unknown device that is to be taken in, if it is about one, and the file that its lines are for.
    #[must_use]
    pub fn from_pending(&self) -> Option<(&FromPending, &str, Option<&Path>)> {
        let What::Add(Add { pending, write, .. }) = &self.what;
        Some((pending, pending.from_pending.as_deref()?, write.as_deref()))
    }
}

/// Prints a `[[mqtt.user]]` stanza, or appends it to a file; the password itself is only ever printed.
///
/// # Errors
/// A configuration that has the user already or does not take it, no random numbers, or no output.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let What::Add(add) = &args.what;
    let Some(device) = &add.device else { return Ok(()) };
    if add.write.is_some() && add.config.is_none() {
        bail!("--write: say with --config which configuration reads that file");
    }
    let by_password = add.certificate.is_none();
    if let Some(config) = &add.config {
        add.check(device, config, &add.stanza(device, by_password.then_some(auth::NOBODY)))?;
    }
    let secret = by_password.then(auth::generate).transpose()?;
    let stanza = add.stanza(device, secret.as_ref().map(|(_, hash)| hash.as_str()));
    if let Some(file) = &add.write {
        append(file, &stanza).with_context(|| format!("{}: nothing was added", file.display()))?;
        writeln!(out, "{device} was added to {}", file.display())?;
        if let Some((password, _)) = &secret {
            writeln!(out, "password of {device}: {password} (shown once: put it into the device)")?;
        }
        return Ok(());
    }
    if let Some((password, _)) = &secret {
        writeln!(
            out,
            "# password of {device}: {password} (shown once: put it into the device, then delete this line)"
        )?;
    }
    write!(out, "{stanza}")?;
    Ok(())
}

impl Add {
    fn stanza(&self, device: &DeviceId, password_hash: Option<&str>) -> String {
        let mut stanza = format!("[[mqtt.user]]\nname = {}\n", text(device.as_str()));
        for (key, value) in [("password_hash", password_hash), ("certificate", self.certificate.as_deref())] {
            if let Some(value) = value {
                stanza += &format!("{key} = {}\n", text(value));
            }
        }
        for (key, values) in
            [("devices", &self.devices), ("publish", &self.publish), ("subscribe", &self.subscribe)]
        {
            if !values.is_empty() {
                let values: Vec<_> = values.iter().map(|value| text(value)).collect();
                stanza += &format!("{key} = [{}]\n", values.join(", "));
            }
        }
        stanza
    }

    /// Whether a configuration would take it.
    fn check(&self, device: &DeviceId, config: &Path, stanza: &str) -> anyhow::Result<()> {
        let (shown, name) = (config.display(), device.as_str());
        let now_ms = SystemClock::default().now().wall_ms;
        let before = Config::load(config, now_ms, None).map_err(|faults| {
            anyhow::anyhow!("{}; `smallbrain check --config {shown}` names all faults", faults.summary())
        })?;
        if before.mqtt.is_some_and(|mqtt| mqtt.access.users.contains_key(name)) {
            bail!("user {name} is in {shown} already: for a new password, take its [[mqtt.user]] out first");
        }
        let file = self.write.as_deref().unwrap_or(config);
        let after = Config::with(config, now_ms, file, &format!("\n{stanza}"))
            .map_err(|faults| anyhow::anyhow!("{shown} would not be taken any more:\n{faults}"))?;
        let user = after.mqtt.and_then(|mqtt| mqtt.access.users.get(name).cloned());
        if user.is_none_or(|user| user.rights.publish.is_empty() && user.rights.subscribe.is_empty()) {
            bail!(
                "user {name} could do nothing: {shown} has no [[device]] {name}; add one, or say --devices or --publish"
            );
        }
        Ok(())
    }
}

/// As TOML has it.
fn text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// One write, so that whoever watches the file sees all of it or nothing.
fn append(file: &Path, stanza: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(file)?;
    file.write_all(format!("\n{stanza}").as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn say(words: &[&str]) -> Result<String, String> {
        let line = Line::try_parse_from(["device"].iter().chain(words)).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        run(&line.args, &mut out).map_err(|error| format!("{error:#}"))?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    /// The example's configuration without users, and a directory that it includes.
    fn site() -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("gw.toml");
        let example = include_str!("../../config.example.toml");
        std::fs::write(&path, example.replacen("anonymous = true", "anonymous = false", 1)).expect("a file");
        std::fs::create_dir(dir.path().join("conf.d")).expect("a directory");
        (dir, path.display().to_string())
    }

    #[test]
    fn prints_what_the_configuration_needs() {
        let (_dir, config) = site();
        for (words, lines) in [
            (&["add", "door-1"][..], "password_hash = \"$argon2id$"),
            (&["add", "门-1", "--certificate", "a\"b"], "name = \"门-1\"\ncertificate = 'a\"b'\n"),
            (
                &[
                    "add",
                    "z",
                    "--config",
                    &config,
                    "--devices",
                    "door-*,smoke-1",
                    "--publish",
                    "z/#",
                    "--publish",
                    "y",
                ],
                "devices = [\"door-*\", \"smoke-1\"]\npublish = [\"z/#\", \"y\"]\n",
            ),
        ] {
            let said = say(words).expect("a stanza");
            assert!(said.contains(lines), "{said}");
            assert!(said.parse::<toml::Table>().is_ok_and(|table| table["mqtt"]["user"][0]["name"].is_str()));
            assert_eq!(said.contains("# password of"), !words.contains(&"--certificate"));
        }
    }

    #[test]
    fn writes_only_where_it_is_read_and_never_the_password() {
        let (dir, config) = site();
        let file = dir.path().join("conf.d/devices.toml").display().to_string();
        let said = say(&["add", "door-1", "--config", &config, "--write", &file]).expect("written");
        let password = said.split_once("password of door-1: ").and_then(|(_, rest)| rest.split(' ').next());
        let said = say(&["add", "door-2", "--config", &config, "--write", &file]).expect("appended");
        assert!(said.starts_with(&format!("door-2 was added to {file}\n")), "{said}");
        let written = std::fs::read_to_string(&file).expect("a file");
        assert!(!written.contains(password.expect("a password")), "{written}");
        let loaded = Config::load(Path::new(&config), 1_795_190_400_000, None).expect("it is taken");
        assert_eq!(loaded.mqtt.map(|mqtt| mqtt.access.users.len()), Some(2));

        let elsewhere = |name: &str| dir.path().join(name).display().to_string();
        for (words, why) in [
            (&["add", "door-1", "--config", &config][..], "user door-1 is in "),
            (&["add", "door-9", "--config", &config], "has no [[device]] door-9; add one"),
            (&["add", "z", "--config", &config, "--devices", "door-9"], "unknown device \"door-9\""),
            (&["add", "z", "--config", &config, "--publish", "a/#/b"], "topic filter \"a/#/b\""),
            (&["add", "z", "--config", &config, "--certificate", "z"], "nobody is asked for a certificate"),
            (
                &["add", "smoke-1", "--config", &config, "--write", &elsewhere("other.toml")],
                "no include reads ",
            ),
            (
                &["add", "smoke-1", "--config", &config, "--write", &elsewhere("conf.d/.x.toml")],
                "no include reads ",
            ),
            (&["add", "smoke-1", "--config", &elsewhere("none.toml")], "`smallbrain check --config "),
            (&["add", "smoke-1", "--write", &file], "--config"),
            (&["add", "a b"], "device id"),
        ] {
            let told = say(words).expect_err("refused");
            assert!(told.contains(why), "{told}, not {why}");
        }
        assert_eq!(std::fs::read_to_string(&file).expect("a file"), written, "nothing else was written");
        assert!(!dir.path().join("other.toml").exists());
    }
}
