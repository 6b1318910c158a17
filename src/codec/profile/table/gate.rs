//! Conventions of doors that look at people. Only what is named here becomes a reading, and nothing of it is about a person.

use super::*;
use crate::codec::profile::PHOTO_PAYLOAD_BYTES_MAX;

/// A number that a person can be found by, and which a policy can allow as a pseudonym.
const fn number(field: &'static str) -> (&'static str, bool) {
    (field, true)
}

/// What describes a person.
const fn person(field: &'static str) -> (&'static str, bool) {
    (field, false)
}

const PERSON: &[(&str, bool)] = &[
    number("cardNo"),
    number("cardNum*"),
    number("employeeNo"),
    number("employeeNoString"),
    number("personId"),
    number("customId"),
    number("RFIDCard"),
    number("MjCardNo"),
    person("name"),
    person("personName"),
    person("persionName"),
    person("userName"),
    person("password"),
    person("idCard*"),
    person("idNo"),
    person("certificateNo"),
    person("telnum"),
    person("tel"),
    person("phone*"),
    person("mobile*"),
    person("address"),
    person("native"),
    person("nation"),
    person("birthday"),
    person("gender"),
    person("sex"),
    person("age"),
    person("temperature*"),
    person("currTemperature"),
    person("similarity*"),
    person("feature*"),
    person("face"),
    person("faceRect"),
    person("faceData*"),
    person("facePic*"),
    person("faceURL"),
    person("fingerprint*"),
    person("photo*"),
    person("pic"),
    person("pics"),
    person("picture*"),
    person("pictureURL"),
    person("image*"),
    person("snapPic*"),
    person("registerPic"),
    person("plate*"),
    person("licensePlate"),
];

const fn passage(topic: &'static str) -> Route {
    Route {
        topic,
        kind: Kind::Event,
        device: &["{device}", "{/info/facesluiceId}"],
        times: &[("/info/time", Epoch::Magnitude)],
        values: &[Values::Each(&Each {
            event: true,
            values: &[Values::Named(&[
                ("VerifyStatus", "/info/VerifyStatus"),
                ("direction", "/info/direction"),
                ("otype", "/info/otype"),
                ("isNoMask", "/info/isNoMask"),
            ])],
            ..EACH
        })],
        id: &["/info/RecordID", "/info/SnapID", "/info/pid"],
        id_of_device: true,
        ..ROUTE
    }
}

const fn terminal(topic: &'static str) -> Route {
    Route {
        topic,
        kind: Kind::Availability,
        device: &["{device}", "{/info/facesluiceId}"],
        times: &[("/info/time", Epoch::Magnitude)],
        values: &[Values::Online("/operator")],
        ..ROUTE
    }
}

/// Passages: that somebody was let through, which way, and when. Everything is a text; the time is local.
pub(super) const FACE_TERMINAL: Profile = Profile {
    name: "face_terminal",
    filters: &["mqtt/face/#"],
    bytes_max: PHOTO_PAYLOAD_BYTES_MAX,
    routes: &[
        passage("mqtt/face/{device}/Rec"),
        passage("mqtt/face/{device}/Snap"),
        terminal("mqtt/face/basic"),
        terminal("mqtt/face/heartbeat"),
        terminal("mqtt/face/{device}/heartbeat"),
        unread("mqtt/face/{device}/Ack", Kind::Metadata, &["{device}"]),
        unread("mqtt/face/{device}", Kind::Command, &["{device}"]),
    ],
    refused: PERSON,
    ..PROFILE
};

/// The JSON part of an event that the device posts over HTTP: what kind of event, and when.
pub(super) const HIKVISION_ISAPI: Profile = Profile {
    name: "hikvision_isapi",
    bytes_max: PHOTO_PAYLOAD_BYTES_MAX,
    routes: &[Route {
        kind: Kind::Event,
        device: &["{/deviceID}", "{/ipAddress}"],
        times: &[("/dateTime", Epoch::Magnitude)],
        values: &[Values::Composed(&[
            ("access_event", "{/AccessControllerEvent/majorEventType}/{/AccessControllerEvent/subEventType}"),
            ("event", "{/eventType}/{/eventState}"),
        ])],
        id: &["/AccessControllerEvent/serialNo"],
        id_of_device: true,
        ..ROUTE
    }],
    refused: PERSON,
    ..PROFILE
};

/// Nothing but the time of such an event, as it stands in `dateTime`.
pub(super) const HIKVISION_ISAPI_TIME: Profile = Profile {
    name: "hikvision_isapi_time",
    routes: &[Route { kind: Kind::Event, times: &[("", Epoch::Magnitude)], ..ROUTE }],
    ..PROFILE
};
