//! Costs of the lcores' own work, beside those of the packets.

use super::TICKS_PER_US;

/// Declares the costs once: with their names, their measured defaults in
/// nanoseconds, and the same in ticks.
macro_rules! costs {
    ($($(#[doc = $doc:literal])+ $name:ident: $default:literal,)+) => {
        /// Costs in nanoseconds. The defaults were measured on two CPUs of 2.6
        /// GHz with a virtual port.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct Costs {
            $($(#[doc = $doc])+ pub $name: f64,)+
        }

        impl Default for Costs {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Costs {
            /// No work costs anything but that of the packets. A poll in vain
            /// takes a nanosecond, because time must pass.
            pub fn free() -> Self {
                Self { $($name: 0.0,)+ }.with_time_passing()
            }

            /// Each cost's name and value, in the order of the fields.
            pub fn named(&self) -> Vec<(&'static str, f64)> {
                vec![$((stringify!($name), self.$name),)+]
            }

            /// The cost of that name.
            pub fn named_mut(&mut self, name: &str) -> Option<&mut f64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)+
                    _ => None,
                }
            }

            pub(super) fn ticks(&self) -> CostTicks {
                let ticks = |ns: f64| (ns * TICKS_PER_US as f64 / 1e3).round() as u64;
                CostTicks { $($name: ticks(self.$name),)+ }
            }
        }

        #[derive(Clone, Copy, Debug)]
        pub(super) struct CostTicks {
            $(pub $name: u64,)+
        }
    };
}

costs! {
    /// Reading the clock.
    clock_ns: 10.0,
    /// A poll that finds nothing, and the rest after it.
    poll_empty_ns: 45.0,
    /// A poll that brings packets.
    poll_burst_ns: 110.0,
    /// Each of these packets.
    poll_pkt_ns: 2.0,
    /// A virtual source's work per packet; 0 with a NIC.
    source_pkt_ns: 35.0,
    /// Telling whether a packet is cheap.
    classify_pkt_ns: 2.0,
    /// A packet's place in its flow: entering it.
    enter_pkt_ns: 15.0,
    /// Releasing it, when the packet is sent.
    release_pkt_ns: 20.0,
    /// Sending a burst.
    send_burst_ns: 70.0,
    /// Each packet of it.
    send_pkt_ns: 2.0,
    /// Adding a packet to the lcore's run queue.
    push_pkt_ns: 2.0,
    /// Removing one from it.
    pop_pkt_ns: 2.0,
    /// A steal from another lcore's run queue, beside the transfer of its
    /// lines.
    steal_ns: 15.0,
    /// Each stolen packet.
    steal_pkt_ns: 2.0,
    /// Enqueueing packets to a shard or an inbox.
    shed_ns: 20.0,
    /// Each of these packets.
    shed_pkt_ns: 4.0,
    /// Choosing a shard and dequeueing from it, beside the transfer of its
    /// lines.
    dequeue_ns: 15.0,
    /// Each of these packets.
    dequeue_pkt_ns: 8.0,
    /// Showing that a long packet begins, and that it ended.
    busy_ns: 5.0,
    /// Acquiring and releasing a lease whose line is near.
    lease_ns: 5.0,
    /// A look at the others, beside the boards that it reads.
    look_ns: 30.0,
    /// Each of these boards.
    look_board_ns: 4.0,
    /// Leaving the CPU alone for a moment.
    rest_ns: 20.0,
    /// A cache line from an lcore that shares a cache.
    near_line_ns: 60.0,
    /// From another one of the same socket.
    far_line_ns: 200.0,
    /// From another socket.
    socket_line_ns: 400.0,
}

impl Costs {
    fn with_time_passing(self) -> Self {
        Self { poll_empty_ns: 1.0, rest_ns: 1.0, look_ns: 1.0, clock_ns: 0.0, ..self }
    }
}

/// How far lcores are from each other. Lcores are numbered through caches, and
/// caches through sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Lcores that share a cache.
    pub lcores_per_cache: usize,
    /// Lcores of a socket.
    pub lcores_per_socket: usize,
}

impl Default for Topology {
    fn default() -> Self {
        Self { lcores_per_cache: 8, lcores_per_socket: 64 }
    }
}

impl Topology {
    /// The time of a line's transfer between two lcores.
    pub(super) fn line(&self, costs: &CostTicks, one: usize, other: usize) -> u64 {
        let same = |per: usize| one / per.max(1) == other / per.max(1);
        match (one == other, same(self.lcores_per_cache), same(self.lcores_per_socket)) {
            (true, ..) => 0,
            (_, true, _) => costs.near_line_ns,
            (_, _, true) => costs.far_line_ns,
            _ => costs.socket_line_ns,
        }
    }
}
