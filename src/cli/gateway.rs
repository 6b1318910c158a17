//! Where a gateway is, and who calls it: the arguments that all verbs of the city's side have in common, and one call with its
//! end.

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::timeout;
use tonic::{Code, Response, Status};

use crate::share::client::{PullError, Target};

/// How long a gateway may take to answer.
const CALL: Duration = Duration::from_secs(70);

/// Arguments of a verb that calls a gateway.
#[derive(clap::Args, Debug, Clone)]
pub struct Gateway {
    /// http://127.0.0.1:50051, unix:/path or https://gateway:50051
    #[arg(long)]
    pub gateway: String,
    /// PEM roots of the gateway's certificate
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// PEM chain of this caller
    #[arg(long, requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM key of this caller
    #[arg(long, requires = "cert")]
    pub key: Option<PathBuf>,
}

impl Gateway {
    /// What to connect to.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            gateway: self.gateway.clone(),
            ca: self.ca.clone(),
            certificate: self.cert.clone(),
            key: self.key.clone(),
        }
    }
}

/// The answer of one call.
pub(super) async fn answer<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, PullError> {
    Ok(timeout(CALL, call).await.map_err(|_| PullError::Silent)??.into_inner())
}

/// How a verb ends: 0, 1 when it is refused or nobody answers (told on stderr), 77 when this caller is not let in.
pub(super) fn end(verb: &str, done: Result<(), PullError>) -> ExitCode {
    let error = match done {
        Ok(()) => return ExitCode::SUCCESS,
        // A reader that has enough, `| head`, is no error.
        Err(PullError::Taker(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Err(error) => error,
    };
    // Nobody left to tell.
    let _ = writeln!(io::stderr(), "smallbrain {verb}: {error}");
    match error {
        PullError::Refused(status)
            if matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated) =>
        {
            ExitCode::from(77)
        }
        _ => ExitCode::from(1),
    }
}
