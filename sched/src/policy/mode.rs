//! The modes: one row per mode, with all that configuration needs to know about
//! it. Help texts, argument checks, the plan of queues and lcores, and tables in
//! documents are made from these rows.
//!
//! To add a mode, write its policy, its row here, the arm that launches it, and
//! tests. The compiler finds a mode without a row, a row that contradicts its
//! policy's constants, and a launch without an arm.

use super::{Deferral, Hybrid, Policy, Pool, Pools, Rtc, Shared, ShedRandom, Steal, StealEvery};

/// Which lcores do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// No lcore.
    Nobody,
    /// All lcores of pool A.
    PoolA,
    /// All lcores of pool B.
    PoolB,
    /// All lcores.
    All,
}

impl Who {
    /// Whether lcores of `pool` are among them.
    pub const fn includes(self, pool: Pool) -> bool {
        match self {
            Self::Nobody => false,
            Self::PoolA => matches!(pool, Pool::A),
            Self::PoolB => matches!(pool, Pool::B),
            Self::All => true,
        }
    }

    /// How many lcores these are, of `pool_a` lcores in pool A and `pool_b` in
    /// pool B.
    pub const fn count(self, pool_a: usize, pool_b: usize) -> usize {
        match self {
            Self::Nobody => 0,
            Self::PoolA => pool_a,
            Self::PoolB => pool_b,
            Self::All => pool_a.saturating_add(pool_b),
        }
    }

    /// In a sentence: "only 8 lcores shed (pool A)".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::PoolA => "pool A",
            Self::PoolB => "pool B",
            Self::All => "all lcores",
        }
    }
}

/// A command-line argument that only some modes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// The number of shards.
    Shards,
    /// The [`ShardPick`](crate::shed::ShardPick).
    ShardPick,
    /// Packets from one obligatory attempt to steal to the next.
    StealEvery,
    /// Idle lcores poll others' receive queues.
    StealRx,
    /// How long an lcore may be in one packet before others rescue it.
    RescueAfter,
    /// How long an lcore may not be seen to run before others poll for it.
    StallAfter,
    /// How idle lcores share the backlog of one that is pressed.
    Excess,
    /// How many lcores may be in expensive work at a time.
    ExpensiveCap,
}

impl Argument {
    /// As it is written on the command line.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Shards => "--shards",
            Self::ShardPick => "--shard-pick",
            Self::StealEvery => "--steal-every",
            Self::StealRx => "--steal-rx",
            Self::StallAfter => "--stall-after",
            Self::Excess => "--excess",
            Self::RescueAfter => "--rescue-after",
            Self::ExpensiveCap => "--expensive-cap",
        }
    }
}

/// A mode with an optional argument given, where experiments compare that as a
/// mode of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name in experiments.
    pub name: &'static str,
    /// One line for help texts.
    pub help: &'static str,
    /// The argument that makes the difference.
    pub argument: Argument,
}

/// One mode's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeFacts {
    /// As it is written on the command line and in reports.
    pub name: &'static str,
    /// One line for help texts.
    pub help: &'static str,
    /// The lcores are split into pools A and B. In the other modes all lcores
    /// are of pool A.
    pub has_pools: bool,
    /// Which lcores have receive queues of their own.
    pub polls: Who,
    /// Lcores also poll the receive queues of others, under their leases.
    pub polls_for_others: bool,
    /// Each lcore owns all receive queues, and polls them in turn.
    pub owns_all_queues: bool,
    /// Which lcores have a shard to put deferred packets into.
    pub sheds: Who,
    /// Which lcores dequeue from the shards.
    pub dequeues: Who,
    /// At least one lcore of pool A is never in expensive work, and a cap limits
    /// how many lcores are.
    pub capped: bool,
    /// Each lcore has an inbox that all others put into.
    pub has_inboxes: bool,
    /// The arguments that this mode has and some other mode has not.
    pub arguments: &'static [Argument],
    /// The variants that experiments know.
    pub variants: &'static [Variant],
}

impl ModeFacts {
    /// Whether lcores can change their pool while they run: those of either pool
    /// have queues and a shard of their own, and dequeue from the shards.
    pub const fn moves_lcores(&self) -> bool {
        let who = (self.polls, self.sheds, self.dequeues);
        self.has_pools && matches!(who, (Who::All, Who::All, Who::All))
    }

    /// Whether an lcore of `pool` dequeues from the shards, where pool A has
    /// `pool_a` lcores. Where expensive work is capped, the only lcore of pool A
    /// may never be in it.
    pub const fn may_dequeue(&self, pool: Pool, pool_a: usize) -> bool {
        self.dequeues.includes(pool) && !(self.capped && matches!(pool, Pool::A) && pool_a < 2)
    }

    /// Whether the row says what the policy's constants say.
    const fn agrees_with<P: Policy>(&self) -> bool {
        let workers_poll = self.has_pools && matches!(self.polls, Who::All);
        let is_shed = !matches!(self.sheds, Who::Nobody);
        is_shed == matches!(P::DEFERRED, Deferral::Shard)
            && is_shed == !matches!(self.dequeues, Who::Nobody)
            && self.has_inboxes == matches!(P::DEFERRED, Deferral::Inbox)
            && workers_poll == P::WORKERS_POLL
            && self.moves_lcores() == P::WORKERS_POLL
            && self.polls_for_others == P::RESCUES
            && self.capped == P::CAPPED
    }
}

/// Run to completion in a single pool: what other rows differ from.
const SINGLE_POOL: ModeFacts = ModeFacts {
    name: "",
    help: "",
    has_pools: false,
    polls: Who::All,
    polls_for_others: false,
    owns_all_queues: false,
    sheds: Who::Nobody,
    dequeues: Who::Nobody,
    capped: false,
    has_inboxes: false,
    arguments: &[],
    variants: &[],
};

const RTC: ModeFacts =
    ModeFacts { name: "rtc", help: "RSS and run-to-completion, nothing shared", ..SINGLE_POOL };

const STEAL: ModeFacts = ModeFacts {
    name: "steal",
    help: "Every lcore polls, idle ones steal from run queues",
    arguments: &[Argument::StealEvery, Argument::StealRx],
    variants: &[
        Variant {
            name: "steal-every",
            help: "As steal, and busy lcores steal too, every so many packets",
            argument: Argument::StealEvery,
        },
        Variant {
            name: "steal-rx",
            help: "As steal, and idle lcores poll others' receive queues too",
            argument: Argument::StealRx,
        },
    ],
    ..SINGLE_POOL
};

const SHARED: ModeFacts = ModeFacts {
    name: "shared",
    help: "Any lcore polls any queue, burst by burst",
    owns_all_queues: true,
    ..SINGLE_POOL
};

const SHED_RANDOM: ModeFacts = ModeFacts {
    name: "shed-random",
    help: "Every lcore polls, expensive packets go to the shorter of two random lcores",
    has_inboxes: true,
    ..SINGLE_POOL
};

const POOLS: ModeFacts = ModeFacts {
    name: "pools",
    help: "Two micropools joined by the sharded queue",
    has_pools: true,
    polls: Who::PoolA,
    sheds: Who::PoolA,
    dequeues: Who::PoolB,
    arguments: &[Argument::Shards, Argument::ShardPick],
    ..SINGLE_POOL
};

const HYBRID: ModeFacts = ModeFacts {
    name: "hybrid",
    help: "Pools whose idle lcores help, and rescue those that are stuck",
    has_pools: true,
    polls: Who::All,
    polls_for_others: true,
    sheds: Who::All,
    dequeues: Who::All,
    capped: true,
    arguments: &[
        Argument::Shards,
        Argument::ShardPick,
        Argument::RescueAfter,
        Argument::StallAfter,
        Argument::Excess,
        Argument::ExpensiveCap,
    ],
    ..SINGLE_POOL
};

const _: () = assert!(RTC.agrees_with::<Rtc>());
const _: () = assert!(
    STEAL.agrees_with::<Steal<false>>()
        && STEAL.agrees_with::<Steal<true>>()
        && STEAL.agrees_with::<StealEvery>()
);
const _: () = assert!(SHARED.agrees_with::<Shared>());
const _: () = assert!(SHED_RANDOM.agrees_with::<ShedRandom>());
const _: () = assert!(POOLS.agrees_with::<Pools>());
const _: () = assert!(HYBRID.agrees_with::<Hybrid>());

/// Names each mode once, with its row.
macro_rules! modes {
    ($($mode:ident => $row:ident),+ $(,)?) => {
        /// How lcores share work.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mode {
            $(#[doc = concat!("The row `", stringify!($row), "`.")] $mode),+
        }

        impl Mode {
            /// All of them, in the order of help texts.
            pub const ALL: &'static [Self] = &[$(Self::$mode),+];

            /// The mode's row.
            pub const fn facts(self) -> &'static ModeFacts {
                match self {
                    $(Self::$mode => &$row),+
                }
            }
        }
    };
}

modes! {
    Rtc => RTC,
    Steal => STEAL,
    Shared => SHARED,
    ShedRandom => SHED_RANDOM,
    Pools => POOLS,
    Hybrid => HYBRID,
}

impl Mode {
    /// The mode where none is asked for: by whether the lcores are split.
    pub const fn default_for(has_pools: bool) -> Self {
        if has_pools { Self::Hybrid } else { Self::Rtc }
    }

    /// As it is written on the command line and in reports.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Whether it has that argument.
    pub fn has(self, argument: Argument) -> bool {
        self.facts().arguments.contains(&argument)
    }

    /// The modes that `wanted` picks, as they are written on the command line:
    /// "--mode pools or --mode hybrid".
    pub fn choices(wanted: impl Fn(Self) -> bool) -> String {
        let names = Self::ALL.iter().filter(|&&mode| wanted(mode));
        names.map(|mode| format!("--mode {}", mode.name())).collect::<Vec<_>>().join(" or ")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Mode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(feature = "clap")]
impl clap::ValueEnum for Mode {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()).help(self.facts().help))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_words() {
        let mut names: Vec<&str> = Mode::ALL
            .iter()
            .flat_map(|mode| {
                let facts = mode.facts();
                let variants = facts.variants.iter().map(|variant| variant.name);
                std::iter::once(facts.name).chain(variants)
            })
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }

    #[test]
    fn a_variant_is_a_mode_with_one_of_its_arguments() {
        for mode in Mode::ALL {
            for variant in mode.facts().variants {
                assert!(mode.has(variant.argument) && variant.name.starts_with(mode.name()));
            }
        }
    }

    #[test]
    fn shards_are_an_argument_where_there_are_any() {
        for mode in Mode::ALL {
            let facts = mode.facts();
            let has_shards = facts.sheds != Who::Nobody;
            assert_eq!(facts.has_pools, has_shards, "{}", facts.name);
            for argument in [Argument::Shards, Argument::ShardPick] {
                assert_eq!(mode.has(argument), has_shards, "{}", facts.name);
            }
            assert_eq!(mode.has(Argument::ExpensiveCap), facts.capped, "{}", facts.name);
            assert_eq!(mode.has(Argument::RescueAfter), facts.polls_for_others, "{}", facts.name);
        }
    }

    #[test]
    fn the_only_lcore_of_pool_a_stays_clear_of_capped_work() {
        let may = |mode: Mode, pool, pool_a| mode.facts().may_dequeue(pool, pool_a);
        assert!(!may(Mode::Hybrid, Pool::A, 1) && may(Mode::Hybrid, Pool::A, 2));
        assert!(may(Mode::Hybrid, Pool::B, 1) && may(Mode::Pools, Pool::B, 1));
        assert!(!may(Mode::Pools, Pool::A, 2) && !may(Mode::Steal, Pool::A, 2));
    }

    #[test]
    fn who_is_counted_as_it_is_included() {
        for who in [Who::Nobody, Who::PoolA, Who::PoolB, Who::All] {
            let counted = [(Pool::A, 5), (Pool::B, 3)]
                .into_iter()
                .filter(|&(pool, _)| who.includes(pool))
                .map(|(_, lcores)| lcores)
                .sum::<usize>();
            assert_eq!(who.count(5, 3), counted, "{}", who.name());
        }
    }
}
