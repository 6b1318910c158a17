//! Lists that the city shares.

use super::Pages;
use super::batch::Caller;
use super::calls::Shell;
use super::refused::Refused;
use crate::wire::v1;

impl<P: Pages> Shell<P> {
    pub(super) async fn put_list(
        &self,
        _: Caller,
        _: v1::PutSharedListRequest,
    ) -> Result<v1::PutSharedListResponse, Refused> {
        Err(Refused::Local("shared lists"))
    }
}
