//! What is changed while the run goes on: pools, mode, limits, and who polls
//! which receive queue.
//!
//! A change is a few words that lcores read at their next step: see
//! [`Orders`](crate::datapath::Orders). Control writes them, and waits for
//! nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::PoolFitter;
use super::api::{Answer, Ask};
use super::pools::Sizes;
use crate::config::rescue_after_min;
use crate::datapath::{Orders, RunState, Spare};
use crate::dpdk::RxQueue;
use crate::dpdk::clock::TscRate;
use crate::policy::{Argument, Mode, Pool};
use crate::stats::PoolChange;
use mpfwd_common::args::{Pools, parse_time};
use mpfwd_common::error::Result;

/// The run at its start, as far as it can be changed.
pub struct Start<'a> {
    pub run: &'a RunState,
    pub orders: &'a Orders,
    pub fitter: PoolFitter<'a>,
    pub rxqs: &'a [RxQueue],
    /// By a receive queue's number: the place of the lcore that owns it.
    pub owners: Vec<usize>,
    /// EAL's lcore ids, in the order of the map.
    pub lcore_ids: Vec<u32>,
    /// Makes rings for every mode.
    pub spare: &'a (dyn Fn() -> Result<Spare> + Sync),
    pub rate: TscRate,
    pub mode: Mode,
    /// The pools follow the load.
    pub follows_load: bool,
    /// `--expensive-cap`.
    pub cap: Option<usize>,
    pub rescue_after: Duration,
    pub burst: u16,
}

/// Changes the run.
pub struct Steering<'a> {
    start: Start<'a>,
    /// How often each was changed.
    counts: BTreeMap<&'static str, u64>,
}

/// A refusal: its status, and one line.
type Refusal = (StatusCode, String);

/// What was before, and what is from now on.
struct Changed {
    was: Value,
    is: Value,
}

fn bad<T>(why: impl Into<String>) -> std::result::Result<T, Refusal> {
    Err((StatusCode::BAD_REQUEST, why.into()))
}

fn conflict<T>(why: impl Into<String>) -> std::result::Result<T, Refusal> {
    Err((StatusCode::CONFLICT, why.into()))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> std::result::Result<T, Refusal> {
    serde_json::from_slice(body).or_else(|error| bad(error.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolsBody {
    pools: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeBody {
    mode: String,
    pools: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CapBody {
    expensive_cap: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RescueAfterBody {
    rescue_after: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueuesBody {
    queues: Vec<QueueBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueBody {
    port: u16,
    queue: u16,
    lcore: u32,
}

impl<'a> Steering<'a> {
    pub fn new(start: Start<'a>) -> Self {
        let mut steering = Self { start, counts: BTreeMap::new() };
        if steering.start.follows_load {
            let workers_max = steering.workers_max();
            steering.start.fitter.follow_load(workers_max);
        }
        steering
    }

    /// The mode that lcores are in, or enter.
    pub fn mode(&self) -> Mode {
        self.start.mode
    }

    /// The last changes of pools that followed the load; `None` if they never
    /// did.
    pub fn pool_changes(&self) -> Option<Vec<PoolChange>> {
        self.start.follows_load.then(|| self.start.fitter.changes())
    }

    /// How often each was changed.
    pub(super) fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// How many lcores do not follow the last change yet: they are in a long
    /// packet.
    pub(super) fn lcores_behind(&self) -> usize {
        self.start.orders.behind()
    }

    /// Whether the lcore at that place owns the queue.
    pub(super) fn owns(&self, lcore: usize, (port, queue): (u16, u16)) -> bool {
        let is_it = |rxq: &RxQueue| (rxq.port(), rxq.queue()) == (port, queue);
        let number = self.start.rxqs.iter().position(is_it);
        self.mode().facts().owns_all_queues
            || number.is_some_and(|number| self.owner(number) == lcore)
    }

    /// Goes on with changes of the pools. `start`: that of the run.
    pub(super) fn look(&mut self, start: Instant) {
        let (facts, before) = (self.mode().facts(), self.sizes_now());
        self.start.fitter.look(start, facts.has_pools);
        if facts.has_pools && !facts.moves_lcores() && self.sizes_now() != before {
            // Lcores do not look themselves, and queues move.
            self.place();
            self.publish();
        }
    }

    // ---- Requests ----

    /// Does as asked, and answers.
    pub(super) fn answer(&mut self, ask: Ask, body: &[u8], start: Instant) -> Answer {
        let changed = match ask {
            _ if self.start.run.is_draining() => conflict("the run is about to end"),
            Ask::Pools => self.set_pools(body),
            Ask::Mode => self.set_mode(body),
            Ask::ExpensiveCap => self.set_cap(body),
            Ask::RescueAfter => self.set_rescue_after(body),
            _ => self.set_queues(body),
        };
        match changed {
            Ok(Changed { was, is }) => {
                self.count(ask.name());
                self.look(start);
                let behind = self.lcores_behind();
                let body = json!({ "was": was, "is": is, "lcores_behind": behind });
                Answer::json(StatusCode::OK, &body)
            }
            Err((status, why)) => Answer::error(status, why),
        }
    }

    fn set_pools(&mut self, body: &[u8]) -> std::result::Result<Changed, Refusal> {
        let PoolsBody { pools } = read(body)?;
        let (name, facts) = (self.mode().name(), self.mode().facts());
        if !facts.has_pools {
            return conflict(format!("mode {name} has a single pool: change the mode first"));
        }
        let was = self.pools_text();
        if pools == "auto" {
            if !facts.moves_lcores() {
                return conflict(format!("in mode {name} the pools do not follow the load"));
            }
            self.provide_rings()?;
            self.start.run.meter();
            let workers_max = self.workers_max();
            self.start.fitter.follow_load(workers_max);
            self.start.follows_load = true;
        } else {
            let pools = self.checked(&pools)?;
            self.provide_rings()?;
            let sizes = self.sizes(pools);
            self.start.fitter.set(sizes);
        }
        Ok(Changed { was: was.into(), is: self.pools_text().into() })
    }

    fn set_mode(&mut self, body: &[u8]) -> std::result::Result<Changed, Refusal> {
        let ModeBody { mode, pools } = read(body)?;
        let Some(&mode) = Mode::ALL.iter().find(|known| known.name() == mode) else {
            let names: Vec<_> = Mode::ALL.iter().map(|mode| mode.name()).collect();
            return bad(format!("there is no mode {mode}: write one of {}", names.join(", ")));
        };
        let (was, name, facts) = (self.mode().name(), mode.name(), mode.facts());
        let pools = match pools {
            Some(pools) if facts.has_pools => Some(self.checked(&pools)?),
            Some(_) => return bad(format!("mode {name} has a single pool: leave out pools")),
            None => None,
        };
        let lcores = self.start.lcore_ids.len();
        if facts.has_pools && lcores < 2 {
            return conflict(format!("mode {name} needs two lcores, and the run has one"));
        }
        if facts.has_pools && pools.is_none() && self.start.fitter.sizes().pool_a == lcores {
            return conflict(format!("mode {name} needs two pools: name their sizes as A:B"));
        }
        self.provide_rings()?;
        if pools.is_some() || !facts.moves_lcores() {
            let sizes = pools.map_or(self.start.fitter.sizes(), |pools| self.sizes(pools));
            self.start.fitter.set(sizes);
            // At best they have changed before lcores enter the mode.
            self.start.fitter.look(Instant::now(), self.mode().facts().has_pools);
        }
        self.start.mode = mode;
        self.start.orders.set_mode(mode);
        self.place();
        self.publish();
        Ok(Changed { was: was.into(), is: name.into() })
    }

    fn set_cap(&mut self, body: &[u8]) -> std::result::Result<Changed, Refusal> {
        let CapBody { expensive_cap: cap } = read(body)?;
        self.check_has(Argument::ExpensiveCap)?;
        let lcores = self.start.lcore_ids.len();
        let (before, follows_load) = (self.start.fitter.sizes(), self.start.fitter.follows_load());
        let cap_max = if follows_load { lcores - 1 } else { lcores - before.pool_a };
        if cap == 0 || cap > cap_max {
            return bad(format!("expensive_cap {cap}: write 1 to {cap_max}"));
        }
        self.start.cap = Some(cap);
        if follows_load {
            self.start.fitter.follow_load(cap);
        } else {
            self.start.fitter.set(Sizes { cap, ..before });
        }
        Ok(Changed { was: before.cap.into(), is: cap.into() })
    }

    fn set_rescue_after(&mut self, body: &[u8]) -> std::result::Result<Changed, Refusal> {
        let RescueAfterBody { rescue_after } = read(body)?;
        let time = parse_time(&rescue_after).or_else(bad)?;
        self.check_has(Argument::RescueAfter)?;
        let least = rescue_after_min(self.start.burst);
        if time < least {
            let (burst, least) = (self.start.burst, least.as_nanos());
            return bad(format!("a burst of {burst} may take {least}ns: write that or more"));
        }
        let was = std::mem::replace(&mut self.start.rescue_after, time);
        let ticks = self.start.rate.ticks(time.as_nanos() as u64);
        self.start.orders.set_rescue_after(ticks);
        self.publish();
        let value = |time: Duration| Value::from(time.as_nanos() as u64);
        Ok(Changed { was: value(was), is: value(time) })
    }

    fn set_queues(&mut self, body: &[u8]) -> std::result::Result<Changed, Refusal> {
        let QueuesBody { queues } = read(body)?;
        let (name, facts) = (self.mode().name(), self.mode().facts());
        if facts.owns_all_queues {
            return conflict(format!("in mode {name} every lcore polls every queue"));
        }
        let mut moves = Vec::new();
        for QueueBody { port, queue, lcore } in queues {
            let is_it = |rxq: &RxQueue| (rxq.port(), rxq.queue()) == (port, queue);
            let Some(number) = self.start.rxqs.iter().position(is_it) else {
                return bad(format!("port {port} has no receive queue {queue}"));
            };
            let Some(at) = self.start.lcore_ids.iter().position(|&id| id == lcore) else {
                return bad(format!("there is no lcore {lcore}"));
            };
            if !facts.polls.includes(self.pool(at)) {
                return conflict(format!(
                    "lcore {lcore} is in pool B, which does not poll in mode {name}"
                ));
            }
            moves.push((number, at));
        }
        let was = self.queues_value();
        moves.into_iter().for_each(|(number, at)| self.start.owners[number] = at);
        self.place();
        self.publish();
        Ok(Changed { was, is: self.queues_value() })
    }

    fn check_has(&self, argument: Argument) -> std::result::Result<(), Refusal> {
        let mode = self.mode();
        if mode.has(argument) {
            return Ok(());
        }
        let (name, flag) = (mode.name(), argument.flag());
        conflict(format!("mode {name} has no {}", flag.trim_start_matches('-')))
    }

    /// Pools as A:B that fit the lcores.
    fn checked(&self, text: &str) -> std::result::Result<Pools, Refusal> {
        let (pools, lcores) = (text.parse::<Pools>().or_else(bad)?, self.start.lcore_ids.len());
        if pools.a.checked_add(pools.b) != Some(lcores) {
            return bad(format!("pools {pools}: the run has {lcores} lcores"));
        }
        Ok(pools)
    }

    // ---- Changes ----

    fn provide_rings(&self) -> std::result::Result<(), Refusal> {
        if self.start.orders.spare_shards().is_some() {
            return Ok(());
        }
        let provided = self.start.orders.provide_spare(self.start.spare);
        provided.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
        // An lcore takes them when it follows an order.
        self.publish();
        Ok(())
    }

    /// Gives each queue its owner, by the mode and the pools.
    fn place(&self) {
        for number in 0..self.start.owners.len() {
            self.start.orders.set_owner(number, self.owner(number));
        }
    }

    fn publish(&self) {
        self.start.orders.publish();
        self.start.run.call();
    }

    fn sizes(&self, pools: Pools) -> Sizes {
        let cap = self.start.cap.map_or(pools.b, |cap| cap.min(pools.b));
        Sizes { pool_a: pools.a, cap }
    }

    fn workers_max(&self) -> usize {
        self.start.cap.unwrap_or(usize::MAX)
    }

    // ---- The present state ----

    fn sizes_now(&self) -> usize {
        self.start.fitter.pool_a()
    }

    /// The pool of the lcore at that place.
    fn pool(&self, at: usize) -> Pool {
        if self.mode().facts().has_pools && at >= self.sizes_now() { Pool::B } else { Pool::A }
    }

    /// The lcore that owns a queue. Where its own one does not poll, another
    /// does.
    fn owner(&self, number: usize) -> usize {
        let home = self.start.owners[number];
        let polls = self.mode().facts().polls.includes(self.pool(home));
        if polls { home } else { home % self.sizes_now() }
    }

    fn pools_text(&self) -> String {
        if self.start.fitter.follows_load() {
            return "auto".into();
        }
        let Sizes { pool_a: a, .. } = self.start.fitter.sizes();
        Pools { a, b: self.start.lcore_ids.len() - a }.to_string()
    }

    fn queues_value(&self) -> Value {
        let row = |(number, rxq): (usize, &RxQueue)| {
            let lcore = self.start.lcore_ids[self.owner(number)];
            json!({ "port": rxq.port(), "queue": rxq.queue(), "lcore": lcore })
        };
        self.start.rxqs.iter().enumerate().map(row).collect()
    }

    /// Writes what is now over what was at the start.
    pub(super) fn show(&self, config: &mut Value) {
        let facts = self.mode().facts();
        let (a, lcores) = (self.sizes_now(), self.start.lcore_ids.len());
        let sizes = self.start.fitter.sizes();
        config["mode"] = self.mode().name().into();
        config["pools"] = match facts.has_pools {
            true => Pools { a, b: lcores - a }.to_string().into(),
            false => Value::Null,
        };
        config["pools_follow_load"] = self.start.fitter.follows_load().into();
        config["expensive_cap"] = if facts.capped { sizes.cap.into() } else { Value::Null };
        config["rescue_after_ns"] = (self.start.rescue_after.as_nanos() as u64).into();
        config["lcores_behind"] = self.lcores_behind().into();
        let spare = self.start.orders.spare_shards().map(<[_]>::len);
        if let Some(shards) = spare {
            config["shards"] = if facts.has_pools { shards.into() } else { 0.into() };
        }
        for at in 0..lcores {
            let owned = self.start.rxqs.iter();
            let owned = owned.map(|rxq| (rxq.port(), rxq.queue()));
            let owned: Vec<Value> = owned
                .filter(|&queue| self.owns(at, queue))
                .map(|(port, queue)| json!({ "port": port, "queue": queue }))
                .collect();
            let lcore = &mut config["lcores"][at];
            lcore["pool"] = json!(self.pool(at));
            lcore["rx"] = owned.into();
            if let Some(shards) = spare {
                let sheds = facts.sheds.includes(self.pool(at));
                lcore["shard"] = if sheds { (at % shards).into() } else { Value::Null };
            }
        }
    }
}
