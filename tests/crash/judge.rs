//! The checker: the ledger of the devices, the database (through SQL of its own) and the disk of the city against each
//! other. It shares no code with the store; of the product it uses the generated types of the contract.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

use prost::Message;
use rusqlite::{Connection, OpenFlags};
use smallbrain::model::Lane;
use smallbrain::wire::v1;
use v1::record_body::Content;

use super::city::Disk;
use super::devices::Acked;
use super::gateway::{HUMID, WINDOW_MS};

/// A reading, wherever it was found: device, metric, event time, mantissa, scale.
type Row = (u16, String, i64, i64, i64);

/// A database that nobody has open any more.
pub(crate) struct Database {
    conn: Connection,
    devices: Vec<String>,
    /// In the order of the log.
    pub(crate) readings: Vec<Row>,
}

/// What was found, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) acked: usize,
    pub(crate) doubtful: usize,
    pub(crate) messages: usize,
    pub(crate) readings: usize,
    pub(crate) missing: usize,
    pub(crate) doubled: usize,
    pub(crate) records: usize,
    pub(crate) redelivered: u64,
    pub(crate) alarms: usize,
    pub(crate) windows: usize,
    pub(crate) late: u64,
    pub(crate) duplicates: u64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { acked, doubtful, messages, readings, missing, doubled, .. } = self;
        let Verdict { records, redelivered, alarms, windows, late, duplicates, .. } = self;
        write!(
            f,
            "{acked} acknowledged (and {doubtful} after a cut), {messages} messages and {readings} readings stored: \
             {missing} missing, {doubled} doubled; the city has {records} records ({redelivered} delivered again): \
             {alarms} alarms, {windows} windows; {late} late, {duplicates} repetitions discarded",
        )
    }
}

impl Database {
    pub(crate) fn open(store: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let conn =
            Connection::open_with_flags(store.join("smallbrain.db"), flags).expect("the database opens");
        let integrity: String =
            conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be checked");
        assert_eq!(integrity, "ok");
        let mut database = Self { conn, devices: Vec::new(), readings: Vec::new() };
        database.read();
        database
    }

    fn read(&mut self) {
        let mut devices = Vec::new();
        let mut statement = self
            .conn
            .prepare(
                "SELECT r.id, s.device, s.metric, r.received + coalesce(r.time_offset, 0), r.value, r.scale
                 FROM reading r JOIN series s ON s.id = r.series ORDER BY r.id",
            )
            .expect("the tables are there");
        let mut rows = statement.query([]).expect("they can be read");
        let mut readings: Vec<Row> = Vec::new();
        let mut last = None;
        while let Some(row) = rows.next().expect("a row") {
            let id: i64 = row.get(0).expect("an id");
            assert!(last.is_none_or(|last| id == last + 1), "the log has a hole before reading {id}");
            last = Some(id);
            let device = number_of(&mut devices, row.get_ref(1).expect("a device").as_str().expect("a text"));
            // Texts are counted, not compared.
            let value = row.get_ref(4).expect("a value").as_i64().unwrap_or(0);
            readings.push((
                device,
                row.get(2).expect("a metric"),
                row.get(3).expect("a time"),
                value,
                row.get(5).expect("a scale"),
            ));
        }
        (self.devices, self.readings) = (devices, readings);
    }

    /// Every row of an answer.
    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Vec<T> {
        let mut statement = self.conn.prepare(sql).expect(sql);
        let rows = statement.query_map([], |row| read(row)).expect(sql);
        rows.collect::<Result<_, _>>().expect(sql)
    }

    /// The number of a device in the readings.
    pub(crate) fn device(&self, name: &str) -> u16 {
        let at = self.devices.iter().position(|known| known == name);
        u16::try_from(at.unwrap_or_else(|| panic!("{name} has no reading"))).expect("a few devices")
    }

    pub(crate) fn integer(&self, sql: &str) -> i64 {
        self.conn.query_row(sql, [], |row| row.get(0)).expect(sql)
    }

    /// A tally, 0 where nothing was counted.
    pub(crate) fn tally(&self, name: &str) -> u64 {
        self.integer(&format!("SELECT coalesce(sum(count), 0) FROM tally WHERE name = '{name}'"))
            .unsigned_abs()
    }

    /// The newest position of a lane.
    pub(crate) fn head(&self, lane: Lane) -> u64 {
        self.integer(&format!("SELECT head FROM lane WHERE lane = '{lane}'")).unsigned_abs()
    }

    /// Readings that were ever stored.
    pub(crate) fn ever_stored(&self) -> u64 {
        self.integer("SELECT max(id) FROM reading").unsigned_abs()
    }

    /// The daemon's counters law, held against the tables.
    pub(crate) fn counters(&self, told: &BTreeMap<String, u64>) {
        let told =
            |name: &str| told.get(name).copied().unwrap_or_else(|| panic!("no counter {name}: {told:?}"));
        let mut lost = 0;
        for reason in LOSSES {
            let tally = self.tally(&format!("lost.{reason}"));
            assert_eq!(told(&format!("ingest_lost_total{{reason=\"{reason}\"}}")), tally, "{reason}");
            lost += tally;
        }
        assert_eq!(told("ingest_stored_total"), self.ever_stored());
        assert_eq!(told("ingest_late_total"), self.tally("late"));
        assert_eq!(told("ingest_received_total"), self.ever_stored() + lost);
        let total = self.integer("SELECT coalesce(sum(count), 0) FROM tally WHERE name LIKE 'lost.%'");
        assert_eq!(total.unsigned_abs(), lost, "a loss without a name");
        assert_eq!(lost, self.tally("lost.duplicate"), "only repetitions may be lost here");
    }
}

/// As the counters name them.
const LOSSES: [&str; 12] = [
    "malformed",
    "unknown_device",
    "forbidden",
    "unlisted",
    "policy",
    "refused",
    "invalid",
    "out_of_range",
    "duplicate",
    "rate_limited",
    "budget",
    "corrupt",
];

fn number_of(names: &mut Vec<String>, name: &str) -> u16 {
    let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    u16::try_from(at).expect("a few devices")
}

/// What every record of the city says.
#[derive(Default)]
struct Told {
    readings: Vec<Row>,
    /// By device, in the order of the lane: raised or cleared.
    alarms: BTreeMap<u16, Vec<bool>>,
    /// Every step of every incident.
    steps: BTreeSet<(u64, String)>,
    /// Counts by (start of window, device).
    windows: BTreeMap<(i64, u16), u64>,
}

impl Told {
    fn by(disk: &Disk, devices: &mut Vec<String>) -> Self {
        let mut told = Told::default();
        for ((lane, seq), kept) in &disk.records {
            let body = v1::RecordBody::decode(kept.body.as_slice()).expect("a body of the contract");
            let window = body.window_start.map_or(0, |time| time.seconds * 1000);
            match (lane, body.content.expect("a content")) {
                (Lane::Bulk, Content::Readings(readings)) => told.readings(&readings, devices),
                (Lane::Alarm, Content::Event(event)) => {
                    let device = number_of(devices, &event.attributes["device"]);
                    told.event(device, &event);
                }
                (Lane::Aggregate, Content::Aggregate(aggregate)) => {
                    told.window(window, &aggregate, devices);
                }
                (Lane::Event, Content::ListChange(_)) => {}
                _ => panic!("{lane} {seq} holds what does not belong there"),
            }
        }
        let count = |of: &str| told.steps.iter().filter(|(_, step)| step == of).count();
        assert_eq!(count("cleared"), count("closed"), "what clears closes itself");
        told
    }

    /// An incident is raised, cleared, and closes itself with that: each once.
    fn event(&mut self, device: u16, event: &v1::Event) {
        let (step, incident) = (event.attributes["step"].as_str(), event.attributes["incident"].as_str());
        let number: u64 = incident.parse().expect("a number");
        assert!(self.steps.insert((number, step.to_owned())), "incident {number} is told to be {step} twice");
        let changes = self.alarms.entry(device).or_default();
        match step {
            "raised" => changes.push(true),
            "cleared" => changes.push(false),
            "closed" => assert!(
                changes.last() == Some(&false) && self.steps.contains(&(number, "cleared".into())),
                "incident {number} is closed before it is cleared"
            ),
            other => panic!("incident {number} is told to be {other}"),
        }
    }

    fn readings(&mut self, readings: &v1::Readings, devices: &mut Vec<String>) {
        for (at, series) in readings.series_index.iter().enumerate() {
            let series = &readings.series[*series as usize];
            self.readings.push((
                number_of(devices, &series.device),
                series.metric.clone(),
                readings.base_ms + readings.time_delta_ms[at],
                readings.mantissa[at],
                i64::from(readings.scale[at]),
            ));
        }
    }

    fn window(&mut self, start_ms: i64, aggregate: &v1::Aggregate, devices: &mut Vec<String>) {
        for measure in aggregate.measures.iter().filter(|measure| measure.name == "temperature.count") {
            let Some(v1::measure::Value::Count(count)) = measure.value else { panic!("a count is a count") };
            let device = number_of(devices, &measure.dimensions["device"]);
            let before = self.windows.insert((start_ms, device), count.unsigned_abs());
            assert_eq!(before, None, "the window of {start_ms} was told twice");
        }
    }
}

/// Everything that is promised of a gateway that was killed, and had time to hand on all it has.
pub(crate) fn judge(store: &Path, acked: &Acked, disk: &Disk) -> Verdict {
    let mut database = Database::open(store);
    let mut verdict = Verdict::default();
    messages(&database, acked, &mut verdict);
    lanes(&database, disk, &mut verdict);
    let told = Told::by(disk, &mut database.devices);
    shared(&database, told.readings, &mut verdict);
    verdict.alarms = alarms(&database.readings, &told.alarms);
    windows(&database, &told.windows, &mut verdict);
    verdict.duplicates = database.tally("lost.duplicate");
    verdict
}

/// Acknowledged is stored, once, whole and in order; what is stored was sent.
fn messages(database: &Database, acked: &Acked, verdict: &mut Verdict) {
    let mut stored: BTreeMap<&str, BTreeMap<u64, usize>> = BTreeMap::new();
    let mut temperatures: HashMap<(u16, i64), i64> = HashMap::new();
    let mut humidities: HashMap<(u16, i64), i64> = HashMap::new();
    for (at, (device, metric, _, value, scale)) in database.readings.iter().enumerate() {
        let name = database.devices[usize::from(*device)].as_str();
        match (metric.as_str(), scale) {
            ("n", 0) => {
                let n = value.unsigned_abs();
                let those = stored.entry(name).or_default();
                let newest = those.last_key_value().is_none_or(|(last, _)| *last < n);
                match those.insert(n, at) {
                    Some(first) => {
                        verdict.doubled += 1;
                        eprintln!("{name} {n} is stored again, {} readings later", at - first);
                    }
                    None => assert!(newest, "{name}: {n} is out of order"),
                }
                *temperatures.entry((*device, 1000 + value % 3000)).or_default() += 1;
                *humidities.entry((*device, 300 + value % 400)).or_default() += 1;
            }
            ("temperature", 2) => *temperatures.entry((*device, *value)).or_default() -= 1,
            ("humidity", 1) => *humidities.entry((*device, *value)).or_default() -= 1,
            other => panic!("nothing like this was sent: {other:?}"),
        }
    }
    for half in [temperatures, humidities] {
        assert!(half.values().all(|count| *count == 0), "half a message is stored");
    }
    for (device, sequences) in acked {
        let none = BTreeMap::new();
        let there = stored.get(device.as_str()).unwrap_or(&none);
        verdict.missing += sequences.iter().filter(|(n, counts)| **counts && !there.contains_key(n)).count();
        verdict.doubtful += sequences.values().filter(|counts| !**counts).count();
        verdict.acked += sequences.values().filter(|counts| **counts).count();
    }
    for (device, there) in &stored {
        let sent = |n| acked.get(*device).is_some_and(|sequences| sequences.contains_key(n));
        assert!(there.keys().all(sent), "{device}: something is stored that was not sent");
    }
    verdict.messages = stored.values().map(BTreeMap::len).sum();
    verdict.readings = database.readings.len();
    assert_eq!(verdict.missing, 0, "acknowledged and lost: {verdict}");
    assert_eq!(verdict.doubled, 0, "stored twice: {verdict}");
}

/// The sequences in the log: those of the ledger are all there and none twice; of the devices in `last` there is each from
/// 1 to that one, once and in order.
pub(crate) fn sequences(database: &Database, acked: &Acked, last: &BTreeMap<String, u64>) {
    let mut stored: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (device, metric, _, value, _) in &database.readings {
        if metric == "n" {
            let device = database.devices[usize::from(*device)].as_str();
            stored.entry(device).or_default().push(value.unsigned_abs());
        }
    }
    for (device, last) in last {
        let there = stored.remove(device.as_str()).unwrap_or_default();
        let once: BTreeSet<u64> = there.iter().copied().collect();
        let missing: Vec<_> = (1..=*last).filter(|n| !once.contains(n)).collect();
        assert!(missing.is_empty(), "{device}: released at QoS 2 and lost: {missing:?}");
        let doubled = there.len() as u64 - last;
        assert!(doubled == 0, "{device}: {doubled} readings of QoS 2 are stored twice");
        assert!(there.is_sorted(), "{device}: out of order");
    }
    for (device, sequences) in acked {
        let there = stored.remove(device.as_str()).unwrap_or_default();
        let once: BTreeSet<u64> = there.iter().copied().collect();
        assert_eq!(once.len(), there.len(), "{device}: stored twice");
        assert!(sequences.keys().all(|n| once.contains(n)), "{device}: acknowledged and lost");
    }
}

/// Every session is empty: nothing is queued, no QoS 2 publish is unreleased.
pub(crate) fn nothing_waits(database: &Database) {
    for table in ["queued", "received"] {
        assert_eq!(database.integer(&format!("SELECT count(*) FROM {table}")), 0, "rows of {table}");
    }
}

/// Positions dense, ids unique, cursors at the heads, nothing declared lost.
fn lanes(database: &Database, disk: &Disk, verdict: &mut Verdict) {
    let epoch = disk.position.epoch.as_deref().expect("the city was connected");
    for lane in Lane::ALL {
        let head = database.head(lane);
        let there: Vec<u64> =
            disk.records.keys().filter(|(of, _)| *of == lane).map(|(_, seq)| *seq).collect();
        assert!(there.iter().copied().eq(1..=head), "{lane}: {} records, the head is {head}", there.len());
        let cursor = format!("SELECT coalesce(max(seq), 0) FROM cursor WHERE lane = '{lane}'");
        assert_eq!(database.integer(&cursor).unsigned_abs(), head, "the acknowledgement of lane {lane}");
    }
    for ((lane, seq), kept) in &disk.records {
        assert_eq!(kept.id, format!("{epoch}-{lane}-{seq}"));
    }
    assert_eq!(database.integer("SELECT count(*) FROM gap"), 0, "gaps in the store");
    assert_eq!(disk.gaps, [], "gaps at the city");
    assert_eq!(disk.redelivered, disk.unsaved, "what came again is what the city had no cursor for");
    verdict.records = disk.records.len();
    verdict.redelivered = disk.redelivered;
}

/// Every reading of a shared metric is in the bulk lane exactly once, and nothing else is.
fn shared(database: &Database, mut there: Vec<Row>, verdict: &mut Verdict) {
    let mut here: Vec<Row> =
        database.readings.iter().filter(|(_, metric, ..)| metric != "humidity").cloned().collect();
    here.sort_unstable();
    there.sort_unstable();
    let twice = there.len() - there.iter().collect::<BTreeSet<_>>().len();
    verdict.doubled += twice;
    assert_eq!(twice, 0, "readings that the city has twice: {verdict}");
    assert_eq!(there.len(), here.len(), "readings at the city and in the log");
    assert!(there == here, "the city has other readings than the log");
}

/// The alarms that follow from the log are those that were told, in this order, once; gives their number.
pub(crate) fn alarms(readings: &[Row], told: &BTreeMap<u16, Vec<bool>>) -> usize {
    let mut due: BTreeMap<u16, Vec<bool>> = BTreeMap::new();
    for (device, metric, _, value, _) in readings {
        if metric == "humidity" {
            change(due.entry(*device).or_default(), *value);
        }
    }
    due.retain(|_, changes| !changes.is_empty());
    assert_eq!(&due, told, "alarms");
    due.values().map(Vec::len).sum()
}

fn change(changes: &mut Vec<bool>, humidity: i64) {
    let raised = changes.last().copied().unwrap_or(false);
    if (humidity > HUMID) != raised {
        changes.push(!raised);
    }
}

/// Alarms of devices that stored every sequence from 1 to this one, for a log that has forgotten them.
pub(crate) fn alarms_of(disk: &Disk, last: &BTreeMap<String, u64>) -> usize {
    let mut devices = Vec::new();
    let told = Told::by(disk, &mut devices);
    let mut count = 0;
    for (device, last) in last {
        let mut due = Vec::new();
        for n in 1..=*last {
            change(&mut due, 300 + (n % 400) as i64);
        }
        let number = number_of(&mut devices, device);
        assert_eq!(told.alarms.get(&number).cloned().unwrap_or_default(), due, "alarms of {device}");
        count += due.len();
    }
    count
}

/// In each window no more than the log has, and together with what came late all of it.
fn windows(database: &Database, told: &BTreeMap<(i64, u16), u64>, verdict: &mut Verdict) {
    let mut stored: BTreeMap<(i64, u16), u64> = BTreeMap::new();
    for (device, metric, time_ms, ..) in &database.readings {
        if metric == "temperature" {
            *stored.entry((time_ms - time_ms.rem_euclid(WINDOW_MS), *device)).or_default() += 1;
        }
    }
    let closed_ms = database.integer("SELECT max(closed_ms) FROM watermark");
    let mut open = 0;
    for (window, count) in &stored {
        if window.0 + WINDOW_MS > closed_ms {
            open += count;
            assert!(!told.contains_key(window), "the window of {} was told while it was open", window.0);
        }
    }
    for (window, count) in told {
        let there = stored.get(window).copied().unwrap_or(0);
        assert!(*count <= there, "the window of {} counts {count} readings of {there}", window.0);
    }
    verdict.late = database.tally("late");
    verdict.windows = told.keys().map(|(start, _)| start).collect::<BTreeSet<_>>().len();
    let all: u64 = stored.values().sum();
    let counted: u64 = told.values().sum();
    assert_eq!(counted + verdict.late + open, all, "in windows, late ({}) and open ({open})", verdict.late);
}

/// Each position of each lane is a record or in a gap with a reason, and only the bulk lane may have
/// gaps; tells how many are lost.
pub(crate) fn covered(database: &Database, disk: &Disk) -> u64 {
    for lane in Lane::ALL {
        let mut told: BTreeSet<u64> =
            disk.records.keys().filter(|(of, _)| *of == lane).map(|(_, seq)| *seq).collect();
        for (_, from, to, reason) in disk.gaps.iter().filter(|(of, ..)| *of == lane) {
            assert_eq!((lane, reason.as_str()), (Lane::Bulk, "budget"), "{from} to {to}");
            for seq in *from..=*to {
                assert!(told.insert(seq), "{lane} {seq} is told twice");
            }
        }
        let (head, has_line) = (database.head(lane), !matches!(lane, Lane::Result | Lane::Audit));
        assert_eq!(head > 0, has_line, "{lane}");
        assert!(told.into_iter().eq(1..=head), "{lane}: not every position up to {head} is told");
    }
    disk.gaps.iter().map(|(_, from, to, _)| to - from + 1).sum()
}
