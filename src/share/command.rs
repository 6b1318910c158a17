//! Commands of the city.

use super::Pages;
use super::batch::Caller;
use super::calls::Shell;
use super::refused::Refused;
use crate::wire::v1;

impl<P: Pages> Shell<P> {
    pub(super) async fn submit(
        &self,
        _: Caller,
        _: v1::SubmitCommandRequest,
    ) -> Result<v1::SubmitCommandResponse, Refused> {
        Err(Refused::Local("commands"))
    }

    pub(super) async fn command(
        &self,
        _: Caller,
        _: v1::GetCommandRequest,
    ) -> Result<v1::GetCommandResponse, Refused> {
        Err(Refused::Local("commands"))
    }
}
