//! The lcore's loop: asks the policy for the next step, and carries it out on
//! real queues. All modes run this one loop, compiled per mode and engine.
//!
//! # Owners
//!
//! The loop is made of owners. Each has one file and private fields. The first
//! four contain the others, pass values down and get values back. No other
//! owner calls another one, but that `transmit` and `serve` read the clock of
//! `timing`.
//!
//! | owner | owns | verbs |
//! |---|---|---|
//! | `lcore_loop` | `runner`, and when to look for stuck lcores | run; poll; look around, adopt, take over |
//! | `runner` | `stages`, and all that an lcore knows of itself and others | next step; receive, serve, work; steal; begin busy, end busy |
//! | `stages` | the burst on its way through `admission`, `classify`, `serve`, `handoff` and `sender` | send whole; classify, finish; serve alone |
//! | `sender` | `transmit` and `timing` | follow, flush, close |
//! | `steps` | the policy, permits, what was found in vain | next, help, permit |
//! | `poller` | leases of own and borrowed queues | poll, release |
//! | `classify` | the piles of a burst: cheap, deferred | push, drain |
//! | `admission` | which packets of the burst need a place in their flow | stay, go away |
//! | `serve` | the engine | whole burst, cheap, expensive |
//! | `handoff` | run queue, kept packets, shard, inboxes of others | shed, requeue |
//! | `intake` | shards of others, own inbox | pick, dequeue, unbox |
//! | `rescue` | what this lcore shows, hints of others, thieves' ends, records of help | begin busy, end busy, look, steal |
//! | `transmit` | the three below | send, follow, flush |
//! | `outlets` | a stage per port | send, stage, send staged |
//! | `backlog` | what drivers refused | push, dequeue, put back |
//! | `release` | tickets of packets that are sent or dropped | finish, sent, dropped |
//! | `timing` | every clock: laps, latency, its parts, unseen waits, host gaps, stamps | now, close |
//! | `activity` | what the lcore does with its time, if that is metered | enter |
//!
//! `packet` and `setup` hold plain values, `places` the arithmetic of places in
//! flows. `board`, `run_state` and `orders` are what lcores and control show
//! each other.
//!
//! # A packet's life
//!
//! *Cheap, in a burst that is cheap as a whole* (the fast path): `poller`
//! polls; `admission` finds that no packet is ahead; `serve` runs the cheap
//! stage on the burst; `transmit` hands the burst to the driver; the next
//! reading of the clock closes its latency in `timing`. Nothing is asked of a
//! single packet.
//!
//! *Any other*: `Stages::classify` gives each packet the engine's class, a
//! place in its flow and a pile. Deferred packets carry their arrival and
//! place, and `handoff` sheds them. The cheap pile is served and staged, and
//! the stage flushed. A packet of unknown cost, or a deferred one that the mode
//! runs here, runs alone: what came after it waits in the run queue, where
//! others steal it.
//!
//! *Deferred, on the other side*: `intake` dequeues it, `serve` runs the
//! expensive stage, `transmit` follows the verdict.
//!
//! # The lease protocol
//!
//! No lcore polls a receive queue without its lease. Where the mode shares
//! queues, `poller` acquires the lease for each poll, and keeps it only while
//! bursts are full and leave whole. In the other modes it acquires the lease
//! with the first poll and keeps it at no further cost.
//!
//! * The owner releases all leases before it runs a packet of unknown or
//!   expensive cost (`begin_busy`), where the mode has lcores rescued. First
//!   the run queue shows its length and the heartbeat begins; then the backlog
//!   gets places in flows; only then the leases are released. So the next
//!   holder finds everything before it in order.
//! * A helper borrows a lease for a burst. It releases the lease when each
//!   packet of the burst was accepted by its driver or has a place.
//! * The time of the last poll that emptied the queue belongs to the lease: the
//!   holder writes it at release, the next one reads it when it acquires.
//!
//! # The order protocol
//!
//! The holder of a queue's lease defines the order of arrival, by its polls.
//!
//! * A packet that stays with the holder until its driver accepts it needs no
//!   place, as long as no packet before it in its flow has left the holder.
//! * Before a packet leaves the holder (deferred, left over, run alone), the
//!   packets of its bucket that are still here get places: first the backlog,
//!   then the stage, then the cheap pile. Then it gets its own.
//! * From then on each later packet of the bucket needs a place until all
//!   before it have released theirs.
//! * A place is released once: when the driver has accepted the packet, or when
//!   it was dropped. The lcore that releases it gets the next packet of the
//!   flow if that is ready, puts it into its own backlog and offers it.
//! * Where no order is kept, places are numbers: no packet waits for a turn,
//!   and late ones are counted.
//!
//! # Accounting
//!
//! Every packet ends in exactly one counter: accepted by a driver, or dropped
//! under one cause.

mod activity;
mod admission;
mod backlog;
mod board;
mod classify;
mod handoff;
mod intake;
mod lcore_loop;
mod orders;
mod outlets;
mod packet;
mod packet_queue;
mod places;
mod poller;
mod release;
mod rescue;
mod ring_ends;
mod run_state;
mod runner;
mod sender;
mod serve;
mod setup;
mod shard;
mod stages;
mod steps;
mod timing;
mod transmit;

pub use board::Board;
pub use lcore_loop::{LcoreLoop, Parked};
pub use orders::{Order, Orders, Spare};
pub use packet::Outgoing;
pub use packet_queue::{PacketQueue, PacketStealer};
pub use ring_ends::RingEnds;
pub use run_state::RunState;
pub use setup::{ADOPT_EVERY_NS, DEQUEUE_BUDGET_NS, Queues, Settings, Shared};
