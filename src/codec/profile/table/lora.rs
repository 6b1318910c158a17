//! Conventions of radio sensors: ChirpStack, a device's own bytes, SenML.

use super::*;
use crate::codec::profile::{channel, senml};

/// A network server's events. Without a codec on the server the device's bytes are handed on as they are. What is zero,
/// false or empty is not sent (proto3 JSON), so a missing member says nothing.
pub(super) const CHIRPSTACK_V4: Profile = Profile {
    name: "chirpstack_v4",
    filters: &["application/+/device/+/event/+"],
    routes: &[
        Route {
            topic: "application/{application}/device/{device}/event/up",
            device: &["{device}", "{/deviceInfo/devEui}"],
            times: &[("/time", Epoch::Magnitude)],
            values: &[
                nested(&["/object"]),
                Values::Greatest { at: "/rxInfo", by: "rssi", take: &["rssi", "snr"] },
                Values::Bytes { at: "/data", unless: "/object" },
            ],
            id: &["/deduplicationId"],
            ..ROUTE
        },
        Route {
            topic: "application/{application}/device/{device}/event/status",
            device: &["{device}", "{/deviceInfo/devEui}"],
            times: &[("/time", Epoch::Magnitude)],
            values: &[Values::Named(&[
                ("margin", "/margin"),
                ("batteryLevel", "/batteryLevel"),
                ("externalPowerSource", "/externalPowerSource"),
            ])],
            id: &["/deduplicationId"],
            ..ROUTE
        },
        Route {
            topic: "application/{application}/device/{device}/event/join",
            kind: Kind::Birth,
            device: &["{device}", "{/deviceInfo/devEui}"],
            times: &[("/time", Epoch::Magnitude)],
            id: &["/deduplicationId"],
            ..ROUTE
        },
        unread("application/{application}/device/{device}/event/{event}", Kind::Metadata, &["{device}"]),
        unread("application/{application}/device/{device}/command/{command}", Kind::Command, &["{device}"]),
    ],
    units: &[
        unit("rssi", "dBm"),
        unit("snr", "dB"),
        unit("margin", "dB"),
        unit("batteryLevel", "%"),
        unit("battery", "%"),
        unit("BatV", "V"),
        unit("Bat_V", "V"),
        unit("temp_*", "Cel"),
        unit("temperature", "Cel"),
        unit("TempC_*", "Cel"),
        unit("humidity", "%RH"),
        unit("Hum_SHT", "%RH"),
        unit("water_SOIL*", "%"),
        unit("co2", "ppm"),
        unit("illumination", "lx"),
    ],
    meanings: &[
        ("magnet_status", "open", "door_open=true"),
        ("magnet_status", "close", "door_open=false"),
        ("magnet_status", "closed", "door_open=false"),
        ("leakage_status", "leak", "water_leak=true"),
        ("leakage_status", "normal", "water_leak=false"),
        ("door_open_status", "1", "door_open=true"),
        ("door_open_status", "0", "door_open=false"),
    ],
    ..PROFILE
};

/// Channels of a device's own bytes.
pub(super) const LORAWAN_DEVICE_PAYLOAD: Profile = Profile {
    name: "lorawan_device_payload",
    bytes_max: 256,
    routes: &[own("#", Kind::Data, channel::read)],
    ..PROFILE
};

/// Any topic; the names are in the payload.
pub(super) const SENML: Profile =
    Profile { name: "senml", routes: &[own("#", Kind::Data, senml::read)], ..PROFILE };
