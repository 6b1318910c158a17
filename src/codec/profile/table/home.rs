//! Conventions of homes: Zigbee2MQTT, Home Assistant's discovery, Tasmota, Shelly.

use super::*;
use crate::codec::profile::discovery;

/// Flat JSON by friendly name. A contact that is closed is true; batteries tell their voltage in mV, plugs in V.
pub(super) const ZIGBEE2MQTT: Profile = Profile {
    name: "zigbee2mqtt",
    filters: &["zigbee2mqtt/#"],
    main: 4,
    routes: &[
        unread("zigbee2mqtt/bridge/{part*}", Kind::Metadata, &["bridge"]),
        Route {
            topic: "zigbee2mqtt/{device*}/availability",
            kind: Kind::Availability,
            format: Format::Either,
            device: &["{device}"],
            values: &[Values::Online("/state"), Values::Online("")],
            ..ROUTE
        },
        unread("zigbee2mqtt/{device*}/set", Kind::Command, &["{device}"]),
        unread("zigbee2mqtt/{device*}/get", Kind::Command, &["{device}"]),
        Route {
            topic: "zigbee2mqtt/{device*}",
            device: &["{device}"],
            times: &[("/last_seen", Epoch::Millis)],
            values: &[members(&[""])],
            ..ROUTE
        },
    ],
    metadata: &["last_seen", "update", "update_available", "device", "elapsed"],
    events: &["action"],
    units: &[
        unit("battery", "%"),
        UnitOf { metric: "voltage", unit: "mV", given: "/battery" },
        UnitOf { metric: "voltage", unit: "mV", given: "/battery_low" },
        unit("voltage", "V"),
        unit("temperature", "Cel"),
        unit("device_temperature", "Cel"),
        unit("soil_moisture", "%"),
        unit("humidity", "%RH"),
        unit("pressure", "hPa"),
        unit("illuminance", "lx"),
        unit("illuminance_lux", "lx"),
        unit("co2", "ppm"),
        unit("current", "A"),
        unit("power", "W"),
        unit("energy", "kWh"),
    ],
    words: &[
        ("state", "ON", true),
        ("state", "OFF", false),
        ("state_*", "ON", true),
        ("state_*", "OFF", false),
    ],
    meanings: &[("contact", "false", "door_open=true"), ("contact", "true", "door_open=false")],
    ..PROFILE
};

/// Metadata only: where the values of an entity are, and what they are.
pub(super) const HOMEASSISTANT_DISCOVERY: Profile = Profile {
    name: "homeassistant_discovery",
    filters: &["homeassistant/#"],
    routes: &[
        own("homeassistant/{component}/{object}/config", Kind::Discovery, discovery::read),
        own("homeassistant/{component}/{node}/{object}/config", Kind::Discovery, discovery::read),
    ],
    ..PROFILE
};

/// Nested by sensor, the time local unless it tells a zone.
pub(super) const TASMOTA: Profile = Profile {
    name: "tasmota",
    filters: &["tele/#", "stat/#"],
    routes: &[
        tasmota("tele/{device*}/SENSOR", &[nested(&[""])]),
        tasmota("tele/{device*}/STATE", &[nested(&[""])]),
        tasmota("stat/{device*}/RESULT", &[nested(&[""])]),
        tasmota("stat/{device*}/STATUS8", &[nested(&["/StatusSNS"])]),
        tasmota("stat/{device*}/STATUS10", &[nested(&["/StatusSNS"])]),
        Route {
            topic: "tele/{device*}/LWT",
            kind: Kind::Availability,
            format: Format::Bare,
            device: &["{device}"],
            values: &[Values::Online("")],
            ..ROUTE
        },
        Route {
            topic: "stat/{device*}/{output:POWER*}",
            format: Format::Bare,
            device: &["{device}"],
            values: &[Values::Scalar("{output}")],
            ..ROUTE
        },
        unread("tele/{device*}/{part}", Kind::Metadata, &["{device}"]),
        unread("stat/{device*}/{part}", Kind::Metadata, &["{device}"]),
        unread("cmnd/{device*}/{part}", Kind::Command, &["{device}"]),
    ],
    metadata: &[
        "Time",
        "Epoch",
        "TempUnit",
        "PressureUnit",
        "SpeedUnit",
        "TotalStartTime",
        "Id",
        "Uptime",
        "SleepMode",
        "Wifi.SSId",
        "Wifi.BSSId",
        "Wifi.Mode",
        "Wifi.Downtime",
        "Hostname",
        "IPAddress",
        "Mac",
    ],
    units: &[
        UnitOf { metric: "Temperature", unit: "[degF]", given: "/TempUnit=F" },
        UnitOf { metric: "DewPoint", unit: "[degF]", given: "/TempUnit=F" },
        unit("Temperature", "Cel"),
        unit("DewPoint", "Cel"),
        unit("Humidity", "%RH"),
        UnitOf { metric: "Pressure", unit: "hPa", given: "/PressureUnit=hPa" },
        unit("Illuminance", "lx"),
        unit("CarbonDioxide", "ppm"),
        unit("Distance", "cm"),
        unit("Wifi.Signal", "dBm"),
        unit("Wifi.RSSI", "%"),
        unit("UptimeSec", "s"),
        unit("ENERGY.Period*", "Wh"),
        unit("ENERGY.Total*", "kWh"),
        unit("ENERGY.Today*", "kWh"),
        unit("ENERGY.Yesterday*", "kWh"),
        unit("ENERGY.Power.*", "W"),
        unit("ENERGY.Voltage.*", "V"),
        unit("ENERGY.Current.*", "A"),
        unit("ENERGY.ApparentPower*", "VA"),
        unit("ENERGY.ReactivePower*", "var"),
        unit("Energy", "kWh"),
        unit("Power", "W"),
        unit("Voltage", "V"),
        unit("Current", "A"),
        unit("Frequency", "Hz"),
    ],
    words: &[
        ("POWER*", "ON", true),
        ("POWER*", "OFF", false),
        ("Switch*", "ON", true),
        ("Switch*", "OFF", false),
    ],
    ..PROFILE
};

const fn tasmota(topic: &'static str, values: &'static [Values]) -> Route {
    Route {
        topic,
        device: &["{device}"],
        times: &[
            ("/Epoch", Epoch::Seconds),
            ("/Time", Epoch::Seconds),
            ("/StatusSNS/Epoch", Epoch::Seconds),
            ("/StatusSNS/Time", Epoch::Seconds),
        ],
        values,
        ..ROUTE
    }
}

/// A bare scalar a topic, without a time. The energy of a relay is in watt-minutes, that of a meter in Wh.
pub(super) const SHELLY_GEN1: Profile = Profile {
    name: "shelly_gen1",
    filters: &["shellies/#"],
    main: 9,
    routes: &[
        unread("shellies/announce", Kind::Metadata, &[]),
        unread("shellies/command", Kind::Command, &[]),
        unread("shellies/{device}/announce", Kind::Metadata, &["{device}"]),
        unread("shellies/{device}/info", Kind::Metadata, &["{device}"]),
        unread("shellies/{device}/{part*}/command", Kind::Command, &["{device}"]),
        unread("shellies/{device}/command", Kind::Command, &["{device}"]),
        Route {
            topic: "shellies/{device}/online",
            kind: Kind::Availability,
            format: Format::Bare,
            device: &["{device}"],
            values: &[Values::Online("")],
            ..ROUTE
        },
        Route {
            topic: "shellies/{device}/input_event/{input}",
            device: &["{device}"],
            values: &[Values::Composed(&[("input_event.{input}", "{/event}")])],
            ..ROUTE
        },
        // Of those that tell everything in one message: motion sensors, valves of radiators.
        Route { topic: "shellies/{device}/status", device: &["{device}"], values: &[nested(&[""])], ..ROUTE },
        Route {
            topic: "shellies/{device}/{part*}",
            format: Format::Bare,
            device: &["{device}"],
            values: &[Values::Scalar("{part}")],
            ..ROUTE
        },
    ],
    metadata: &["timestamp"],
    events: &["longpush.*"],
    units: &[
        unit("relay.*power", "W"),
        unit("meter.*power", "W"),
        unit("power", "W"),
        unit("reactive_power", "var"),
        unit("voltage", "V"),
        unit("current", "A"),
        unit("total", "Wh"),
        unit("total_returned", "Wh"),
        unit("energy", "W.min"),
        unit("temperature_f", "[degF]"),
        unit("temperature", "Cel"),
        unit("humidity", "%RH"),
        unit("battery", "%"),
        unit("bat", "%"),
        unit("lux", "lx"),
    ],
    words: &[
        ("relay.*", "on", true),
        ("relay.*", "off", false),
        ("light.*", "on", true),
        ("light.*", "off", false),
    ],
    meanings: &[
        ("sensor.state", "open", "door_open=true"),
        ("sensor.state", "close", "door_open=false"),
        ("sensor.flood", "true", "water_leak=true"),
        ("sensor.flood", "false", "water_leak=false"),
    ],
    ..PROFILE
};

/// JSON-RPC notifications that tell what changed.
pub(super) const SHELLY_GEN2: Profile = Profile {
    name: "shelly_gen2",
    filters: &["+/events/rpc", "+/status/+", "+/online"],
    routes: &[
        Route {
            topic: "{device*}/events/rpc",
            device: &["{/src}", "{device}"],
            times: &[("/params/ts", Epoch::Seconds)],
            values: &[
                nested(&["/params"]),
                Values::Each(&Each {
                    at: "/params/events",
                    time: Some(("/ts", Epoch::Seconds)),
                    event: true,
                    values: &[Values::Composed(&[("{/component}", "{/event}")])],
                    ..EACH
                }),
            ],
            ..ROUTE
        },
        Route {
            topic: "{device*}/status/{part}",
            device: &["{device}"],
            values: &[Values::Members { at: &[""], prefix: "{part}.", nested: true, boxed: false }],
            ..ROUTE
        },
        Route {
            topic: "{device*}/online",
            kind: Kind::Availability,
            format: Format::Bare,
            device: &["{device}"],
            values: &[Values::Online("")],
            ..ROUTE
        },
        unread("{device*}/rpc", Kind::Command, &["{device}"]),
        unread("{device*}/command/{part}", Kind::Command, &["{device}"]),
    ],
    metadata: &[
        "ts",
        "id",
        "source",
        "events",
        "minute_ts",
        "by_minute",
        "tF",
        "sys",
        "sys.*",
        "wifi",
        "wifi.*",
        "cloud",
        "cloud.*",
        "mqtt",
        "mqtt.*",
        "ble",
        "ble.*",
        "ws",
        "ws.*",
        "eth",
        "eth.*",
    ],
    units: &[
        unit("apower", "W"),
        unit("act_power", "W"),
        unit("*_act_power", "W"),
        unit("aprt_power", "VA"),
        unit("*_aprt_power", "VA"),
        unit("voltage", "V"),
        unit("*_voltage", "V"),
        unit("current", "A"),
        unit("*_current", "A"),
        unit("freq", "Hz"),
        unit("*_freq", "Hz"),
        unit("total", "Wh"),
        unit("*_act_energy", "Wh"),
        unit("total_act", "Wh"),
        unit("total_act_ret", "Wh"),
        unit("tC", "Cel"),
        unit("rh", "%RH"),
        unit("percent", "%"),
        unit("lux", "lx"),
        unit("battery.V", "V"),
    ],
    ..PROFILE
};
