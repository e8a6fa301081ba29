//! An lcore's time by activity.

use super::Counter;

/// An lcore's activity between two readings of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Polls in vain.
    Poll,
    /// The cheap stage, with the poll before it and the sending after it.
    Cheap,
    Expensive,
    /// The cheap stage for another lcore.
    Help,
    /// Looks in vain for others that need help, and rests.
    Idle,
}

impl Activity {
    pub const ALL: [Self; 5] = [Self::Poll, Self::Cheap, Self::Expensive, Self::Help, Self::Idle];

    /// The name in reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Cheap => "cheap",
            Self::Expensive => "expensive",
            Self::Help => "help",
            Self::Idle => "idle",
        }
    }

    /// Whether packets are served meanwhile.
    pub fn is_busy(self) -> bool {
        matches!(self, Self::Cheap | Self::Expensive | Self::Help)
    }
}

/// One lcore's ticks by activity. One writer. Counted with `--pools auto`, and
/// from the first request of the API on.
#[derive(Debug, Default)]
pub struct ActivityTicks([Counter; Activity::ALL.len()]);

impl ActivityTicks {
    #[inline]
    pub fn add(&self, activity: Activity, ticks: u64) {
        self.0[activity as usize].add(ticks);
    }

    pub fn get(&self, activity: Activity) -> u64 {
        self.0[activity as usize].get()
    }

    pub fn all(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }
}
