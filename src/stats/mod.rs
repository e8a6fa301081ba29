//! Counters and histograms that one lcore writes and others read, and the report
//! made of them.

mod activity;
mod counters;
mod cycles;
mod dpi;
mod gaps;
mod histogram;
mod incidents;
mod latency;
mod links;
mod order;
mod parts;
mod pools;
mod prediction;
mod rank;
mod report;
mod rescue;
mod run_delay;
mod source;
mod stamps;

pub use activity::{Activity, ActivityTicks};
pub use counters::{Counter, DropCause, LcoreStats, OwnStats, PortQueue};
pub use cycles::{Lap, StepMeter};
pub use dpi::{DpiCounts, DpiReport, RuleCounts, RuleRow};
pub use gaps::{GAP_NS_MIN, Gaps, HostGaps};
pub use histogram::{CoarseCounts, Histogram, HistogramCounts};
pub use incidents::{INCIDENTS_MAX, Incidents, Map, Rescued, Stuck};
pub use latency::{Latency, LcoreLatency, is_bounded, unseen_text};
pub use links::{LINK_CHANGES_MAX, LinkChange, LostAt, PortLog, run_time};
pub use mpfwd_common::incidents::incident_table;
pub use mpfwd_common::latency::{Bucket, LatencyRow, hgrm, histogram_ns};
pub use mpfwd_common::report::{HostGapRow, Incident, IncidentStage};
pub use order::{OrderCounts, OrderRow};
pub use parts::{BurstTimeRow, LatencyParts, PARTS_EVERY_BURSTS, PartRows, Parts, TimeRow};
pub use pools::PoolChange;
pub use prediction::{PredictionCounts, PredictionRow};
pub use rank::{RankCounts, RankRow};
pub use report::{
    DeviceStats, LcoreRow, LiveRow, PortRow, QueueRow, Reloads, Report, StepCycles, TscRow,
};
pub use rescue::{RescueRow, RescueStats};
pub use run_delay::RunDelay;
pub use source::{SourceQueueRow, SourceReport};
pub use stamps::{
    BurstClock, ClockModel, Distrust, Fit, PortClock, Published, Reading, Sample, StampClocks,
    StampSpan, Stamps, Step, Unit, Verdict,
};
