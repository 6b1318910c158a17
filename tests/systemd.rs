//! The files of `systemd/` fit together and keep what they promise. Where `systemd-analyze` is missing its judgement is
//! left out, loudly; the files' own text is checked on any machine.

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

type Outcome = Result<(), Box<dyn Error>>;

/// What `systemd-analyze security` may say at most; an empty unit has 9.6.
const EXPOSURE_MAX: f64 = 2.0;

fn text(name: &str) -> Result<String, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Lines that say something, without comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
}

/// All values of a key, in order.
fn values<'t>(unit: &'t str, key: &str) -> Vec<&'t str> {
    lines(unit)
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| *name == key)
        .map(|(_, v)| v)
        .collect()
}

#[test]
fn the_unit_says_what_it_must() -> Outcome {
    let unit = text("smallbrain.service")?;
    let wanted: &[(&str, &[&str])] = &[
        ("Type", &["notify"]),
        ("NotifyAccess", &["main"]),
        ("ExecStart", &["/usr/bin/smallbrain run --config /etc/smallbrain/config.toml"]),
        ("WatchdogSec", &["30s"]),
        // Unplugging an adapter or any other quiet end must not be the end; a bad configuration must.
        ("Restart", &["always"]),
        ("RestartPreventExitStatus", &["78"]),
        ("User", &["smallbrain"]),
        ("Group", &["smallbrain"]),
        ("SupplementaryGroups", &["dialout"]),
        ("UMask", &["0077"]),
        ("StateDirectory", &["smallbrain"]),
        ("StateDirectoryMode", &["0700"]),
        ("ConfigurationDirectory", &["smallbrain"]),
        ("ConfigurationDirectoryMode", &["0750"]),
        ("DevicePolicy", &["closed"]),
        ("DeviceAllow", &["char-ttyUSB rw", "char-ttyACM rw", "char-ttyAMA rw", "char-ttyS rw"]),
        ("NoNewPrivileges", &["yes"]),
        ("CapabilityBoundingSet", &[""]),
        ("AmbientCapabilities", &[""]),
        ("ProtectSystem", &["strict"]),
        ("ProtectHome", &["yes"]),
        ("PrivateUsers", &["yes"]),
        ("RestrictNamespaces", &["yes"]),
        ("MemoryDenyWriteExecute", &["yes"]),
        ("RestrictAddressFamilies", &["AF_INET AF_INET6 AF_UNIX"]),
        ("SystemCallFilter", &["@system-service", "~@privileged @resources"]),
        // Without it a filtered call is SIGSYS.
        ("SystemCallErrorNumber", &["EPERM"]),
        // It would hide /proc/sys/kernel/random/boot_id.
        ("ProcSubset", &[]),
        ("WantedBy", &["multi-user.target"]),
    ];
    for (key, expected) in wanted {
        assert_eq!(values(&unit, key), *expected, "{key}");
    }
    // What the daemon may take to store everything is not cut short.
    let stop: u64 = values(&unit, "TimeoutStopSec").concat().trim_end_matches('s').parse()?;
    assert!(stop > smallbrain::daemon::STOP_MAX.as_secs(), "TimeoutStopSec {stop}");
    let descriptors: u32 = values(&unit, "LimitNOFILE").concat().parse()?;
    assert!(
        descriptors > 1_024 + 256,
        "a thousand devices, the store and the city need more than {descriptors}"
    );
    Ok(())
}

#[test]
fn the_other_files_are_about_the_same_service() -> Outcome {
    let unit = text("smallbrain.service")?;
    let words = |file: &str| -> Result<Vec<Vec<String>>, Box<dyn Error>> {
        Ok(lines(&text(file)?).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect())
    };
    let has = |file: &str, expected: &[&str]| -> Outcome {
        let found = words(file)?
            .iter()
            .any(|line| line.iter().zip(expected).filter(|(a, b)| a == b).count() == expected.len());
        assert!(found, "{file}: no line {expected:?}");
        Ok(())
    };

    let (user, group) = (values(&unit, "User").concat(), values(&unit, "SupplementaryGroups").concat());
    has("smallbrain.sysusers", &["u", &user])?;
    has("smallbrain.sysusers", &["g", &group])?;
    has("smallbrain.sysusers", &["m", &user, &group])?;

    let (state, configuration) =
        (values(&unit, "StateDirectory").concat(), values(&unit, "ConfigurationDirectory").concat());
    has("smallbrain.tmpfiles", &["d", &format!("/var/lib/{state}"), "0700", &user, &user])?;
    has("smallbrain.tmpfiles", &["d", &format!("/etc/{configuration}"), "0750", "root", &user])?;

    // Majors that are allowed at the start exist only if their drivers are there.
    for (class, driver) in [("char-ttyUSB rw", "usbserial"), ("char-ttyACM rw", "cdc_acm")] {
        assert!(values(&unit, "DeviceAllow").contains(&class), "{class}");
        has("smallbrain.modules-load.conf", &[driver])?;
    }
    assert!(values(&unit, "After").concat().contains("systemd-modules-load.service"));
    has("smallbrain.preset", &["enable", "smallbrain.service"])
}

/// Runs `systemd-analyze` on a copy of the unit whose program exists; `None` where there is no `systemd-analyze`.
fn analyze(arguments: &[&str]) -> Result<Option<Output>, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let program = dir.path().join("smallbrain");
    fs::write(&program, "#!/bin/sh\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let unit = text("smallbrain.service")?;
    let copy = unit.replace("ExecStart=/usr/bin/smallbrain", &format!("ExecStart={}", program.display()));
    assert_ne!(copy, unit, "the unit starts /usr/bin/smallbrain");
    let path = dir.path().join("smallbrain.service");
    fs::write(&path, copy)?;
    let run = Command::new("systemd-analyze").args(arguments).arg(&path).env("LC_ALL", "C.UTF-8").output();
    match run {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Not eprintln!, which a passing test swallows.
            writeln!(
                io::stderr(),
                "!!! systemd-analyze is not installed: {arguments:?} was NOT judged, only the text was checked"
            )?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

#[test]
fn systemd_finds_nothing_wrong() -> Outcome {
    let Some(output) = analyze(&["verify", "--man=no"])? else { return Ok(()) };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("smallbrain.service:"), "{said}");
    Ok(())
}

#[test]
fn the_exposure_stays_low() -> Outcome {
    let threshold = format!("--threshold={}", (EXPOSURE_MAX * 10.0) as u32);
    let Some(output) = analyze(&["security", "--offline=yes", "--no-pager", &threshold])? else {
        return Ok(());
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let level = said.split_once("Overall exposure level for ").and_then(|(_, rest)| rest.split_once(": "));
    let level: f64 =
        level.and_then(|(_, rest)| rest.split(' ').next()).ok_or("no exposure level")?.parse()?;
    assert!(level > 0.0 && level <= EXPOSURE_MAX, "exposure {level}");
    Ok(())
}
