//! Conventions of device clouds: ThingsBoard, Alibaba, Huawei.

use super::*;

/// Several devices a message, each with several times.
pub(super) const THINGSBOARD_GATEWAY: Profile = Profile {
    name: "thingsboard_gateway",
    filters: &["v1/gateway/#"],
    routes: &[
        Route {
            topic: "v1/gateway/telemetry",
            values: &[Values::Each(&Each {
                keyed: true,
                device: "{key}",
                values: &[Values::Each(&Each {
                    time: Some(("/ts", Epoch::Millis)),
                    values: &[members(&["/values", ""])],
                    ..EACH
                })],
                ..EACH
            })],
            ..ROUTE
        },
        Route { topic: "v1/gateway/connect", kind: Kind::Birth, device: &["{/device}"], ..ROUTE },
        Route { topic: "v1/gateway/disconnect", kind: Kind::Death, device: &["{/device}"], ..ROUTE },
        unread("v1/gateway/{part*}", Kind::Metadata, &[]),
    ],
    metadata: &["ts"],
    ..PROFILE
};

/// Parameters that are values, or objects of a value and its time.
pub(super) const ALIYUN_ALINK: Profile = Profile {
    name: "aliyun_alink",
    filters: &["/sys/+/+/thing/event/#"],
    routes: &[
        Route {
            topic: "/sys/{product}/{device}/thing/event/property/post",
            device: &["{product}/{device}"],
            values: &[Values::Members { at: &["/params"], prefix: "", nested: true, boxed: true }],
            ..ROUTE
        },
        Route {
            topic: "/sys/{product}/{device}/thing/event/{event}/post",
            kind: Kind::Event,
            device: &["{product}/{device}"],
            times: &[("/params/time", Epoch::Millis)],
            values: &[Values::Each(&Each {
                event: true,
                values: &[Values::Members {
                    at: &["/params/value", "/params"],
                    prefix: "{event}.",
                    nested: true,
                    boxed: false,
                }],
                ..EACH
            })],
            ..ROUTE
        },
        unread("/sys/{product}/{device}/thing/service/{part*}", Kind::Command, &["{product}/{device}"]),
        unread("/sys/{product}/{device}/{part*}", Kind::Metadata, &["{product}/{device}"]),
    ],
    units: &[unit("*temperature", "Cel"), unit("*humidity", "%RH")],
    ..PROFILE
};

/// Services of properties, of a device or of those behind it.
pub(super) const HUAWEI_IOTDA: Profile = Profile {
    name: "huawei_iotda",
    filters: &["$oc/devices/+/sys/#"],
    routes: &[
        Route {
            topic: "$oc/devices/{device}/sys/properties/report",
            device: &["{device}"],
            values: &[Values::Each(&SERVICE)],
            ..ROUTE
        },
        Route {
            topic: "$oc/devices/{gateway}/sys/gateway/sub_devices/properties/report",
            values: &[Values::Each(&Each {
                at: "/devices",
                device: "{/device_id}",
                values: &[Values::Each(&SERVICE)],
                ..EACH
            })],
            ..ROUTE
        },
        Route {
            topic: "$oc/devices/{device}/sys/events/up",
            kind: Kind::Event,
            device: &["{device}"],
            values: &[Values::Each(&Each {
                at: "/services",
                prefix: "{/service_id}.{/event_type}.",
                time: Some(("/event_time", Epoch::Magnitude)),
                event: true,
                values: &[nested(&["/paras"])],
                ..EACH
            })],
            ..ROUTE
        },
        unread("$oc/devices/{device}/sys/commands/{part*}", Kind::Command, &["{device}"]),
        unread("$oc/devices/{device}/{part*}", Kind::Metadata, &["{device}"]),
    ],
    ..PROFILE
};

static SERVICE: Each = Each {
    at: "/services",
    prefix: "{/service_id}.",
    time: Some(("/event_time", Epoch::Magnitude)),
    values: &[nested(&["/properties"])],
    ..EACH
};
