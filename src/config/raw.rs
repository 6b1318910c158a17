//! The configuration as written: every section and key there is, typed, with nothing checked against anything else.
//!
//! `config.example.toml` explains the keys; a test holds the two together. Defaults and bounds are in the check.

mod alarm;
mod approval;
mod audit;
mod collect;
mod emergency;
mod entry;
mod lists;
mod message;
mod query;
mod serial;
mod shared;
mod uplink;

use std::net::SocketAddr;
use std::time::Duration;

use rust_decimal::Decimal;
use toml::de::DeTable;

use super::fault::{Report, Span};
use super::read::{At, Section, section, words};
use super::source::Sources;
use super::values::{Size, Until, Zone};
use crate::codec::cjt188::IdentifierOrder;
use crate::codec::json::TimeForm;
use crate::device::serial::Parity;
use crate::model::{Consumer, Lane, LineId, Metric, Place, Severity};
use crate::normalise::{Kind, Outside};

pub(crate) use alarm::{
    Alarm, Argument, Close, Command, Inhibit, Language, Publish, Recipient, Route, Webhook, Write,
};
pub(crate) use approval::{Approval, Person, Tier};
pub(crate) use audit::Audit;
pub(crate) use collect::{Collect, Do, Field, Operator, Pseudonym};
pub(crate) use emergency::{Emergency, Profile};
pub(crate) use entry::Origin;
pub(crate) use lists::{Demand, Governance, Retention, Sensitivity};
pub(crate) use message::{Pointer, Texts, Words};
pub(crate) use query::Query;
pub(crate) use serial::{Cjt188, Dlt645, Mbus, MeterType, Modbus, Port};
pub(crate) use shared::SharedList;
pub(crate) use uplink::Uplink;

section! {
    /// Everything.
    Root, "the file", {
        include: Vec<At<String>>,
        gateway: Gateway,
        store: Store,
        audit: Audit,
        ingest: Ingest,
        mqtt: Mqtt,
        http: Http,
        mapping: Vec<Mapping>,
        port: Vec<Port>,
        template: Vec<Template>,
        device: Vec<Device>,
        alarm: Vec<Alarm>,
        inhibit: Vec<Inhibit>,
        recipient: Vec<Recipient>,
        route: Vec<Route>,
        command: Vec<Command>,
        aggregate: Vec<Aggregate>,
        demand: Vec<Demand>,
        collect: Vec<Collect>,
        share: Vec<Share>,
        query: Vec<Query>,
        person: Vec<Person>,
        approval: Approval,
        emergency: Emergency,
        governance: Vec<Governance>,
        shared_list: Vec<SharedList>,
        budget: Vec<Budget>,
        pseudonym: Pseudonym,
        share_server: ShareServer,
        uplink: Vec<Uplink>,
        telemetry: Telemetry,
    }
}

impl Root {
    /// Reads all files into one; arrays of tables go on from file to file, a single table stands in one of them.
    pub(crate) fn read(sources: &Sources, report: &mut Report) -> Self {
        let mut root = Self::default();
        for (file, source) in sources.files.iter().enumerate() {
            root.add_but(file, &source.text, &sources.besides, report);
        }
        root
    }

    /// Goes on with the text of one more file.
    pub(crate) fn add(&mut self, file: usize, text: &str, report: &mut Report) {
        self.add_but(file, text, &[], report);
    }

    fn add_but(&mut self, file: usize, text: &str, besides: &[String], report: &mut Report) {
        let (mut table, errors) = DeTable::parse_recoverable(text);
        let mut lines = Vec::new();
        for error in errors {
            let span = error.span().unwrap_or_default();
            let line = text[..text.floor_char_boundary(span.start)].matches('\n').count();
            // One broken line gives several errors, of which the first is the cause.
            if !lines.contains(&line) {
                lines.push(line);
                report.unreadable(Span::of(file, span), error.message(), "valid TOML: https://toml.io");
            }
        }
        for key in besides {
            table.get_mut().remove(key.as_str());
        }
        self.fill(table.get_ref(), file, report);
    }
}

section! {
    /// Who and where the gateway is.
    Gateway, "[gateway]", {
        id: LineId,
        division_code: String,
        compound_code: LineId,
        zone: Zone,
        socket: String,
    }
}

section! {
    /// The database.
    Store, "[store]", {
        dir: String,
        size_max: Size,
        reserve: Size,
        group_window: Duration,
        retention: Duration,
        promise: Duration,
        lanes: LaneRoom,
    }
}

section! {
    /// What of the disk each lane is promised.
    LaneRoom, "store.lanes", {
        alarm: Size,
        event: Size,
        result: Size,
        aggregate: Size,
        audit: Size,
        bulk: Size,
    }
}

section! {
    /// The spine.
    Ingest, "[ingest]", {
        device_rate: u64,
        device_burst: u64,
        queue: u64,
        bulk_rows_max: u64,
        bulk_age_max: Duration,
    }
}

section! {
    /// The MQTT front.
    Mqtt, "[mqtt]", {
        listen: SocketAddr,
        anonymous: bool,
        connections_max: u64,
        packet_max: Size,
        inflight_max: u64,
        connect_timeout: Duration,
        subscriptions_max: u64,
        user_connections_max: u64,
        connect_rate: u64,
        publish_rate: u64,
        publish_burst: u64,
        bytes_rate: Size,
        topic_max: Size,
        topic_levels_max: u64,
        idle_max: Duration,
        session_max: Duration,
        sessions_max: u64,
        queue_max: u64,
        kept_max: Size,
        retained_max: u64,
        commands: Vec<At<String>>,
        tell_incidents: bool,
        tls: MqttTls,
        user: Vec<User>,
    }
}

section! {
    /// TLS of the MQTT front.
    MqttTls, "[mqtt.tls]", {
        listen: SocketAddr,
        certificate: String,
        key: String,
        client_ca: String,
    }
}

section! {
    /// The HTTP intake.
    Http, "[http]", {
        listen: SocketAddr,
        tls: bool,
        certificate: String,
        key: String,
        client_ca: String,
        body_max: Size,
        connections_max: u64,
        head_timeout: Duration,
        body_timeout: Duration,
    }
}

section! {
    /// Who may connect, and what for.
    User, "[[mqtt.user]]", named "user" name, {
        name: String,
        password_hash: String,
        certificate: String,
        devices: Vec<At<String>>,
        publish: Vec<At<String>>,
        subscribe: Vec<At<String>>,
    }
}

section! {
    /// A topic and what it carries.
    Mapping, "[[mapping]]", {
        topic: Texts,
        profile: String,
        template: LineId,
        time: DeviceTime,
        each: Pointer,
        device: String,
        zone: Zone,
    }
}

section! {
    /// Where a payload has its time.
    DeviceTime, "mapping.time", {
        pointer: Pointer,
        form: TimeWord,
    }
}

/// [`TimeForm`] before the zone is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimeWord {
    /// RFC 3339, or the same without a zone.
    Text,
    /// Since 1970 UTC.
    Seconds,
    /// Since 1970 UTC.
    Millis,
}

impl TimeWord {
    /// With the gateway's zone for texts that have none.
    pub(crate) fn form(self, zone: Zone) -> TimeForm {
        match self {
            TimeWord::Text => TimeForm::Text { zone_ms: zone.0 },
            TimeWord::Seconds => TimeForm::Seconds,
            TimeWord::Millis => TimeForm::Millis,
        }
    }
}

words!(TimeWord, "text" => TimeWord::Text, "seconds" => TimeWord::Seconds, "millis" => TimeWord::Millis);

section! {
    /// A model of device.
    Template, "[[template]]", {
        name: LineId,
        title: String,
        baud: u64,
        parity: Parity,
        stop_bits: u64,
        response_timeout: Duration,
        clock: bool,
        meter_type: MeterType,
        leader: u64,
        identifier_order: IdentifierOrder,
        unit_first: bool,
        any_serial: bool,
        silence_max: Duration,
        point: Vec<Point>,
    }
}

section! {
    /// Something that devices of a model measure.
    Point, "[[template.point]]", named "point" metric, {
        metric: Metric,
        title: String,
        kind: Kind,
        unit: String,
        scale: Decimal,
        offset: Decimal,
        min: Decimal,
        max: Decimal,
        outside: Outside,
        monotonic: bool,
        slope_max: Decimal,
        deadband: Decimal,
        change_only: bool,
        sample: Duration,
        mean: Mean,
        json: Pointer,
        field: String,
        map: Words,
        modbus: Modbus,
        dlt645: Dlt645,
        cjt188: Cjt188,
        mbus: Mbus,
        writable: bool,
        class: Class,
    }
}

impl Point {
    /// Whether it says where a device on a bus has it.
    pub(crate) fn is_on_bus(&self) -> bool {
        let absent = self.modbus.is_absent() && self.dlt645.is_absent();
        !(absent && self.cjt188.is_absent() && self.mbus.is_absent())
    }
}

words!(Kind, "number" => Kind::Number, "flag" => Kind::Flag, "text" => Kind::Text);
/// What a mean of a point is weighted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mean {
    /// Each reading counts the same.
    Reading,
    /// Each value counts for as long as it held.
    Time,
}

words!(Mean, "reading" => Mean::Reading, "time" => Mean::Time);
words!(Outside, "drop" => Outside::Drop, "flag" => Outside::Flag);

/// Whom a point tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nobody: equipment, rooms, the compound.
    Operational,
    /// How one household lives.
    Household,
    /// A person.
    Personal,
    /// A body.
    Biometric,
}

words!(
    Class,
    "operational" => Class::Operational,
    "household" => Class::Household,
    "personal" => Class::Personal,
    "biometric" => Class::Biometric,
);

section! {
    /// A device, or several of one kind.
    Device, "[[device]]", {
        id: String,
        ids: Vec<At<String>>,
        name: String,
        names: Vec<At<String>>,
        template: LineId,
        place: Place,
        port: LineId,
        unit: u64,
        address: String,
        baud: u64,
        parity: Parity,
        stop_bits: u64,
        response_timeout: Duration,
        silence_max: Duration,
    }
}

words!(
    Severity,
    "info" => Severity::Info,
    "minor" => Severity::Minor,
    "major" => Severity::Major,
    "critical" => Severity::Critical,
);

section! {
    /// A window.
    Aggregate, "[[aggregate]]", {
        id: LineId,
        metrics: Vec<At<Metric>>,
        devices: Vec<At<String>>,
        size: Duration,
        lateness: Duration,
        by: By,
        statistics: Vec<At<String>>,
        edges: Vec<At<Decimal>>,
    }
}

/// What a cell of a window covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// One device.
    Device,
    /// One building, and one more for all of them.
    Building,
    /// All of them.
    Compound,
}

words!(By, "device" => By::Device, "building" => By::Building, "compound" => By::Compound);

section! {
    /// A line of the share list.
    Share, "[[share]]", {
        id: LineId,
        title: String,
        purpose: String,
        lane: Lane,
        consumers: Vec<At<Consumer>>,
        metrics: Vec<At<Metric>>,
        devices: bool,
        places: bool,
        carries: Vec<At<LineId>>,
        when: String,
        deadband: Decimal,
        change_only: bool,
        sample: Duration,
        tier: LineId,
        protect: Protect,
        approval: String,
        until: Until,
        class: crate::lists::Class,
        from: Vec<At<LineId>>,
        demand: Vec<At<LineId>>,
        reason: String,
        basis: String,
        level: u64,
    }
}

impl Share {
    /// Whether it says what is never shared.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.class.value() == Some(&crate::lists::Class::Forbidden)
    }
}

section! {
    /// How the cells of a share line are protected.
    Protect, "share.protect", {
        mode: Mode,
        subjects: Metric,
        k: u64,
        dominance: String,
        zero: Zero,
        epsilon: String,
        contribution: u64,
        budget: LineId,
    }
}

/// How cells are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Exact numbers, or none.
    Sdc,
    /// Noise.
    Dp,
}

words!(Mode, "sdc" => Mode::Sdc, "dp" => Mode::Dp);

/// Whether it is told that there was nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zero {
    /// Yes.
    Public,
    /// It looks like any other small number.
    Hidden,
}

words!(Zero, "public" => Zero::Public, "hidden" => Zero::Hidden);

section! {
    /// What noise is paid from.
    Budget, "[[budget]]", {
        id: LineId,
        epsilon: String,
        period: Duration,
        on_exhausted: Exhausted,
    }
}

/// What happens when a budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// The rest of the period is held back.
    Suppress,
}

words!(Exhausted, "suppress" => Exhausted::Suppress);

words!(
    Lane,
    "alarm" => Lane::Alarm,
    "result" => Lane::Result,
    "aggregate" => Lane::Aggregate,
    "audit" => Lane::Audit,
    "bulk" => Lane::Bulk
);

section! {
    /// Where the city pulls.
    ShareServer, "[share_server]", {
        loopback: Loopback,
        unix: Unix,
        tls: Tls,
        calls_rate: u64,
        bytes_per_second: Size,
        bytes_per_day: Size,
        reflection: bool,
    }
}

section! {
    /// Plain text on a loopback address.
    Loopback, "share_server.loopback", {
        listen: SocketAddr,
        consumer: Consumer,
    }
}

section! {
    /// Plain text on a Unix socket.
    Unix, "share_server.unix", {
        path: String,
        consumer: Consumer,
    }
}

section! {
    /// Mutual TLS.
    Tls, "share_server.tls", {
        listen: SocketAddr,
        certificate: String,
        key: String,
        client_ca: String,
        client_crl: String,
    }
}

section! {
    /// Logs and metrics.
    Telemetry, "[telemetry]", {
        listen: SocketAddr,
        log: String,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn walk(path: &str, table: &toml::Table, all: &mut BTreeSet<String>) {
        for (key, value) in table {
            // The names under `fields` and `arguments` are the operator's, those under `map` the device's.
            let free = [".collect.fields", ".template.point.map", ".command.arguments"].contains(&path);
            let path = if free { format!("{path}.*") } else { format!("{path}.{key}") };
            let items = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            for table in items.iter().filter_map(toml::Value::as_table) {
                walk(&path, table, all);
            }
            all.insert(path);
        }
    }

    #[test]
    fn the_example_has_every_key_and_no_other() {
        let example = include_str!("../../config.example.toml");
        let on = |line: &str| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting.to_owned(),
            _ => line.to_owned(),
        };
        let text: String = example.lines().map(|line| on(line) + "\n").collect();
        let mut written = BTreeSet::new();
        walk("", &text.parse::<toml::Table>().expect("valid TOML"), &mut written);
        written.remove(".collect.fields.*");
        written.remove(".template.point.map.*");
        written.remove(".command.arguments.*");
        let mut known = Vec::new();
        Root::paths("", &mut known);
        assert_eq!(written, known.into_iter().collect());
    }
}
