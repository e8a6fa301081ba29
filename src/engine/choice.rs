//! One of several engines, chosen per packet.

/// Declares an enum of engines that is an engine itself: each call is forwarded
/// to the variant.
macro_rules! choice {
    ($(#[$about:meta])* pub enum $name:ident { $($variant:ident($engine:ty)),+ $(,)? }) => {
        $(#[$about])*
        pub enum $name {
            $($variant($engine)),+
        }

        impl $crate::engine::Engine for $name {
            #[inline]
            fn classify(&mut self, packet: &$crate::dpdk::Mbuf, from: u16) -> $crate::engine::Class {
                match self {
                    $(Self::$variant(engine) => engine.classify(packet, from)),+
                }
            }

            #[inline]
            fn cheap(&mut self, packet: &mut $crate::dpdk::Mbuf, from: u16) -> $crate::engine::Verdict {
                match self {
                    $(Self::$variant(engine) => engine.cheap(packet, from)),+
                }
            }

            #[inline]
            fn expensive(&mut self, packet: &mut $crate::dpdk::Mbuf, from: u16) -> $crate::engine::Verdict {
                match self {
                    $(Self::$variant(engine) => engine.expensive(packet, from)),+
                }
            }

            #[inline]
            fn expensive_all(&mut self, packets: &mut [$crate::dpdk::Mbuf], from: u16, verdicts: &mut [$crate::engine::Verdict]) {
                match self {
                    $(Self::$variant(engine) => engine.expensive_all(packets, from, verdicts)),+
                }
            }

            #[inline]
            fn prepare_burst(&mut self, burst: &mut $crate::dpdk::Burst, from: u16) {
                match self {
                    $(Self::$variant(engine) => engine.prepare_burst(burst, from)),+
                }
            }

            #[inline]
            fn defers_burst(&mut self, burst: &$crate::dpdk::Burst, from: u16) -> bool {
                match self {
                    $(Self::$variant(engine) => engine.defers_burst(burst, from)),+
                }
            }

            #[inline]
            fn rest(&mut self) {
                match self {
                    $(Self::$variant(engine) => engine.rest()),+
                }
            }

            fn host_gaps(&mut self) -> $crate::stats::Gaps {
                match self {
                    $(Self::$variant(engine) => engine.host_gaps()),+
                }
            }

            fn turns(&self) -> Option<Box<dyn $crate::engine::Turns>> {
                match self {
                    $(Self::$variant(engine) => engine.turns()),+
                }
            }

            #[inline]
            fn cheap_burst(
                &mut self,
                burst: &mut $crate::dpdk::Burst,
                from: u16,
                dropped: impl FnMut($crate::dpdk::Mbuf, $crate::stats::DropCause),
            ) -> Option<u16> {
                match self {
                    $(Self::$variant(engine) => engine.cheap_burst(burst, from, dropped)),+
                }
            }
        }
    };
}

pub(super) use choice;
