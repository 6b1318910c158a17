//! Unknown devices: `smallbrain devices pending` shows them, `smallbrain device add --from-pending` writes the lines of the
//! configuration that would take one in.

pub mod stanza;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use tonic::Status;

use super::bus::{Lang, SOCKET, channel};
use crate::model::DeviceId;
use crate::share::client::PullError;
use crate::wire::bus::{
    ListPendingRequest, ListPendingResponse, PendingDevice, onboard_service_client::OnboardServiceClient,
};
use crate::wire::event_time;
use stanza::StanzaError;

/// Longest answer, bytes: 256 devices and the names of the largest configuration.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Why nothing is shown or written.
#[derive(Debug, thiserror::Error)]
pub enum OnboardError {
    /// Nobody answers.
    #[error("the daemon does not answer ({cause}); is it running, and does it listen on {socket}?")]
    NoDaemon {
        /** Where. */
        socket: PathBuf,
        /** By the connection. */
        cause: PullError,
    },
    /// It says no.
    #[error("{}", .0.message())]
    Refused(Box<Status>),
    /// Nobody of that name.
    #[error("no pending device {0:?}: `smallbrain devices pending` lists those that were heard")]
    Unknown(String),
    /// Several of that name.
    #[error("pending device {name:?} is told by several users: say which with --user, one of {users}")]
    Several {
        /** As asked for. */
        name: String,
        /** Who tells it. */
        users: String,
    },
    /// No lines.
    #[error(transparent)]
    Stanza(#[from] StanzaError),
    /// The file.
    #[error("file {0}: {1}")]
    File(PathBuf, io::Error),
    /// The output.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

/// Arguments of `device add` that take a pending device.
#[derive(clap::Args, Clone, Debug)]
pub struct FromPending {
    /// Write the lines for an unknown device that the running daemon hears, by the name `devices pending` shows
    #[arg(long, value_name = "NAME")]
    pub from_pending: Option<String>,
    /// Its id in the configuration [default: made from its name]
    #[arg(long, conflicts_with = "device")]
    pub id: Option<DeviceId>,
    /// Whose, when several users tell of a device of this name
    #[arg(long, conflicts_with = "device")]
    pub user: Option<String>,
    /// The daemon's socket
    #[arg(long, default_value = SOCKET)]
    pub socket: PathBuf,
}

/// Asks the daemon for an unknown device and writes its lines, into a new file where one is named. Exit code 0, or 1 when
/// there are none.
pub async fn add(args: &FromPending, name: &str, write: Option<&Path>, out: &mut dyn Write) -> ExitCode {
    done(written(args, name, write, out).await, "device add")
}

/// Shows all unknown devices.
pub async fn pending(socket: &Path, as_json: bool, lang: Lang, out: &mut dyn Write) -> ExitCode {
    let shown = async {
        let answer = ask(socket).await?;
        let told =
            if as_json { writeln!(out, "{}", listing(&answer)) } else { write_list(out, &answer, lang) };
        Ok(told.and_then(|()| out.flush())?)
    };
    done(shown.await, "devices pending")
}

fn done(result: Result<(), OnboardError>, verb: &str) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `| head`.
        Err(OnboardError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody left to tell.
            let _ = writeln!(io::stderr(), "smallbrain {verb}: {error}");
            ExitCode::from(1)
        }
    }
}

async fn ask(socket: &Path) -> Result<ListPendingResponse, OnboardError> {
    let no_daemon = |cause| OnboardError::NoDaemon { socket: socket.to_owned(), cause };
    let channel = channel(socket).await.map_err(no_daemon)?;
    let mut client = OnboardServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let answer = client.list_pending(ListPendingRequest {}).await;
    Ok(answer.map_err(|status| OnboardError::Refused(Box::new(status)))?.into_inner())
}

async fn written(
    args: &FromPending,
    name: &str,
    write: Option<&Path>,
    out: &mut dyn Write,
) -> Result<(), OnboardError> {
    let answer = ask(&args.socket).await?;
    let device = chosen(&answer, name, args.user.as_deref())?;
    let text = stanza::stanza(device, &answer.taken.clone().unwrap_or_default(), args.id.as_ref())?;
    match write {
        None => out.write_all(text.as_bytes())?,
        Some(path) => {
            let file = |error| OnboardError::File(path.to_owned(), error);
            // Never over a file that is there: it may be in force.
            let mut new = OpenOptions::new().write(true).create_new(true).open(path).map_err(file)?;
            new.write_all(text.as_bytes()).and_then(|()| new.sync_all()).map_err(file)?;
            writeln!(out, "{}: read it, then `smallbrain check --config` the whole", path.display())?;
        }
    }
    Ok(out.flush()?)
}

fn chosen<'a>(
    answer: &'a ListPendingResponse,
    name: &str,
    user: Option<&str>,
) -> Result<&'a PendingDevice, OnboardError> {
    let mut all = answer
        .devices
        .iter()
        .filter(|device| device.name == name && user.is_none_or(|user| device.user == user));
    let first = all.next().ok_or_else(|| OnboardError::Unknown(name.to_owned()))?;
    let others: Vec<_> = all.map(|device| format!("{:?}", device.user)).collect();
    if others.is_empty() {
        return Ok(first);
    }
    let users = format!("{:?}, {}", first.user, others.join(", "));
    Err(OnboardError::Several { name: name.to_owned(), users })
}

fn listing(answer: &ListPendingResponse) -> Value {
    let time = |time: &Option<prost_types::Timestamp>| time.as_ref().map(event_time);
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let devices = answer.devices.iter().map(|device| {
        let fields = device.fields.iter().map(|field| {
            json!({
                "path": field.path, "type": field.r#type, "unit": some(&field.unit),
                "device_class": some(&field.device_class), "seen": field.seen,
            })
        });
        json!({
            "name": device.name, "user": some(&device.user), "profile": device.profile, "topics": device.topics,
            "first_heard": time(&device.first_heard), "last_heard": time(&device.last_heard),
            "messages": device.messages, "mapped": device.mapped, "online": device.online,
            "fields": fields.collect::<Vec<_>>(), "fields_beyond": device.fields_beyond,
            "refused": device.refused, "unread_bytes": device.unread_bytes,
        })
    });
    json!({
        "pending": devices.collect::<Vec<_>>(), "forgotten": answer.forgotten, "unexamined": answer.unexamined,
    })
}

fn write_list(out: &mut dyn Write, answer: &ListPendingResponse, lang: Lang) -> io::Result<()> {
    let at = |time: &Option<prost_types::Timestamp>| time.as_ref().map_or_else(|| "-".to_owned(), event_time);
    writeln!(out, "{}: {}", lang.say("待接入设备", "pending devices"), answer.devices.len())?;
    for device in &answer.devices {
        let online = match device.online {
            Some(true) => lang.say("  在线", "  online"),
            Some(false) => lang.say("  离线", "  offline"),
            None => "",
        };
        writeln!(out, "\n{}  {}{online}", plain(&device.name), device.profile)?;
        if !device.user.is_empty() {
            writeln!(out, "  {}: {}", lang.say("用户", "user"), plain(&device.user))?;
        }
        let topics: Vec<_> = device.topics.iter().map(|topic| plain(topic)).collect();
        writeln!(out, "  {}: {}", lang.say("主题", "topics"), topics.join("  "))?;
        writeln!(
            out,
            "  {}: {}  {} {}  {} {}",
            lang.say("消息", "messages"),
            device.messages,
            lang.say("首次", "first"),
            at(&device.first_heard),
            lang.say("最近", "last"),
            at(&device.last_heard)
        )?;
        write_fields(out, device, lang)?;
    }
    let told = [
        (answer.forgotten, lang.say("因数量过多已忘记的设备", "devices forgotten to make room")),
        (answer.unexamined, lang.say("只计数未解析的消息", "messages counted and not read")),
    ];
    for (count, what) in told.into_iter().filter(|(count, _)| *count > 0) {
        writeln!(out, "\n{what}: {count}")?;
    }
    if let Some(first) = answer.devices.first() {
        let hint = lang.say("接入", "to take one in");
        writeln!(
            out,
            "\n{hint}: smallbrain device add --from-pending '{}'",
            plain(&first.name).replace('\'', "'\\''")
        )?;
    }
    Ok(())
}

fn write_fields(out: &mut dyn Write, device: &PendingDevice, lang: Lang) -> io::Result<()> {
    for field in &device.fields {
        let path = if field.path.is_empty() {
            lang.say("(整个报文)", "(the payload)").to_owned()
        } else {
            plain(&field.path)
        };
        let kind = match field.r#type.as_str() {
            "number" => lang.say("数值", "number"),
            "flag" => lang.say("开关", "flag"),
            "text" => lang.say("文本", "text"),
            "null" => lang.say("空", "null"),
            "array" => lang.say("数组", "array"),
            "object" => lang.say("对象", "object"),
            _ => lang.say("不固定", "mixed"),
        };
        let unseen = if field.seen { "" } else { lang.say("  未出现", "  not seen yet") };
        let words = [&field.unit, &field.device_class].into_iter().filter(|word| !word.is_empty());
        let words: String = words.map(|word| format!("  {}", plain(word))).collect();
        writeln!(out, "    {path}  {kind}{words}{unseen}")?;
    }
    if device.fields_beyond > 0 {
        writeln!(out, "    … {}", lang.say("还有更多字段", "and more fields"))?;
    }
    if !device.refused.is_empty() {
        writeln!(out, "  {}: {}", lang.say("入口拒收", "refused at the door"), device.refused.join(", "))?;
    }
    if let Some(bytes) = device.unread_bytes {
        writeln!(out, "  {}: {bytes} B", lang.say("无法解析的报文", "a payload that cannot be read"))?;
    }
    Ok(())
}

/// A name that a terminal shows as it is: what would move its cursor is a question mark.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests;
