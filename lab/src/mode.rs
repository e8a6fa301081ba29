//! The modes that are compared, each a word and the arguments that mpfwd is
//! given for it.

use std::num::NonZeroU64;

use clap::ValueEnum;

use mpfwd_common::args::Pools;

/// What is compared: mpfwd's modes, and stealing with and without obligation as
/// two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LabMode {
    /// RSS and run-to-completion
    Rtc,
    /// Idle lcores steal
    #[value(alias = "single")]
    Steal,
    /// Busy lcores steal too, every so many packets
    StealEvery,
    /// To the shorter of two random lcores
    ShedRandom,
    /// Two micropools
    Pools,
    /// Pools that help and rescue
    Hybrid,
}

impl LabMode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rtc => "rtc",
            Self::Steal => "steal",
            Self::StealEvery => "steal-every",
            Self::ShedRandom => "shed-random",
            Self::Pools => "pools",
            Self::Hybrid => "hybrid",
        }
    }

    /// Whether it splits the lcores.
    pub(super) fn has_pools(self) -> bool {
        matches!(self, Self::Pools | Self::Hybrid)
    }

    /// mpfwd's arguments for it.
    pub(super) fn args(self, pools: Pools, steal_every: NonZeroU64) -> Vec<String> {
        let own = match self {
            Self::Rtc | Self::Steal | Self::ShedRandom => format!("--mode {}", self.name()),
            Self::StealEvery => format!("--mode steal --steal-every {steal_every}"),
            Self::Pools | Self::Hybrid => format!("--mode {} --pools {pools}", self.name()),
        };
        own.split(' ').map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for mode in LabMode::value_variants() {
            assert_eq!(mode.to_possible_value().expect("none is hidden").get_name(), mode.name());
        }
    }
}
