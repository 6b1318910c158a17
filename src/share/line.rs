//! A consumer's line to one gateway, whatever it runs over: a channel that the consumer dialled, or a link that the gateway
//! dialled. Both say and hear the same messages.
//!
//! Guarantees: every call ends within its time, also where nobody answers. Does not dial, and takes nothing twice.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::server::MESSAGE_BYTES_MAX;
use crate::wire::v1;
use v1::catalog_service_client::CatalogServiceClient;
use v1::downlink_service_client::DownlinkServiceClient;
use v1::query_service_client::QueryServiceClient;
use v1::record_service_client::RecordServiceClient;
use v1::status_service_client::StatusServiceClient;

/// A unary call.
pub const CALL: Duration = Duration::from_secs(10);
/// A question: it reads many windows.
pub const QUERY: Duration = Duration::from_secs(60);
/// Replies to one question.
pub const REPLIES_MAX: usize = 256;
/// Frames that wait for the transport.
const ASKS_MAX: usize = 64;

/// One stream of records.
pub trait Pulling: Send {
    /// Says something to the gateway.
    ///
    /// # Errors
    /// The line has broken.
    fn ask(&mut self, ask: v1::StreamingPullRequest) -> impl Future<Output = Result<(), Status>> + Send;

    /// The next frame; none at a polite end. Nothing is lost when it is not waited for to its end.
    ///
    /// # Errors
    /// Why the stream ended.
    fn message(&mut self) -> impl Future<Output = Result<Option<v1::StreamingPullResponse>, Status>> + Send;
}

/// See the module. A call that is not answered in its time ends with DEADLINE_EXCEEDED.
pub trait Line: Send + Sync {
    /// What records come on.
    type Pulling: Pulling;

    /// Begins a stream with its first frame; it ends an older one of this consumer.
    ///
    /// # Errors
    /// The gateway's refusal, or that of the line.
    fn pull(&self, open: v1::PullOpen) -> impl Future<Output = Result<Self::Pulling, Status>> + Send;
    /// Asks for the state.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    fn status(&self) -> impl Future<Output = Result<v1::GetStatusResponse, Status>> + Send;
    /// Acknowledges without a stream.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    fn ack(&self, asked: v1::AckRequest) -> impl Future<Output = Result<v1::AckResponse, Status>> + Send;
    /// Says something about an alarm.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    fn feedback(
        &self,
        asked: v1::PushFeedbackRequest,
    ) -> impl Future<Output = Result<v1::PushFeedbackResponse, Status>> + Send;
    /// Orders a command.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    fn submit(
        &self,
        asked: v1::SubmitCommandRequest,
    ) -> impl Future<Output = Result<v1::SubmitCommandResponse, Status>> + Send;
    /// How a command stands.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    fn command(
        &self,
        asked: v1::GetCommandRequest,
    ) -> impl Future<Output = Result<v1::GetCommandResponse, Status>> + Send;
    /// Puts a list.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    fn put_list(
        &self,
        asked: v1::PutSharedListRequest,
    ) -> impl Future<Output = Result<v1::PutSharedListResponse, Status>> + Send;
    /// A page of the catalogue.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    fn list_catalog(
        &self,
        asked: v1::ListCatalogRequest,
    ) -> impl Future<Output = Result<v1::ListCatalogResponse, Status>> + Send;
    /// A schema.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    fn schema(
        &self,
        asked: v1::GetSchemaRequest,
    ) -> impl Future<Output = Result<v1::GetSchemaResponse, Status>> + Send;
    /// A question, and all replies to it; at most [`REPLIES_MAX`].
    ///
    /// # Errors
    /// As [`pull`](Self::pull); RESOURCE_EXHAUSTED where there are more.
    fn query(
        &self,
        asked: v1::QueryRequest,
    ) -> impl Future<Output = Result<Vec<v1::QueryResponse>, Status>> + Send;
}

/// What is told of a call that nobody answered in time.
pub(super) fn late() -> Status {
    Status::deadline_exceeded("no answer in time: the line may be broken")
}

/// What is told of a question with too many replies.
pub(super) fn too_many() -> Status {
    Status::resource_exhausted("more than 256 replies: ask for a shorter time")
}

/// The answer to a call, in time.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    timeout(limit, call).await.map_err(|_| late())?.map(tonic::Response::into_inner)
}

impl Line for Channel {
    type Pulling = Dialled;

    async fn pull(&self, open: v1::PullOpen) -> Result<Dialled, Status> {
        let (asks, outbound) = mpsc::channel(ASKS_MAX);
        let open = v1::StreamingPullRequest { frame: Some(v1::streaming_pull_request::Frame::Open(open)) };
        // There is room for one.
        let _ = asks.try_send(open);
        let mut records = RecordServiceClient::new(self.clone())
            .accept_compressed(CompressionEncoding::Zstd)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let told = records.streaming_pull(ReceiverStream::new(outbound)).await?.into_inner();
        Ok(Dialled { asks, told })
    }

    async fn status(&self) -> Result<v1::GetStatusResponse, Status> {
        let mut client = StatusServiceClient::new(self.clone());
        within(CALL, client.get_status(v1::GetStatusRequest {})).await
    }

    async fn ack(&self, asked: v1::AckRequest) -> Result<v1::AckResponse, Status> {
        within(CALL, RecordServiceClient::new(self.clone()).ack(asked)).await
    }

    async fn feedback(&self, asked: v1::PushFeedbackRequest) -> Result<v1::PushFeedbackResponse, Status> {
        within(CALL, DownlinkServiceClient::new(self.clone()).push_feedback(asked)).await
    }

    async fn submit(&self, asked: v1::SubmitCommandRequest) -> Result<v1::SubmitCommandResponse, Status> {
        within(CALL, DownlinkServiceClient::new(self.clone()).submit_command(asked)).await
    }

    async fn command(&self, asked: v1::GetCommandRequest) -> Result<v1::GetCommandResponse, Status> {
        within(CALL, DownlinkServiceClient::new(self.clone()).get_command(asked)).await
    }

    async fn put_list(&self, asked: v1::PutSharedListRequest) -> Result<v1::PutSharedListResponse, Status> {
        within(CALL, DownlinkServiceClient::new(self.clone()).put_shared_list(asked)).await
    }

    async fn list_catalog(&self, asked: v1::ListCatalogRequest) -> Result<v1::ListCatalogResponse, Status> {
        within(CALL, CatalogServiceClient::new(self.clone()).list_catalog(asked)).await
    }

    async fn schema(&self, asked: v1::GetSchemaRequest) -> Result<v1::GetSchemaResponse, Status> {
        within(CALL, CatalogServiceClient::new(self.clone()).get_schema(asked)).await
    }

    async fn query(&self, asked: v1::QueryRequest) -> Result<Vec<v1::QueryResponse>, Status> {
        let replies = async {
            let mut client = QueryServiceClient::new(self.clone());
            let mut stream = client.query(asked).await?.into_inner();
            let mut replies = Vec::new();
            while let Some(reply) = stream.next().await {
                if replies.len() == REPLIES_MAX {
                    return Err(too_many());
                }
                replies.push(reply?);
            }
            Ok(replies)
        };
        timeout(QUERY, replies).await.map_err(|_| late())?
    }
}

/// A stream of a channel.
#[derive(Debug)]
pub struct Dialled {
    asks: mpsc::Sender<v1::StreamingPullRequest>,
    told: Streaming<v1::StreamingPullResponse>,
}

impl Pulling for Dialled {
    async fn ask(&mut self, ask: v1::StreamingPullRequest) -> Result<(), Status> {
        self.asks.send(ask).await.map_err(|_| Status::unavailable("the stream has ended"))
    }

    async fn message(&mut self) -> Result<Option<v1::StreamingPullResponse>, Status> {
        self.told.message().await
    }
}
