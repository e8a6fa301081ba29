//! The modes of simulations: those of experiments, pools that follow the load,
//! and the ideals that no mode can beat.

use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::mode::LabMode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SimMode {
    Lab(LabMode),
    /// `hybrid --pools auto`.
    Auto,
    /// One queue for all lcores, oldest first.
    Central,
    /// One queue for all lcores, cheap first, expensive work capped at pool B's
    /// size.
    Elastic,
}

static ALL: LazyLock<Vec<SimMode>> = LazyLock::new(|| {
    let lab = LabMode::value_variants().iter().map(|&mode| SimMode::Lab(mode));
    lab.chain([SimMode::Auto, SimMode::Central, SimMode::Elastic]).collect()
});

impl SimMode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lab(mode) => mode.name(),
            Self::Auto => "auto",
            Self::Central => "central",
            Self::Elastic => "elastic",
        }
    }

    /// Whether it is an ideal, which no lcores carry out.
    pub(super) fn is_ideal(self) -> bool {
        matches!(self, Self::Central | Self::Elastic)
    }
}

impl ValueEnum for SimMode {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Lab(mode) => return mode.to_possible_value(),
            Self::Auto => "hybrid with pools that follow the load",
            Self::Central => "Ideal: one queue, oldest first, lcores that do nothing else",
            Self::Elastic => {
                "Ideal: one queue, cheap first, expensive work capped at pool B's size"
            }
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}
