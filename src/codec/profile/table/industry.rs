//! Conventions of industry: Sparkplug B, Neuron.

use super::*;

/// Births define what data then calls by numbers.
pub(super) const SPARKPLUG_B: Profile = Profile {
    name: "sparkplug_b",
    filters: &["spBv1.0/#"],
    main: 3,
    routes: &[
        own("spBv1.0/{group}/NBIRTH/{node}", Kind::Birth, sparkplug::read),
        own("spBv1.0/{group}/DBIRTH/{node}/{device}", Kind::Birth, sparkplug::read),
        own("spBv1.0/{group}/NDATA/{node}", Kind::Data, sparkplug::read),
        own("spBv1.0/{group}/DDATA/{node}/{device}", Kind::Data, sparkplug::read),
        own("spBv1.0/{group}/NDEATH/{node}", Kind::Death, sparkplug::read),
        own("spBv1.0/{group}/DDEATH/{node}/{device}", Kind::Death, sparkplug::read),
        unread("spBv1.0/{group}/NCMD/{node}", Kind::Command, &["{group}/{node}"]),
        unread("spBv1.0/{group}/DCMD/{node}/{device}", Kind::Command, &["{group}/{node}/{device}"]),
        unread("spBv1.0/STATE/{host}", Kind::Metadata, &[]),
    ],
    ..PROFILE
};

const fn neuron(values: &'static [Values]) -> Route {
    Route {
        device: &["{/node}/{/group}"],
        times: &[("/timestamp", Epoch::Millis)],
        values,
        failed: "/errors",
        ..ROUTE
    }
}

/// Values by tag, and error codes of those that failed.
pub(super) const NEURON_VALUES: Profile =
    Profile { name: "neuron_values", routes: &[neuron(&[nested(&["/values"])])], ..PROFILE };

/// An array of tags, each with a value or an error code.
pub(super) const NEURON_TAGS: Profile =
    Profile { name: "neuron_tags", routes: &[neuron(&[Values::Pairs { at: "/tags" }])], ..PROFILE };
