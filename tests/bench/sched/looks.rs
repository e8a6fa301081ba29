//! What it costs to find lcores that want help, with the boards and sets that the
//! datapath uses. One core plays all lcores, and so its caches hold all boards:
//! with a core each, what others have written since costs a miss more.

use std::hint::black_box;

use micropools::attention::{Adoption, Attention, Watch};
use micropools::board::Board;
use micropools::heartbeat::{Busy, Cost};
use mpfwd::dpdk::clock::tsc;
use mpfwd::policy::{Excess, HelpAfter, Hybrid, PeerHint, Policy, Pool};

use crate::one_core::cycles_per_item;
use crate::table::Figures;

/// How many lcores there are.
const LCORES: [usize; 3] = [10, 64, 128];
/// Receive queues of each lcore.
const QUEUES: usize = 4;
/// Ticks between two looks of a busy lcore: 2 us of a CPU of 2.6 GHz.
const EVERY: u64 = 5_200;
/// So many times that long all lcores look, in a window.
const PERIODS: u64 = 40;
/// The lcores look at so many different times of each period.
const PHASES: u64 = 16;
/// Long after all boards were made.
const START: u64 = 1 << 40;
const HELP: HelpAfter = HelpAfter { rescue_ticks: 10, stall_ticks: u64::MAX, excess: Excess::Pull };

/// So many lcores, the first of which are stuck.
struct Lcores {
    boards: Vec<Board>,
    attention: Attention,
    stuck: usize,
}

impl Lcores {
    fn new(lcores: usize, stuck: usize) -> Self {
        let boards: Vec<_> = (0..lcores).map(|_| Board::new(Pool::A, START, 1)).collect();
        let attention = Attention::new(lcores);
        for (lcore, board) in boards.iter().enumerate().take(stuck) {
            attention.away.insert(lcore);
            let busy = Busy { since_ticks: START, flow_hash: 0, cost: Cost::Unknown };
            board.heartbeat.begin(busy);
        }
        Self { boards, attention, stuck }
    }

    fn hint(&self, lcore: usize, now: u64) -> PeerHint {
        let hint = self.boards[lcore].hint(lcore, now);
        PeerHint { silent_ticks: self.boards[lcore].beat.age_ticks(now), ..hint }
    }

    /// Reads the hint of each queue's owner, for queues of all lcores but the
    /// last. Returns how many are to be adopted.
    fn look_at_all(&self, policy: &Hybrid, now: u64) -> usize {
        let owners = (0..self.boards.len() - 1).flat_map(|lcore| [lcore; QUEUES]);
        owners.filter(|&owner| policy.adopts(&self.hint(owner, now))).count()
    }

    /// As the loop of the datapath adopts, to the lease of the first queue.
    fn look(&self, adoption: &mut Adoption, me: usize, policy: &Hybrid, now: u64) {
        let away = &self.attention.away;
        for _ in 0..adoption.begin(away, now) {
            let Some(owner) = adoption.next(away) else { break };
            if policy.adopts(&self.boards[owner].away_hint(owner, now)) {
                adoption.note_stuck(self.boards[owner].claim_help(me, now, EVERY));
            }
        }
    }

    /// Cycles that all lcores together look, per stuck lcore and period.
    fn all_look(&self) -> f64 {
        let policy = Hybrid::new(1, HELP);
        let adoption = |me| (me, Adoption::new(me, self.boards.len(), QUEUES, EVERY));
        let mut helpers: Vec<_> = (self.stuck..self.boards.len()).map(adoption).collect();
        let mut cycles = 0;
        // In the first period all look at once.
        for step in 0..(1 + PERIODS) * PHASES {
            let now = START + (PHASES + step) * EVERY / PHASES;
            let due: Vec<_> =
                helpers.iter_mut().filter(|(_, adoption)| adoption.is_due(now)).collect();
            if due.is_empty() {
                continue;
            }
            let start = tsc();
            due.into_iter().for_each(|(me, adoption)| self.look(adoption, *me, &policy, now));
            if step >= PHASES {
                cycles += tsc().wrapping_sub(start);
            }
        }
        cycles as f64 / (PERIODS * self.stuck as u64) as f64
    }

    /// The same where each lcore looks at each queue's owner in each period.
    fn all_look_at_all(&self) -> f64 {
        let policy = Hybrid::new(1, HELP);
        let helpers = self.boards.len() - self.stuck;
        let start = tsc();
        let looks = (0..helpers).map(|_| self.look_at_all(&policy, START + EVERY));
        black_box(looks.sum::<usize>());
        tsc().wrapping_sub(start) as f64 / self.stuck as f64
    }
}

pub fn measure(rounds: u16, figures: &mut Figures) {
    for _ in 0..rounds {
        for lcores in LCORES {
            while_nobody_is_away(lcores, figures);
            let of_eight = lcores / 8;
            for (stuck, name, all) in [
                (1, "1 lcore stuck, all look: sets", "1 lcore stuck, all look: every queue"),
                (of_eight, "1 of 8 stuck, all look: sets", "1 of 8 stuck, all look: every queue"),
            ] {
                let world = Lcores::new(lcores, stuck);
                figures.add((name, lcores), world.all_look());
                figures.add((all, lcores), world.all_look_at_all());
            }
        }
    }
}

fn while_nobody_is_away(lcores: usize, figures: &mut Figures) {
    const BUSY: [&str; 2] = ["a busy lcore looks: sets", "a busy lcore looks: every queue"];
    const IDLE: [&str; 2] = ["an idle lcore looks: sets", "an idle lcore looks: every board"];
    let world = Lcores::new(lcores, 0);
    let (me, policy) = (lcores - 1, Hybrid::new(1, HELP));
    let mut now = START;
    let mut adoption = Adoption::new(me, lcores, QUEUES, EVERY);
    let cycles = cycles_per_item(1, || {
        now += EVERY + 1;
        if black_box(&adoption).is_due(now) {
            black_box(&world).look(&mut adoption, me, &policy, now);
        }
    });
    figures.add((BUSY[0], lcores), cycles);
    let cycles = cycles_per_item(1, || {
        black_box(black_box(&world).look_at_all(&policy, now));
    });
    figures.add((BUSY[1], lcores), cycles);
    let mut watch = Watch::new(me, lcores, Some(u64::MAX));
    let cycles = cycles_per_item(1, || {
        black_box(watch.look(now, &world.attention, |at| &world.boards[at]));
    });
    figures.add((IDLE[0], lcores), cycles);
    let mut hints = Vec::with_capacity(lcores);
    let cycles = cycles_per_item(1, || {
        hints.clear();
        hints.extend((0..lcores).map(|at| black_box(&world).hint(at, now)));
        black_box(&hints);
    });
    figures.add((IDLE[1], lcores), cycles);
}
