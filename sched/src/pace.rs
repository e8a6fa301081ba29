//! How fast this lcore serves bursts. By that it decides how long a lease is
//! held, how large a burst may be, and whether the lcore is pressed.
//!
//! ```
//! use micropools::pace::Pace;
//! use micropools::policy::Excess;
//!
//! // Times are in nanoseconds here. Each packet takes 2 us.
//! let mut pace = Pace::new(32, Excess::Pull, |ns| ns);
//! for _ in 0..100 {
//!     pace.begin_polled(0, 8);
//!     pace.end(16_000);
//! }
//! assert_eq!(pace.burst(), 4, "others can help with what it does not poll");
//! assert!(pace.is_pressed(4, 4), "the queue was not emptied");
//! ```

use crate::policy::Excess;

/// A burst that takes no longer than this is served under its lease: to give
/// each packet a ticket would cost more than others could gain meanwhile.
const SHORT_NS: u64 = 4_000;

/// The same for an lcore that is pressed, or that had its CPU taken away lately
/// and is not busy all the time.
const WARY_SHORT_NS: u64 = 300;

/// A packet costs about so much more where it gets a place.
const PLACE_NS: u64 = 100;

/// Where packets cost no more than this, places may cost more than the packets
/// do, or than others gain: of bursts with places, one in `TRIED_BURSTS` goes
/// without, to see what packets cost then. An lcore whose bursts are long for
/// their places alone would else not find out.
const TRIED_NS: u64 = 500;
const TRIED_BURSTS: u32 = 32;

/// Two silences so long, and no further apart than this, make an lcore wary for
/// as long again. A lone one, as hosts cause, tells nothing of the next.
const WARY_AFTER_NS: u64 = 2_000_000;
const WARY_NS: u64 = 50_000_000;

/// Others keep up with an lcore's queue for it if they emptied it no longer
/// ago. Much less than the slice of a CPU's time that a process gets, and more
/// than a burst takes them.
pub const KEPT_UP_NS: u64 = 20_000;

/// Bursts are made no longer than this where packets take long: what a burst
/// holds, no other lcore can help with. An lcore that gets one that takes
/// longer is pressed.
const BURST_NS: u64 = 8_000;

/// Where so many polls in a row have not emptied a queue, its bursts may take
/// twice as long, and after as many again four times: to hand a queue over costs
/// the same for each burst, and what waits there waits for longer anyway.
const BACKLOG_POLLS: u32 = 16;

/// An lcore whose queue was not emptied by a poll is pressed, too, if what it
/// polled takes it longer than this.
const PRESSED_NS: u64 = 2_000;

/// Polls that empty their queue until the lcore is no longer pressed.
const RELIEVED_POLLS: u32 = 8;

/// Drivers receive packets in groups of so many.
const GROUP_PKTS: u64 = 4;

/// After a full burst that was served whole, further full bursts are served
/// alike for so long, without being measured: they cost nothing beyond what
/// forwarding costs. Much less than others take to call an lcore stalled.
const STEADY_NS: u64 = 4_000;

/// The mean moves by one part in two to the power of this per burst.
const MEAN_SHIFT: u32 = 3;

/// It stays where a burst took as long as expected, give or take the same part:
/// that saves a division.
const AS_EXPECTED_SHIFT: u32 = 3;

/// Thresholds in ticks.
#[derive(Clone, Copy, Debug)]
struct Limits {
    short: u64,
    wary_short: u64,
    wary_after: u64,
    wary: u64,
    burst: u64,
    pressed: u64,
    place: u64,
    tried: u64,
    steady: u64,
}

/// One lcore's pace. The lcore says when it begins and ends a burst of cheap
/// packets.
#[derive(Clone, Debug)]
pub struct Pace {
    limits: Limits,
    burst_max: usize,
    excess: Excess,
    /// Mean cost of a packet without a place, in ticks, and the cost in the
    /// last two bursts that it was measured by.
    pkt_ticks: u64,
    before: [u64; 2],
    /// The burst that is being served: when it began, how many packets, and
    /// whether they have places.
    began_ticks: u64,
    pkts: u64,
    placed: bool,
    /// Bursts with places since the last one that went without to see.
    untried_bursts: u32,
    /// Until then full bursts are served as the last one was, in ticks.
    steady_until: u64,
    /// How many polls in a row have not emptied the queue that is polled now.
    full_polls: u32,
    /// Polls until the lcore is no longer pressed; 0 if it is not.
    pressed_polls: u32,
    /// When its last silence ended, in ticks; 0 before the first.
    silent_until: u64,
    /// The lcore is wary until then, in ticks; 0 if it is not.
    wary_until: u64,
}

impl Pace {
    /// Of an lcore that polls up to `burst_max` packets at a time, from 1.
    /// `excess`: how idle lcores help with a backlog. `ticks`: converts
    /// nanoseconds.
    pub fn new(burst_max: usize, excess: Excess, ticks: impl Fn(u64) -> u64) -> Self {
        let limits = Limits {
            short: ticks(SHORT_NS),
            wary_short: ticks(WARY_SHORT_NS),
            wary_after: ticks(WARY_AFTER_NS),
            wary: ticks(WARY_NS),
            burst: ticks(BURST_NS),
            pressed: ticks(PRESSED_NS),
            place: ticks(PLACE_NS),
            tried: ticks(TRIED_NS),
            steady: ticks(STEADY_NS),
        };
        Self {
            limits,
            burst_max,
            excess,
            pkt_ticks: 0,
            before: [0; 2],
            began_ticks: 0,
            pkts: 0,
            placed: false,
            untried_bursts: 0,
            steady_until: 0,
            full_polls: 0,
            pressed_polls: 0,
            silent_until: 0,
            wary_until: 0,
        }
    }

    /// A burst of cheap packets that have places begins at `now`.
    #[inline(always)]
    pub fn begin(&mut self, now: u64, pkts: usize) {
        (self.began_ticks, self.pkts, self.placed) = (now, pkts as u64, true);
    }

    /// At `now` the burst has been served, if there was one.
    #[inline(always)]
    pub fn end(&mut self, now: u64) {
        let pkts = std::mem::take(&mut self.pkts);
        if pkts == 0 || self.placed && self.pkt_ticks <= self.limits.tried {
            return;
        }
        let place_ticks = if self.placed { self.limits.place } else { 0 };
        let (took, expected) = (now.wrapping_sub(self.began_ticks), self.pkt_ticks + place_ticks);
        if took.abs_diff(expected * pkts) <= (expected * pkts) >> AS_EXPECTED_SHIFT {
            self.before = [self.pkt_ticks; 2];
        } else {
            self.observe((took / pkts).saturating_sub(place_ticks));
        }
    }

    /// Moves the mean by the median of three bursts. One burst that a host gap
    /// falls into takes a hundred times as long as others, and would make the
    /// lcore look pressed for hundreds of bursts.
    #[inline(never)]
    fn observe(&mut self, pkt_ticks: u64) {
        let [a, b] = self.before;
        self.before = [b, pkt_ticks];
        let median = a.min(b).max(a.max(b).min(pkt_ticks));
        let mean = self.pkt_ticks;
        let part = |ticks: u64| ticks.div_ceil(1 << MEAN_SHIFT);
        self.pkt_ticks = if median < mean {
            mean - part(mean - median)
        } else {
            mean + part((median - mean).min(3 * mean + self.limits.place))
        };
    }

    /// Leaves the burst in service out of the mean.
    #[inline(always)]
    pub fn forget(&mut self) {
        self.pkts = 0;
    }

    /// A burst that was polled at `now` begins. Returns whether it is served
    /// under its lease, without places; if not, the lcore serves at most
    /// `own_pkts` of it at once.
    #[inline(always)]
    pub fn begin_polled(&mut self, now: u64, pkts: usize) -> bool {
        let whole = self.is_short(now, pkts) || self.tries_without_places();
        self.begin(now, if whole { pkts } else { pkts.min(self.own_pkts()) });
        self.placed = !whole;
        if whole && pkts == self.burst_max && self.pressed_polls == 0 {
            self.steady_until = now + self.limits.steady;
        }
        whole
    }

    /// Whether a poll at `now` comes so soon after a full burst that was served
    /// under its lease by an lcore that is not pressed, that a full burst again
    /// is served alike. Nothing else has to be asked or told of that one.
    #[inline(always)]
    pub fn is_steady(&self, now: u64) -> bool {
        now < self.steady_until
    }

    #[inline(always)]
    fn tries_without_places(&mut self) -> bool {
        self.untried_bursts = (self.untried_bursts + 1) % TRIED_BURSTS;
        self.untried_bursts == 0 && self.pkt_ticks <= self.limits.tried
    }

    #[inline(always)]
    fn is_short(&self, now: u64, pkts: usize) -> bool {
        let ticks = self.pkt_ticks * pkts as u64;
        // Full bursts of packets that cost next to nothing: with places no
        // lcore could serve the queue as fast.
        let is_full = pkts == self.burst_max;
        let wary = self.pressed_polls > 0 || self.is_wary(now) && !is_full;
        ticks <= if wary { self.limits.wary_short } else { self.limits.short }
    }

    /// The lcore runs again at `now`, after it has not for so long. What happens
    /// again and again will happen once more: until it has not for a while, bursts
    /// in service hold up nothing but their own flows.
    #[cold]
    pub fn note_silence(&mut self, now: u64, ticks: u64) {
        if ticks > self.limits.wary_after {
            if self.silent_until != 0 && now - self.silent_until < self.limits.wary {
                self.wary_until = now + self.limits.wary;
            }
            self.silent_until = now;
        }
    }

    /// Whether the lcore is likely to lose its CPU again soon. What it holds
    /// then waits: others should poll its queues while they have time.
    #[inline(always)]
    pub fn is_wary(&self, now: u64) -> bool {
        now < self.wary_until
    }

    /// The next burst is of a queue that so many polls in a row have not emptied.
    #[inline(always)]
    pub fn note_backlog(&mut self, full_polls: u32) {
        self.full_polls = full_polls;
    }

    /// How long a burst may take.
    #[inline]
    fn burst_ticks(&self) -> u64 {
        self.limits.burst << (self.full_polls / BACKLOG_POLLS).min(2)
    }

    /// How many packets to poll: fewer where they take long.
    #[inline(always)]
    pub fn burst(&self) -> usize {
        let max = self.burst_max as u64;
        if self.pkt_ticks * max <= self.burst_ticks() || self.excess == Excess::Push {
            self.burst_max
        } else {
            self.few()
        }
    }

    #[cold]
    fn few(&self) -> usize {
        let groups = self.fitting_pkts() / GROUP_PKTS;
        let max = self.burst_max as u64;
        (groups.max(1) * GROUP_PKTS).min(max) as usize
    }

    /// How many packets of a burst the lcore serves at once. While it is
    /// pressed, the others are for idle lcores.
    #[inline(always)]
    pub fn own_pkts(&self) -> usize {
        if self.pressed_polls == 0 || self.excess == Excess::Leave {
            usize::MAX
        } else {
            self.fitting_pkts().max(1) as usize
        }
    }

    /// How many packets fit into the time of a burst.
    #[inline]
    fn fitting_pkts(&self) -> u64 {
        self.burst_ticks() / self.pkt_ticks.max(1)
    }

    /// Whether the lcore is pressed after a poll for `want` packets that
    /// brought `pkts`.
    #[inline(always)]
    pub fn is_pressed(&mut self, pkts: usize, want: usize) -> bool {
        let ticks = self.pkt_ticks * pkts as u64;
        let limit = if pkts == want { self.limits.pressed } else { self.limits.burst };
        if ticks > limit {
            self.pressed_polls = RELIEVED_POLLS;
        } else {
            self.pressed_polls = self.pressed_polls.saturating_sub(1);
        }
        self.pressed_polls > 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn pace(pkt_ns: u64) -> Pace {
        let mut pace = Pace::new(32, Excess::Pull, |ns| ns);
        for _ in 0..200 {
            let placed = !pace.begin_polled(0, 1);
            pace.end(pkt_ns + u64::from(placed) * PLACE_NS);
        }
        pace
    }

    #[test]
    fn an_lcore_finds_out_that_only_places_take_long() {
        let mut pace = pace(400);
        let want = 32;
        let placed = (0..1_000).filter(|_| {
            pace.is_pressed(32, want);
            let placed = !pace.begin_polled(0, 32);
            pace.end(32 * if placed { 400 } else { 10 });
            placed
        });
        assert!((100..900).contains(&placed.count()));
        assert!(pace.begin_polled(0, 32) && !pace.is_pressed(32, want));
    }

    #[test]
    fn a_host_gap_presses_nobody() {
        let mut pace = pace(10);
        let want = 32;
        for burst in 0..100 {
            assert!(!pace.is_pressed(32, want) && pace.begin_polled(0, 32));
            pace.end(if burst % 4 == 0 { 50_000 } else { 320 });
        }
    }

    #[test]
    fn bursts_shrink_where_packets_take_long() {
        assert_eq!(pace(10).burst(), 32);
        assert!((4..=12).contains(&pace(1_000).burst()));
        assert_eq!(pace(100_000).burst(), 4);
    }

    #[test]
    fn bursts_grow_with_a_backlog_that_stays() {
        let mut pace = pace(1_000);
        let before = pace.burst();
        for (full_polls, times) in [(15, 1), (16, 2), (31, 2), (32, 4), (1_000, 4)] {
            pace.note_backlog(full_polls);
            let burst = pace.burst();
            assert!(burst >= (times * before).min(28) && burst <= 32, "{full_polls}: {burst}");
        }
    }

    #[test]
    fn a_pressed_lcore_keeps_what_it_has_time_for() {
        let pressed = |excess, pkt_ns| {
            let mut pace = Pace { excess, ..pace(pkt_ns) };
            assert_eq!(pace.own_pkts(), usize::MAX, "it is not pressed");
            let want = pace.burst();
            assert!(pace.is_pressed(want, want));
            (want, pace.own_pkts())
        };
        assert!(matches!(pressed(Excess::Push, 1_000), (32, 6..=12)));
        assert_eq!(pressed(Excess::Push, 20_000), (32, 1));
        assert_eq!(pressed(Excess::Pull, 20_000), (4, 1));
        assert_eq!(pressed(Excess::Leave, 20_000), (4, usize::MAX));
    }

    #[test]
    fn only_full_bursts_served_whole_make_it_steady_and_for_a_while() {
        let steady = |pace: &mut Pace, pkts| {
            pace.is_pressed(pkts, 32);
            pace.begin_polled(1_000, pkts);
            pace.is_steady(1_000 + STEADY_NS - 1)
        };
        assert!(!steady(&mut pace(10), 31) && steady(&mut pace(10), 32));
        assert!(!steady(&mut pace(1_000), 32), "each packet has a place");
        let mut pace = pace(10);
        assert!(steady(&mut pace, 32) && !pace.is_steady(1_000 + STEADY_NS));
    }

    #[test]
    fn only_cheap_bursts_are_short() {
        assert!(pace(8).is_short(0, 32) && pace(1_000).is_short(0, 3));
        assert!(!pace(1_000).is_short(0, 5));
    }

    #[test]
    fn silences_make_an_lcore_wary_for_a_while() {
        let mut pace = pace(1_000);
        let silences = |pace: &mut Pace, apart: u64, ns: u64| {
            pace.note_silence(100, ns);
            pace.note_silence(100 + apart, ns);
            100 + apart
        };
        let now = silences(&mut pace, 1_000, WARY_AFTER_NS);
        assert!(pace.is_short(now, 1), "short silences are none");
        let now = silences(&mut pace, WARY_NS, WARY_AFTER_NS + 1);
        assert!(pace.is_short(now, 1), "the second has nothing to do with the first");
        pace.note_silence(now + 100, WARY_AFTER_NS + 1);
        assert!(!pace.is_short(now + 200, 1) && pace.is_short(now + 101 + WARY_NS, 1));
        let mut pace = self::pace(20);
        let now = silences(&mut pace, 100, WARY_AFTER_NS + 1);
        assert!(!pace.is_short(now, 31) && pace.is_short(now, 32), "a full burst");
    }

    #[test]
    fn pressure_ends_when_the_queue_was_empty_several_times() {
        let mut pace = pace(1_000);
        let want = 8;
        assert!(!pace.is_pressed(7, want) && pace.is_pressed(8, want));
        let still = (0..20).filter(|_| pace.is_pressed(0, want)).count();
        assert_eq!(still as u32, RELIEVED_POLLS - 1);
        assert!(self::pace(9_000).is_pressed(1, want), "meanwhile others may come");
        assert!(
            !Pace::new(want, Excess::Pull, |ns| ns).is_pressed(8, want),
            "what takes no time is no backlog"
        );
    }
}
