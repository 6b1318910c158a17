//! What there is, for whoever calls: pages of the catalogue, and what schemas look like.
//!
//! Guarantees: a caller sees what [`crate::lists::catalog`] permits it, whatever is granted to it now, so that it can ask
//! for what is missing; somebody whom no line names sees nothing. A page token is good for one version of the lists.
//! Schemas are the contract's, and secret to nobody.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::{Request, Response, Status};

use super::Pages;
use super::batch::{Caller, InForce};
use super::calls::Shell;
use super::refused::Refused;
use crate::approval::Missing;
use crate::lists::catalog::{Entry, Kind, catalog, iso, knows};
use crate::lists::{Class, Lists, Share};
use crate::model::{Lane, LineId};
use crate::store::lists::Versions;
use crate::wire::{self, schema, v1};
use v1::catalog_service_server::CatalogService;

/// Entries of a page that does not say how many.
const PAGE: usize = 100;
/// The most entries of a page.
const PAGE_MAX: usize = 1000;
/// Bytes of a page token.
const TOKEN_MAX: usize = 512;

/// Whether a share line is granted to a caller now.
fn standing(share: &Share, caller: &Caller, force: &InForce, now_ms: i64) -> &'static str {
    let Some(line) = force.lines.iter().find(|line| line.id == share.id) else { return "missing" };
    if line.until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
        return "expired";
    }
    let Some(tier) = &line.tier else { return "granted" };
    match force.grants.find(&line.id, tier, &caller.consumer, caller.certificate.as_ref(), now_ms) {
        Ok(_) => "granted",
        Err(Missing::None) => "missing",
        Err(Missing::Expired) => "expired",
        Err(Missing::Revoked) => "revoked",
        Err(Missing::UsedUp) => "used_up",
    }
}

/// The schema of a lane's records; a line's own changes travel in lane event besides.
fn schema_of(lane: Lane) -> &'static str {
    match lane {
        Lane::Alarm => wire::ALARM,
        Lane::Event => wire::LIST_CHANGE,
        Lane::Result => wire::RESULT,
        Lane::Aggregate => wire::WINDOW,
        Lane::Audit => wire::AUDIT,
        Lane::Bulk => wire::READINGS,
    }
}

fn item(entry: Entry, versions: &Versions) -> v1::CatalogItem {
    let share_class = match entry.class {
        None => v1::ShareClass::Unspecified,
        Some(Class::Unconditional) => v1::ShareClass::Unconditional,
        Some(Class::Conditional) => v1::ShareClass::Conditional,
        Some(Class::Forbidden) => v1::ShareClass::Forbidden,
    };
    let version = match entry.kind {
        Kind::Line(list) => versions.lines.get(&(list, entry.id.clone())).copied(),
        Kind::Command | Kind::Query => None,
    };
    let values = |(name, values): (&str, Vec<String>)| (name.to_owned(), v1::CatalogValues { values });
    v1::CatalogItem {
        list: entry.kind.as_str().into(),
        id: entry.id.to_string(),
        title: entry.title,
        share_class: share_class.into(),
        is_public: entry.public,
        schema: entry.lane.map(schema_of).unwrap_or_default().into(),
        purposes: Some(entry.purpose).filter(|purpose| !purpose.is_empty()).into_iter().collect(),
        sensitivity: entry.sensitivity.unwrap_or_default(),
        update_period: entry.update_ms.map(iso).unwrap_or_default(),
        retention: entry.kept_ms.map(iso).unwrap_or_default(),
        approval_tier: entry.tier.unwrap_or_default(),
        owner: entry.owner,
        status: entry.status.into(),
        version: version.unwrap_or_default(),
        links: entry.links.iter().map(ToString::to_string).collect(),
        arguments: entry.arguments.into_iter().map(values).collect::<BTreeMap<_, _>>(),
        lane: entry.lane.map(wire::lane_number).unwrap_or_default(),
    }
}

/// Where the page before ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    kind: Kind,
    id: LineId,
    version: u32,
}

impl Token {
    fn written(&self) -> String {
        let Self { kind, id, version } = self;
        URL_SAFE_NO_PAD.encode(format!("{}\n{id}\n{version}", kind.as_str()))
    }

    fn read(token: &str, version: u32) -> Result<Self, Refused> {
        let known = || {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|_| token.len() <= TOKEN_MAX)?;
            let text = String::from_utf8(bytes).ok()?;
            let mut parts = text.split('\n');
            let (kind, id, made) = (parts.next()?, parts.next()?, parts.next()?);
            let token = Self { kind: Kind::named(kind)?, id: id.parse().ok()?, version: made.parse().ok()? };
            parts.next().is_none().then_some(token)
        };
        let token = known().ok_or(Refused::Malformed(
            "page_token is none: take next_page_token of the answer before as it is",
        ))?;
        if token.version != version {
            return Err(Refused::Malformed(
                "page_token is of an older version of the lists: start without one",
            ));
        }
        Ok(token)
    }

    fn is_before(&self, entry: &Entry) -> bool {
        let place = (entry.kind, entry.id.as_str());
        place.cmp(&(self.kind, self.id.as_str())) == Ordering::Greater
    }
}

/// The page that is asked for, of all entries in their order.
fn page(
    entries: Vec<Entry>,
    asked: &v1::ListCatalogRequest,
    versions: &Versions,
) -> Result<v1::ListCatalogResponse, Refused> {
    let kind = match asked.list.as_str() {
        "" => None,
        // There are none yet; the name is known.
        "shared_list" => return Ok(answer(Vec::new(), String::new(), versions)),
        name => Some(Kind::named(name).ok_or(Refused::Malformed(
            "list has to be demand, collect, share, governance, command, query, shared_list or empty",
        ))?),
    };
    let size = match usize::try_from(asked.page_size) {
        Ok(0) => PAGE,
        Ok(size) => size.min(PAGE_MAX),
        Err(_) => return Err(Refused::Malformed("page_size is negative")),
    };
    let after = match asked.page_token.as_str() {
        "" => None,
        token => Some(Token::read(token, versions.lists)?),
    };
    let is_wanted = |entry: &Entry| {
        kind.is_none_or(|kind| entry.kind == kind)
            && after.as_ref().is_none_or(|after| after.is_before(entry))
    };
    let mut wanted: Vec<Entry> = entries.into_iter().filter(is_wanted).collect();
    let has_more = wanted.len() > size;
    wanted.truncate(size);
    let next = wanted
        .last()
        .filter(|_| has_more)
        .map(|last| Token { kind: last.kind, id: last.id.clone(), version: versions.lists }.written());
    Ok(answer(wanted, next.unwrap_or_default(), versions))
}

fn answer(entries: Vec<Entry>, next_page_token: String, versions: &Versions) -> v1::ListCatalogResponse {
    v1::ListCatalogResponse {
        items: entries.into_iter().map(|entry| item(entry, versions)).collect(),
        next_page_token,
        catalog_version: versions.lists.into(),
    }
}

impl<P: Pages> Shell<P> {
    /// The lists in force, for a caller who is somebody in them.
    fn lists_for(&self, caller: &Caller) -> Result<std::sync::Arc<Lists>, Refused> {
        let lists = self.city.lists.borrow().clone();
        if knows(&lists, &caller.consumer) {
            Ok(lists)
        } else {
            Err(Refused::NotListed(caller.consumer.clone()))
        }
    }

    /// A page of the catalogue.
    pub(super) async fn list_catalog(
        &self,
        caller: Caller,
        asked: v1::ListCatalogRequest,
    ) -> Result<v1::ListCatalogResponse, Refused> {
        let lists = self.lists_for(&caller)?;
        let versions = self.city.pages.versions(lists.digest).await?;
        let (force, now_ms) = (self.force(), self.city.clock.now().wall_ms);
        let entries = catalog(&lists, &caller.consumer, &|share| standing(share, &caller, &force, now_ms));
        page(entries, &asked, &versions)
    }

    /// What a schema looks like.
    pub(super) async fn get_schema(
        &self,
        caller: Caller,
        asked: v1::GetSchemaRequest,
    ) -> Result<v1::GetSchemaResponse, Refused> {
        self.lists_for(&caller)?;
        let json = schema::json_schema(&asked.schema).ok_or(Refused::Schema)?;
        Ok(v1::GetSchemaResponse {
            schema: asked.schema,
            file_descriptor_set: wire::CONTRACT.to_vec(),
            json_schema: json.to_string(),
        })
    }
}

#[tonic::async_trait]
impl<P: Pages> CatalogService for Shell<P> {
    async fn list_catalog(
        &self,
        request: Request<v1::ListCatalogRequest>,
    ) -> Result<Response<v1::ListCatalogResponse>, Status> {
        let caller = self.known(&request).map_err(|refused| self.refuse(refused))?;
        let answer = self.list_catalog(caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|refused| self.refuse(refused))
    }

    async fn get_schema(
        &self,
        request: Request<v1::GetSchemaRequest>,
    ) -> Result<Response<v1::GetSchemaResponse>, Status> {
        let caller = self.known(&request).map_err(|refused| self.refuse(refused))?;
        let answer = self.get_schema(caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|refused| self.refuse(refused))
    }
}

#[cfg(test)]
mod tests;
