//! The modes of experiments, with their names and mpfwd's arguments. Derived
//! from the table of modes.

use std::num::NonZeroU64;
use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use micropools::policy::{Argument, Mode, Variant};
use mpfwd_common::args::Pools;
use mpfwd_common::error::{Error, Result};

/// A mode of mpfwd, or a variant of one. Experiments treat both alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LabMode {
    mode: Mode,
    variant: Option<Variant>,
}

/// Each mode, with its variants behind it.
static ALL: LazyLock<Vec<LabMode>> = LazyLock::new(|| {
    let with_variants = |&mode: &Mode| {
        let variants = mode.facts().variants.iter();
        let variants = variants.map(move |&variant| LabMode { mode, variant: Some(variant) });
        std::iter::once(LabMode::from(mode)).chain(variants)
    };
    Mode::ALL.iter().flat_map(with_variants).collect()
});

impl From<Mode> for LabMode {
    fn from(mode: Mode) -> Self {
        Self { mode, variant: None }
    }
}

impl LabMode {
    pub(super) fn name(self) -> &'static str {
        self.variant.map_or(self.mode.name(), |variant| variant.name)
    }

    fn help(self) -> &'static str {
        self.variant.map_or(self.mode.facts().help, |variant| variant.help)
    }

    /// The mode of mpfwd.
    pub(super) fn mode(self) -> Mode {
        self.mode
    }

    /// The argument that makes the variant.
    pub(super) fn argument(self) -> Option<Argument> {
        self.variant.map(|variant| variant.argument)
    }

    /// Whether the mode splits the lcores.
    pub(super) fn has_pools(self) -> bool {
        self.mode.facts().has_pools
    }

    /// The mode's row in the table of modes; and 0 for the mode itself, else
    /// the number of its variant, from 1.
    pub(super) fn place(self) -> (usize, usize) {
        let row = Mode::ALL.iter().position(|&mode| mode == self.mode);
        let variants = self.mode.facts().variants;
        let variant = variants.iter().position(|&variant| Some(variant) == self.variant);
        (row.expect("every mode has a row"), variant.map_or(0, |at| at + 1))
    }

    /// mpfwd's arguments for it.
    pub(super) fn args(self, pools: Pools, steal_every: NonZeroU64) -> Vec<String> {
        let mut args = vec!["--mode".to_owned(), self.mode.name().to_owned()];
        if let Some(Variant { argument, .. }) = self.variant {
            args.push(argument.flag().to_owned());
            match argument {
                Argument::StealEvery => args.push(steal_every.to_string()),
                Argument::StealRx => {}
                Argument::Shards
                | Argument::ShardPick
                | Argument::RescueAfter
                | Argument::StallAfter
                | Argument::Excess
                | Argument::ExpensiveCap => unreachable!("no variant is made by it"),
            }
        }
        if self.has_pools() {
            args.extend(["--pools".to_owned(), pools.to_string()]);
        }
        args
    }
}

impl ValueEnum for LabMode {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name()).help(self.help());
        // `single` is the name in the original benchmark.
        let is_steal = *self == Self::from(Mode::Steal);
        Some(if is_steal { value.alias("single") } else { value })
    }
}

/// # Errors
/// `--modes` names one twice.
pub(super) fn check_distinct<M: Copy + PartialEq>(
    modes: &[M],
    name: impl Fn(M) -> &'static str,
) -> Result<()> {
    match modes.iter().enumerate().find(|(at, mode)| modes[..*at].contains(mode)) {
        Some((_, &twice)) => {
            Err(Error::Usage(format!("--modes has {} twice: leave one out", name(twice))))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_modes_have_their_arguments() {
        let args = |mode: &LabMode| {
            mode.args(Pools { a: 3, b: 1 }, NonZeroU64::new(61).unwrap()).join(" ")
        };
        let all: Vec<_> = ALL.iter().map(|mode| (mode.name(), args(mode))).collect();
        let expected = [
            ("rtc", "--mode rtc"),
            ("steal", "--mode steal"),
            ("steal-every", "--mode steal --steal-every 61"),
            ("steal-rx", "--mode steal --steal-rx"),
            ("shared", "--mode shared"),
            ("shed-random", "--mode shed-random"),
            ("pools", "--mode pools --pools 3:1"),
            ("hybrid", "--mode hybrid --pools 3:1"),
        ];
        assert_eq!(all, expected.map(|(name, args)| (name, args.to_owned())));
        assert_eq!(LabMode::from_str("single", false), Ok(Mode::Steal.into()));
    }
}
