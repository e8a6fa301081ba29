//! Chooses a port's offloads from its capabilities, and names those that it
//! lacks. Pure: the port is not touched.

use dpdk_sys as sys;

use super::port_config::PortConfig;

/// A driver's capabilities, as DPDK's bit masks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capable {
    pub rx_offloads: u64,
    pub tx_offloads: u64,
    pub rss_functions: u64,
}

impl Capable {
    pub(super) fn of(info: &sys::rte_eth_dev_info) -> Self {
        Self {
            rx_offloads: info.rx_offload_capa,
            tx_offloads: info.tx_offload_capa,
            rss_functions: info.flow_type_rss_offloads,
        }
    }

    /// Packets larger than a buffer can be received into several, and sent from
    /// several. With only one of the two such packets would be lost.
    pub(super) fn segments(self) -> bool {
        self.rx_offloads & sys::MPFWD_RX_OFFLOAD_SCATTER != 0
            && self.tx_offloads & sys::MPFWD_TX_OFFLOAD_MULTI_SEGS != 0
    }
}

/// The offloads to request. The port has them all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub rx_offloads: u64,
    pub tx_offloads: u64,
    /// 0: packets are not spread by RSS.
    pub rss_functions: u64,
    /// Missing offloads that matter, each as a predicate of the port's name.
    pub missing: Vec<String>,
}

/// RSS functions by what a packet carries.
const PROTOCOLS: [(u64, &str); 8] = [
    (sys::MPFWD_RSS_IPV4, "IPv4"),
    (sys::MPFWD_RSS_IPV6, "IPv6"),
    (sys::MPFWD_RSS_IPV4_TCP, "TCP over IPv4"),
    (sys::MPFWD_RSS_IPV6_TCP, "TCP over IPv6"),
    (sys::MPFWD_RSS_IPV4_UDP, "UDP over IPv4"),
    (sys::MPFWD_RSS_IPV6_UDP, "UDP over IPv6"),
    (sys::MPFWD_RSS_IPV4_SCTP, "SCTP over IPv4"),
    (sys::MPFWD_RSS_IPV6_SCTP, "SCTP over IPv6"),
];

impl Asked {
    pub(super) fn of(config: &PortConfig, capable: Capable) -> Self {
        let mut asked = Self::default();
        match config.scatter {
            true if capable.segments() => {
                asked.rx_offloads |= sys::MPFWD_RX_OFFLOAD_SCATTER;
                asked.tx_offloads |= sys::MPFWD_TX_OFFLOAD_MULTI_SEGS;
            }
            true => asked.missing.push(
                "takes no packets of several buffers, because it cannot both receive and send them"
                    .into(),
            ),
            false => {}
        }
        if config.stamp {
            // A driver that always stamps may lack this offload. Received
            // packets will show it.
            asked.rx_offloads |= capable.rx_offloads & sys::MPFWD_RX_OFFLOAD_TIMESTAMP;
        }
        if config.rxqs() > 1 {
            asked.ask_for_rss(config.rxqs(), capable);
        }
        asked
    }

    fn ask_for_rss(&mut self, rxq: u16, capable: Capable) {
        self.rss_functions = capable.rss_functions & sys::MPFWD_RSS_FUNCTIONS;
        if self.rss_functions == 0 {
            return self
                .missing
                .push(format!("has no RSS: it spreads packets over its {rxq} queues as it likes"));
        }
        let unknown = PROTOCOLS.iter().filter(|(functions, _)| functions & self.rss_functions == 0);
        let unknown: Vec<&str> = unknown.map(|&(_, name)| name).collect();
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            self.missing.push(format!("has no RSS by {unknown}: its {rxq} queues get such packets by their IP addresses, or one gets all"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Capable =
        Capable { rx_offloads: u64::MAX, tx_offloads: u64::MAX, rss_functions: u64::MAX };

    fn config(rxq: u16) -> PortConfig {
        PortConfig {
            rx_sockets: vec![0; usize::from(rxq)],
            tx_sockets: vec![0],
            txq_users: vec![1],
            rxd: 512,
            txd: 512,
            max_pkt_len: 1518,
            scatter: false,
            promiscuous: false,
            stamp: false,
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_missed() {
        assert_eq!(Asked::of(&config(1), Capable::default()), Asked::default());
        assert_eq!(Asked::of(&config(1), ALL), Asked::default());
        // net_pcap, which stamps all packets.
        assert_eq!(
            Asked::of(&PortConfig { stamp: true, ..config(1) }, Capable::default()),
            Asked::default()
        );
    }

    #[test]
    fn what_is_there_is_asked_for() {
        let asked = Asked::of(&PortConfig { scatter: true, stamp: true, ..config(2) }, ALL);
        let rx_offloads = sys::MPFWD_RX_OFFLOAD_SCATTER | sys::MPFWD_RX_OFFLOAD_TIMESTAMP;
        let tx_offloads = sys::MPFWD_TX_OFFLOAD_MULTI_SEGS;
        assert_eq!(
            asked,
            Asked {
                rx_offloads,
                tx_offloads,
                rss_functions: sys::MPFWD_RSS_FUNCTIONS,
                missing: vec![]
            }
        );
    }

    #[test]
    fn buffers_are_chained_only_where_both_directions_can() {
        for capable in [Capable { rx_offloads: 0, ..ALL }, Capable { tx_offloads: 0, ..ALL }] {
            let asked = Asked::of(&PortConfig { scatter: true, ..config(1) }, capable);
            assert!(!capable.segments() && (asked.rx_offloads, asked.tx_offloads) == (0, 0));
            assert!(
                asked.missing.len() == 1 && asked.missing[0].contains("several buffers"),
                "{asked:?}"
            );
        }
    }

    #[test]
    fn protocols_that_rss_does_not_know_are_named() {
        let asked = Asked::of(&config(2), Capable { rss_functions: 0, ..ALL });
        assert!(
            asked.rss_functions == 0
                && asked.missing
                    == ["has no RSS: it spreads packets over its 2 queues as it likes"],
            "{asked:?}"
        );
        // net_tap's.
        let sctp = sys::MPFWD_RSS_IPV4_SCTP | sys::MPFWD_RSS_IPV6_SCTP;
        let asked = Asked::of(&config(4), Capable { rss_functions: !sctp, rx_offloads: 0, ..ALL });
        assert_eq!((asked.rss_functions, asked.rx_offloads), (sys::MPFWD_RSS_FUNCTIONS & !sctp, 0));
        assert_eq!(asked.missing.len(), 1);
        assert!(
            asked.missing[0]
                .starts_with("has no RSS by SCTP over IPv4, SCTP over IPv6: its 4 queues"),
            "{asked:?}"
        );
        // i40e's: no bit for IPv6's extension headers, nor for plain addresses.
        let few = sys::MPFWD_RSS_FUNCTIONS & !(1 << 2 | 1 << 8 | 1 << 15 | 1 << 16 | 1 << 17);
        assert_eq!(Asked::of(&config(4), Capable { rss_functions: few, ..ALL }).missing, [""; 0]);
    }
}
