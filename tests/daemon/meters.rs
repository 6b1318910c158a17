//! Meters on a simulated line: from the wire to the city, and an adapter that is unplugged.

use std::path::Path;
use std::time::{Duration, Instant};

use smallbrain::simulate::bus::{
    Cjt188Item, Cjt188Meter, Dlt645Meter, MbusItem, MbusMeter, Signal, SimulatedBus, SimulatedMeter,
    SimulatedSlave,
};
use tokio::runtime::Runtime;

use super::gateway::{Gateway, Site, until};
use super::readings;

const SITE: &str = r#"
[gateway]
id = "gw-1"
division_code = "310115013007"
compound_code = "C0012"

[store]
dir = "smallbrain-data"

[ingest]
bulk_age_max = "100ms"

[mqtt]
listen = "127.0.0.1:0"
anonymous = true

[share_server]
loopback = { listen = "127.0.0.1:0", consumer = "spiffe://brain.example/test" }

[telemetry]
listen = "127.0.0.1:0"

[[port]]
name = "bus-1"
path = "bus-1"

[[template]]
name = "electricity"
[[template.point]]
metric = "energy"
unit = "kWh"
dlt645 = { di = "0001FF00", item = "forward_active_energy_total", period = "500ms" }
[[template.point]]
metric = "voltage_b"
unit = "V"
dlt645 = { di = "0201FF00", item = "voltage_b", period = "500ms" }

[[template]]
name = "water"
[[template.point]]
metric = "volume"
unit = "L"
cjt188 = { item = "current_volume", period = "500ms" }

[[template]]
name = "heat"
[[template.point]]
metric = "heat_energy"
unit = "kWh"
mbus = { item = "energy", period = "500ms" }

[[template]]
name = "sensor"
[[template.point]]
metric = "temperature"
unit = "Cel"
scale = "0.1"
modbus = { table = "input", address = 0, type = "i16", period = "500ms" }

[[device]]
id = "electricity-1"
template = "electricity"
port = "bus-1"
address = "201000000012"

[[device]]
id = "water-1"
template = "water"
port = "bus-1"
address = "00000805000001"

[[device]]
id = "heat-1"
template = "heat"
port = "bus-1"
address = "12345678"

[[device]]
id = "sensor-1"
template = "sensor"
port = "bus-1"
unit = 3

[[collect]]
id = "C-1"
templates = ["electricity", "water", "heat", "sensor"]
purpose = "utility.meters"
fields = { energy = "keep", voltage_b = "keep", volume = "keep", heat_energy = "keep", temperature = "keep" }

[[share]]
id = "S-1"
purpose = "utility.meters"
lane = "bulk"
consumers = ["spiffe://brain.example/test"]
metrics = ["energy", "voltage_b", "volume", "heat_energy", "temperature"]
devices = true
approval = "2026-001"
"#;

fn electricity() -> Dlt645Meter {
    Dlt645Meter::new(201_000_000_012, 11).fixed().at(2400)
}

fn water() -> Cjt188Meter {
    Cjt188Meter::new(0x10, 805_000_001, 12).fixed().at(2400)
}

fn heat() -> MbusMeter {
    MbusMeter::new(5, 12_345_678, 13).fixed().at(2400)
}

fn sensor() -> SimulatedSlave {
    let registers = vec![(0, Signal::Fixed(-123_i16 as u16))];
    SimulatedSlave { registers, ..SimulatedSlave::new(3, 14) }.at(9600)
}

fn plug(runtime: &Runtime, link: &Path) -> SimulatedBus {
    let meters: Vec<SimulatedMeter> =
        vec![electricity().into(), water().into(), heat().into(), sensor().into()];
    let _inside = runtime.enter();
    SimulatedBus::start(meters, false, Some(link.to_owned())).expect("a pty")
}

fn answers(gateway: &Gateway, device: &str) -> u64 {
    let name = format!("smallbrain_serial_answers_total{{port=\"bus-1\",device=\"{device}\"}}");
    gateway.metrics().get(&name).copied().unwrap_or_default()
}

const DEVICES: [&str; 4] = ["electricity-1", "water-1", "heat-1", "sensor-1"];

/// Each meter is deaf to the speed of the others.
#[test]
fn meters_of_four_protocols_on_one_line_arrive_at_the_city_exactly() {
    let site = Site::new(SITE);
    let runtime = Runtime::new().expect("a runtime");
    let bus = plug(&runtime, &site.path("bus-1"));
    let gateway = site.start();
    let zero = Duration::ZERO;
    let volts = electricity().value(0x0201_0200, zero).expect("a voltage");
    let litres = water().value(Cjt188Item::Volume, zero) * rust_decimal::Decimal::ONE_THOUSAND;
    let kilowatt_hours = heat().value(MbusItem::Energy, zero);
    for (device, metric, value) in [
        ("electricity-1", "energy", electricity().energy(zero)),
        ("electricity-1", "voltage_b", volts),
        ("water-1", "volume", litres),
        ("heat-1", "heat_energy", kilowatt_hours),
        ("sensor-1", "temperature", "-12.3".parse().expect("a number")),
    ] {
        let found = until(&format!("{metric} of {device}"), || {
            let mut found = readings(&gateway, device);
            found.retain(|(name, _)| name == metric);
            (!found.is_empty()).then_some(found)
        });
        for (_, text) in found {
            let number: rust_decimal::Decimal = text.parse().expect("a number");
            assert_eq!(number, value, "{metric} of {device}");
        }
    }
    assert_eq!(bus.writes_seen(), 0, "read-only");
}

/// User and system time of the process, from /proc.
fn cpu(gateway: &Gateway) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).expect("its times");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks"));
    // USER_HZ, in which Linux tells times, is 100.
    Duration::from_millis(10) * ticks.sum::<u64>() as u32
}

#[test]
fn an_adapter_that_is_pulled_and_plugged_again_is_read_within_seconds_and_nothing_spins_meanwhile() {
    let site = Site::new(SITE);
    let runtime = Runtime::new().expect("a runtime");
    let link = site.path("bus-1");
    let bus = plug(&runtime, &link);
    let gateway = site.start();
    let all_read = |more_than: &dyn Fn(&str) -> u64| {
        until("an answer of every meter", || {
            DEVICES.iter().all(|device| answers(&gateway, device) > more_than(device)).then_some(())
        });
    };
    all_read(&|_| 0);

    runtime.block_on(bus.unplug());
    gateway.log.wait("serial port not usable", 1);
    let (away, spent) = (Instant::now(), cpu(&gateway));
    let before: Vec<u64> = DEVICES.iter().map(|device| answers(&gateway, device)).collect();
    // Long enough for the waits between two attempts to have grown.
    let ports = || gateway.degraded().into_iter().filter(|line| line.starts_with("port"));
    assert_eq!(ports().collect::<Vec<_>>(), ["port bus-1: not open"]);
    let tried = || gateway.metric("smallbrain_serial_open_failures_total{port=\"bus-1\"}");
    until("some attempts without the adapter", || (tried() >= 3).then_some(()));
    let (wall, busy) = (away.elapsed(), cpu(&gateway) - spent);
    assert!(busy < wall / 4, "{busy:?} of CPU in {wall:?} without an adapter");

    let plugged = Instant::now();
    let bus = plug(&runtime, &link);
    let known = |device: &str| DEVICES.iter().position(|name| *name == device).map_or(0, |at| before[at]);
    until("an answer", || {
        DEVICES.iter().any(|device| answers(&gateway, device) > known(device)).then_some(())
    });
    let back = plugged.elapsed();
    assert!(back < Duration::from_secs(5), "read again after {back:?}");
    all_read(&known);
    assert_eq!(ports().next(), None);
    drop(bus);
}
