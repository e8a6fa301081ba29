//! The classes of packets whose latency is told apart.

/// A class of packets.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    Cheap,
    Expensive,
}

impl Class {
    pub(crate) const ALL: [Self; 2] = [Self::Cheap, Self::Expensive];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cheap => "cheap",
            Self::Expensive => "expensive",
        }
    }
}
