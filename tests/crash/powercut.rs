//! A power cut: ext4 on a loop device, and the ioctl that makes everything gone that was not yet synced, under a live
//! process. Journal commits are five minutes apart, so what is on the medium is what somebody asked to be there.
//!
//! An fsync that is under way at the cut may still be told as done: what is acknowledged after it does not count.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use super::gateway::until;

/// `FS_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH` (Linux fs/ext4/ext4.h), for each mount point on stdin. Safe
/// Rust has no way to it; open the file late, or it would hold the mount.
const CUT: &str = r#"
import fcntl, os, struct, sys
for line in sys.stdin:
    mount = os.open(line.rstrip("\n"), os.O_RDONLY)
    fcntl.ioctl(mount, 0x8004587D, struct.pack("I", 2))
    os.close(mount)
    print("cut", flush=True)
"#;

/// A file system whose power can be cut. Takes its mount with it when it is dropped.
pub(crate) struct Rig {
    dir: TempDir,
    mounted: bool,
    cuts: u32,
    cutter: Child,
    answers: BufReader<ChildStdout>,
}

impl Rig {
    /// Makes one.
    ///
    /// # Errors
    /// What this machine lacks for it.
    pub(crate) fn new() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount".into());
        }
        // In memory a cut takes a tenth of the time.
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let dir =
            tempfile::Builder::new().prefix("powercut").tempdir_in(parent).map_err(|e| e.to_string())?;
        let image = std::fs::File::create(dir.path().join("image")).map_err(|e| e.to_string())?;
        image.set_len(512 << 20).map_err(|e| e.to_string())?;
        std::fs::create_dir(dir.path().join("mount")).map_err(|e| e.to_string())?;
        let mut cutter = Command::new("python3")
            .args(["-u", "-c", CUT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        let answers = BufReader::new(cutter.stdout.take().ok_or("no pipe")?);
        let mut rig = Self { dir, mounted: false, cuts: 0, cutter, answers };
        let image = rig.dir.path().join("image").display().to_string();
        command("mkfs.ext4", &["-q", "-F", &image])?;
        rig.mount()?;
        rig.proof()?;
        Ok(rig)
    }

    /// Where it is mounted.
    pub(crate) fn mount_point(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// A machine on which nothing is lost proves nothing.
    fn proof(&mut self) -> Result<(), String> {
        let synced = self.mount_point().join("synced");
        let write = || {
            let mut file = std::fs::File::create(&synced)?;
            file.write_all(b"here to stay")?;
            file.sync_all()
        };
        write().map_err(|error| format!("{}: {error}", synced.display()))?;
        self.cut()?;
        self.power()?;
        match std::fs::read(&synced) {
            Ok(bytes) if bytes == b"here to stay" => Ok(()),
            other => Err(format!("a synced file did not survive the cut: {other:?}")),
        }
    }

    /// The power is gone: what is not synced never will be. Proves it with a file of its own.
    pub(crate) fn cut(&mut self) -> Result<(), String> {
        std::fs::write(self.mount_point().join("unsynced"), [7; 4096])
            .map_err(|e| format!("unsynced: {e}"))?;
        let line = format!("{}\n", self.mount_point().display());
        let told = self.cutter.stdin.as_mut().map(|stdin| stdin.write_all(line.as_bytes()));
        told.ok_or("no pipe")?.map_err(|error| error.to_string())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(|error| error.to_string())?;
        if answer == "cut\n" { Ok(()) } else { Err("the ioctl FS_IOC_SHUTDOWN is refused".into()) }
    }

    /// The power is back. Everything that had files there must have ended.
    pub(crate) fn power(&mut self) -> Result<(), String> {
        let mount = self.mount_point().display().to_string();
        // A process that has just died lets go of its files a little later.
        until("the file system is let go", || command("umount", &[&mount]).is_ok());
        self.mounted = false;
        self.mount()?;
        let unsynced = std::fs::read(self.unsynced()).unwrap_or_default();
        if unsynced.contains(&7) { Err("what was not synced survived the cut".into()) } else { Ok(()) }
    }

    /// Another file for each cut: ext4 allocates at once what replaces a file.
    fn unsynced(&self) -> PathBuf {
        self.mount_point().join(format!("unsynced-{}", self.cuts))
    }

    /// The loop device goes with the mount.
    fn mount(&mut self) -> Result<(), String> {
        let [image, mount] = ["image", "mount"].map(|name| self.dir.path().join(name).display().to_string());
        command("mount", &["-t", "ext4", "-o", "loop,commit=300", &image, &mount])?;
        self.mounted = true;
        Ok(())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.cutter.kill();
        let _ = self.cutter.wait();
        let mount = self.mount_point().display().to_string();
        if self.mounted && command("umount", &[&mount]).is_err() {
            let _ = command("umount", &["--lazy", &mount]);
        }
    }
}

fn command(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
