//! Control, on a thread that is no lcore: signals, the end of the run, the
//! state of links, live statistics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mpfwd_common::api::ApiArg;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::datapath::{Board, Orders, RunState};
use crate::dpdk::clock::{TscRate, tsc};
use crate::dpdk::{Lcore, Port, RxQueue};
use crate::stats::{
    DropCause, HistogramCounts, Incident, Incidents, LcoreStats, Map, OwnStats, RunDelay,
    StampClocks, Stuck, Verdict, incident_table,
};
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output::{say, warn};
use mpfwd_common::text::time;

pub mod api;
mod clocks;
mod cpus;
mod desk;
mod drain;
mod metrics;
mod moment;
mod pools;
mod ports;
mod reload;
mod service;
mod signs;
mod steering;

use api::Listener;
use clocks::FOLLOW_EVERY;
pub use clocks::FollowedClocks;
use cpus::CpuWatch;
pub use desk::Desk;
use desk::{Order, State};
pub use drain::{BELOW_PPS, DrainFor};
use drain::{Drain, Drained};
pub use moment::{Moment, Seen, Shards};
pub use pools::PoolFitter;
pub use ports::WatchedPorts;
pub use reload::{Hangups, Reader, Reload, Reloaded};
use service::Service;
pub use steering::{Start, Steering};

/// Interval at which control wakes up. Long, because on a small machine control
/// shares a CPU with an lcore.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The share of a period, over all lcores, from which the live line shows their
/// run delay.
const RUN_DELAY_SHOWN: f64 = 0.01;

/// Interval at which control asks drivers for links that they do not follow.
const LINKS_EVERY: Duration = Duration::from_millis(100);

/// Time for lcores to finish received packets. Then the rest is dropped.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Counts SIGINT, which ends the run, SIGTERM, which drains it where that is
/// wanted, SIGUSR1, which prints the record of stuck lcores, and SIGHUP, which
/// reads files again.
#[derive(Clone)]
pub struct Signals {
    interrupt: Arc<AtomicUsize>,
    terminate: Arc<AtomicUsize>,
    record: Arc<AtomicUsize>,
    hangup: Arc<AtomicUsize>,
}

impl Signals {
    /// Installs the handlers: from now on these signals do not kill the
    /// process.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn catch() -> Result<Self> {
        let [interrupt, terminate, record, hangup] =
            [(); 4].map(|()| Arc::new(AtomicUsize::new(0)));
        for (signal, flag) in
            [(SIGINT, &interrupt), (SIGTERM, &terminate), (SIGUSR1, &record), (SIGHUP, &hangup)]
        {
            signal_hook::flag::register_usize(signal, flag.clone(), 1).map_err(|error| {
                Error::Setup(format!("no handler for signal {signal}: {error}"))
            })?;
        }
        Ok(Self { interrupt, terminate, record, hangup })
    }

    /// How often SIGINT and SIGTERM came since the last call.
    fn ends_requested(&self) -> [usize; 2] {
        [&self.interrupt, &self.terminate].map(|count| count.swap(0, Ordering::Relaxed))
    }

    /// Whether SIGUSR1 came since the last call.
    fn record_requested(&self) -> bool {
        self.record.swap(0, Ordering::Relaxed) > 0
    }

    /// Whether SIGHUP came since the last call.
    fn hangup_requested(&self) -> bool {
        self.hangup.swap(0, Ordering::Relaxed) > 0
    }
}

/// The state of the process that a run needs.
pub struct Host {
    pub(crate) signals: Signals,
    /// The CPUs that the process may use.
    pub(crate) cpus: CpuSet,
    /// The control socket, if there is one.
    pub(crate) api: Option<Listener>,
}

impl Host {
    /// Catches signals, and notes the process's CPUs before EAL pins the
    /// calling thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn before_eal() -> Result<Self> {
        let cpus = sched_getaffinity(Pid::from_raw(0)).map_err(|error| {
            Error::Setup(format!("the kernel hides the process's CPUs: {error}"))
        })?;
        Ok(Self { signals: Signals::catch()?, cpus, api: None })
    }

    /// Binds the control socket. As long as the process has one thread.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn listen(&mut self, api: Option<&ApiArg>, file_prefix: &str) -> Result<()> {
        self.api = Listener::bind(api, file_prefix)?;
        Ok(())
    }
}

/// The process's CPUs that are no lcore's. All of its CPUs if the lcores use
/// every one.
pub fn spare_cpus(lcores: &[Lcore], allowed: &CpuSet) -> CpuSet {
    let mut spare = *allowed;
    for lcore in lcores {
        // Fails for a CPU beyond a CpuSet's range, which is in no set.
        let _ = spare.unset(lcore.cpu as usize);
    }
    if (0..CpuSet::count()).any(|cpu| spare.is_set(cpu).unwrap_or(false)) {
        spare
    } else {
        *allowed
    }
}

/// Reads the record of stuck lcores while lcores write it.
pub struct IncidentReader<'a> {
    pub incidents: &'a Incidents,
    /// The lcores' boards, in the order of the map.
    pub boards: &'a [Board],
    /// How long an lcore may be in one packet before it counts as stuck.
    pub orders: &'a Orders,
    /// EAL's lcore ids, in the order of the map.
    pub lcore_ids: Vec<u32>,
    pub rate: TscRate,
    pub run_start_ticks: u64,
}

impl IncidentReader<'_> {
    /// The last incidents, oldest first.
    pub fn read(&self) -> Vec<Incident> {
        let map = Map { lcore_ids: &self.lcore_ids, run_start_ticks: self.run_start_ticks };
        let now = tsc();
        let patience_ticks = self.orders.rescue_after_ticks();
        let stuck = |(at, board): (usize, &Board)| board.stuck(at, now, patience_ticks);
        let away: Vec<Stuck> = self.boards.iter().enumerate().filter_map(stuck).collect();
        self.incidents.read(&away, &map, now, |ticks| self.rate.ns(ticks))
    }

    fn print(&self) {
        match incident_table(&self.read()) {
            Some(table) => say(table),
            None => say("no stuck lcores on record"),
        }
    }
}

/// Control, with all that it watches.
pub struct Control<'a> {
    pub run: &'a RunState,
    pub signals: &'a Signals,
    pub ports: &'a [Port],
    pub rxqs: &'a [RxQueue],
    pub stats: &'a [OwnStats],
    pub incidents: &'a IncidentReader<'a>,
    /// The clocks of drivers' stamps.
    pub clocks: &'a StampClocks,
    pub cpus: CpuSet,
    pub duration: Option<Duration>,
    pub stats_period: Option<Duration>,
    /// How SIGTERM drains the run, if it does.
    pub drain: Option<DrainFor>,
    /// Set by the caller when all lcores have returned.
    pub ended: &'a AtomicBool,
}

/// State that control alone changes while it watches.
pub struct Watch<'w, 'a> {
    pub followed: &'w mut FollowedClocks,
    pub watched: &'w mut WatchedPorts,
    /// Changes the run.
    pub steering: &'w mut Steering<'a>,
    /// Answers the API's requests.
    pub desk: Desk<'w>,
}

impl Control<'_> {
    /// Runs until the lcores have returned. Meanwhile it follows clocks and
    /// ports, fits the pools, and answers requests. Returns how long packets
    /// were received.
    pub fn watch(&self, watch: Watch<'_, '_>) -> Duration {
        let Watch { followed, watched, steering, mut desk } = watch;
        // This thread inherits the main lcore's pinning. If that can't be
        // undone, control shares the main lcore's CPU.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.cpus);
        let start = Instant::now();
        let (mut links_at, mut clocks_at, mut verdict) =
            (start, start + FOLLOW_EVERY, Verdict::Open);
        let mut line = StatsLine::new(start);
        let mut drain: Option<Drain> = None;
        let mut cpus = CpuWatch::new(self.incidents.lcore_ids.len(), start);
        let mut service = Service::new(start);
        while !self.ended.load(Ordering::Acquire) {
            let now = Instant::now();
            let over = self.duration.is_some_and(|duration| now - start >= duration);
            self.heed_signals(&mut drain, now);
            if over || self.is_drained(&mut drain, now) {
                self.run.drain();
            }
            if self
                .run
                .drained_at()
                .is_some_and(|since| now.saturating_duration_since(since) >= DRAIN_LIMIT)
            {
                self.run.abandon();
            }
            if self.signals.record_requested() {
                self.incidents.print();
            }
            let links_due = now >= links_at;
            if links_due {
                links_at = now + LINKS_EVERY;
            }
            self.ports.iter().for_each(|port| port.poll_link(links_due));
            self.look_at_ports(watched);
            if now >= clocks_at {
                followed.follow(self.ports, self.clocks);
                clocks_at = now + FOLLOW_EVERY;
            }
            if !self.run.is_draining() {
                steering.look(start);
            }
            self.tell_verdict(&mut verdict);
            service.tell(self, now);
            cpus.look(now, &self.incidents.lcore_ids, self.incidents.incidents.run_delays());
            if let Some(period) = self.stats_period {
                line.print_when_due(now, period, self);
            }
            let state = State {
                followed: &*followed,
                watched: &*watched,
                start,
                elapsed: now - start,
                is_draining: drain.is_some() || self.run.is_draining(),
            };
            let order = desk.answer_one(self, steering, state);
            if let Some(Order::Drain(limits)) = order {
                self.begin_drain(&mut drain, limits, now);
            }
            let wait = self.until_next(start, now, &line);
            std::thread::park_timeout(desk.wait_at_most(wait));
        }
        if let Some(period) = self.stats_period {
            line.print_when_due(Instant::now(), period, self);
        }
        self.tell_verdict(&mut verdict);
        self.run.drained_at().unwrap_or_else(Instant::now) - start
    }

    /// SIGINT ends the run, SIGTERM drains it where that is wanted. A second
    /// signal drops what is left.
    fn heed_signals(&self, drain: &mut Option<Drain>, now: Instant) {
        let [interrupts, terminations] = self.signals.ends_requested();
        let signals = interrupts + terminations;
        if signals == 0 {
            return;
        }
        let is_second =
            self.run.is_draining() || signals > 1 || terminations > 0 && drain.is_some();
        match self.drain.filter(|_| interrupts == 0 && !is_second) {
            Some(limits) => self.begin_drain(drain, limits, now),
            None => self.run.drain(),
        }
        if is_second {
            self.run.abandon();
        }
    }

    /// From now on the run is about to end. Does nothing if it is already.
    fn begin_drain(&self, drain: &mut Option<Drain>, limits: DrainFor, now: Instant) {
        if drain.is_none() && !self.run.is_draining() {
            say(format_args!("draining: for at most {}", time(limits.time.as_nanos() as u64)));
            *drain = Some(Drain::new(limits, now, self.received_pkts()));
        }
    }

    /// Whether forwarding ends now because the run is drained.
    fn is_drained(&self, drain: &mut Option<Drain>, now: Instant) -> bool {
        let Some(draining) = drain.as_mut().filter(|_| !self.run.is_draining()) else {
            return false;
        };
        let limits = draining.limits();
        let Some(why) = draining.look(now, || self.received_pkts()) else { return false };
        match why {
            Drained::Quiet => say(format_args!("drained: rx below {} pps", limits.below_pps)),
            Drained::TimeOver => say("drained: the time is over"),
        }
        true
    }

    fn received_pkts(&self) -> u64 {
        self.stats.iter().map(|lcore| lcore.rx_pkts()).sum()
    }

    /// Warns when drivers' stamps turn out to be wrong.
    fn tell_verdict(&self, last: &mut Verdict) {
        let verdict = self.clocks.verdict();
        let Some((port, why)) = self.clocks.why().filter(|_| verdict != *last) else { return };
        let what =
            if verdict == Verdict::Off { "is no longer counted" } else { "is counted from polls" };
        let why = why.text(|ticks| time(self.incidents.rate.ns(ticks)));
        warn(format_args!("latency {what}: port {port} {why}"));
        *last = verdict;
    }

    /// The time until the next event, at most [`LOOK_EVERY`].
    fn until_next(&self, start: Instant, now: Instant, line: &StatsLine) -> Duration {
        let end =
            self.duration.filter(|_| !self.run.is_draining()).map(|duration| start + duration);
        let next_line = self.stats_period.map(|period| line.due.at(period));
        let next = end.into_iter().chain(next_line).min();
        next.map_or(LOOK_EVERY, |at| at.saturating_duration_since(now).min(LOOK_EVERY))
    }
}

/// When a line is due: at whole periods since the start, so that lateness does
/// not add up. Missed periods share a line.
struct Due {
    start: Instant,
    /// Whole periods that have been printed.
    periods: u32,
}

impl Due {
    fn at(&self, period: Duration) -> Instant {
        self.start + period * (self.periods + 1)
    }

    /// Whether another period is over. True once per period.
    fn is_now(&mut self, now: Instant, period: Duration) -> bool {
        let over = (now - self.start).as_nanos() / period.as_nanos().max(1);
        let over = u32::try_from(over).unwrap_or(u32::MAX - 1);
        let due = over > self.periods;
        self.periods = self.periods.max(over);
        due
    }
}

/// Live statistics: one line per period, with rates since the last line.
struct StatsLine {
    start: Instant,
    due: Due,
    printed_at: Instant,
    last: [u64; 4],
    latencies: HistogramCounts,
    /// Of all lcores together.
    run_delay_ns: u64,
}

impl StatsLine {
    fn new(start: Instant) -> Self {
        Self {
            start,
            due: Due { start, periods: 0 },
            printed_at: start,
            last: [0; 4],
            latencies: HistogramCounts::default(),
            run_delay_ns: 0,
        }
    }

    fn print_when_due(&mut self, now: Instant, period: Duration, control: &Control<'_>) {
        if !self.due.is_now(now, period) {
            return;
        }
        let (stats, tsc_rate) = (control.stats, control.incidents.rate);
        let sum =
            |count: fn(&LcoreStats) -> u64| stats.iter().map(|lcore| count(lcore)).sum::<u64>();
        let dropped = |lcore: &OwnStats| {
            DropCause::ALL.iter().map(|&cause| lcore.dropped(cause)).sum::<u64>()
        };
        let counts = [
            sum(LcoreStats::rx_pkts),
            sum(LcoreStats::tx_pkts),
            sum(|lcore| lcore.shed_pkts.get()),
            stats.iter().map(dropped).sum(),
        ];
        let seconds = (now - self.printed_at).as_secs_f64();
        let mut text = format!("{:5.1} s", (now - self.start).as_secs_f64());
        for ((name, count), last) in
            ["rx", "tx", "shed", "dropped"].iter().zip(counts).zip(self.last)
        {
            text += &format!("  {name} {}", rate((count - last) as f64 / seconds));
        }
        let latencies = HistogramCounts::of(
            stats.iter().flat_map(|lcore| [&lcore.cheap_latency, &lcore.expensive_latency]),
        );
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            if let Some(ticks) = latencies.quantile_since(&self.latencies, quantile) {
                text += &format!("  {name} {}", time(tsc_rate.ns(ticks)));
            }
        }
        let delays = control.incidents.incidents.run_delays().iter();
        let run_delay_ns: u64 = delays.filter_map(RunDelay::ns).sum();
        let delayed_ns = run_delay_ns.saturating_sub(self.run_delay_ns);
        // Less than that is the kernel's own work.
        if delayed_ns as f64 > seconds * 1e9 * RUN_DELAY_SHOWN {
            text += &format!("  run delay {}", time(delayed_ns));
        }
        self.run_delay_ns = run_delay_ns;
        say(text);
        self.printed_at = now;
        self.last = counts;
        self.latencies = latencies;
    }
}

/// A rate of four digits with its unit, in a fixed width.
fn rate(pps: f64) -> String {
    let (scaled, unit) = match pps {
        1e6.. => (pps / 1e6, "Mpps"),
        1e3.. => (pps / 1e3, "kpps"),
        _ => return format!("{pps:5.0}  pps"),
    };
    let decimals = if scaled < 10.0 {
        3
    } else if scaled < 100.0 {
        2
    } else {
        1
    };
    format!("{scaled:5.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Due, rate};

    #[test]
    fn each_whole_period_is_due_once_and_lateness_does_not_add_up() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut due = Due { start, periods: 0 };
        let mut is_due = |at_ms: u64| due.is_now(start + ms(at_ms), ms(1000));
        assert_eq!(
            [0, 999, 1000, 1001, 1999, 2019, 3000, 3999, 4018].map(&mut is_due),
            [false, false, true, false, false, true, true, false, true]
        );
        assert_eq!(
            [7500, 7999, 8000].map(is_due),
            [true, false, true],
            "three at once share a line"
        );
        assert_eq!(due.at(ms(1000)), start + ms(9000));
    }

    #[test]
    fn rates_have_the_unit_that_shows_them() {
        assert_eq!(
            [0.0, 424.4, 1_234.0, 81_234_567.0].map(rate),
            ["    0  pps", "  424  pps", "1.234 kpps", "81.23 Mpps"]
        );
    }
}
