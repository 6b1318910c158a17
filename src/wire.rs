//! The only border between the words of the project and the generated types.

/// Generated from proto/.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("smallbrain.v1");
}

/// Who and where the gateway is, as records say it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Gateway {
    /// Its id.
    pub id: String,
    /// 12-digit division code.
    pub division_code: String,
    /// The compound's code.
    pub compound_code: String,
}

/// stub replaced at merge
#[derive(Clone, Debug)]
pub struct Sealed {
    body: bytes::Bytes,
    share_item: crate::model::LineId,
    schema: &'static str,
}
#[allow(missing_docs)]
impl Sealed {
    pub fn body(&self) -> &bytes::Bytes {
        &self.body
    }
    pub fn share_item(&self) -> &crate::model::LineId {
        &self.share_item
    }
    pub fn schema(&self) -> &'static str {
        self.schema
    }
}
#[allow(missing_docs)]
pub fn record_id(epoch: crate::model::Epoch, lane: crate::model::Lane, seq: crate::model::Seq) -> String {
    format!("{epoch}-{lane}-{seq}")
}
#[allow(missing_docs)]
pub fn record_hash(prev: &[u8; 32], id: &str, body: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    let mut h = sha2::Sha256::new();
    h.update([1]);
    h.update(prev);
    h.update((id.len() as u32).to_be_bytes());
    h.update(id);
    h.update((body.len() as u32).to_be_bytes());
    h.update(body);
    h.finalize().into()
}
