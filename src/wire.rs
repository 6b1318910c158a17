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
