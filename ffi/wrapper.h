/*
 * Input of bindgen; build.rs's allow-lists select functions, types and constants. Differences between
 * DPDK versions are handled here and in shim.c, so that Rust sees one shape.
 */
#include <stddef.h>

#include <rte_config.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_eth_ring.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_telemetry.h>
#include <rte_version.h>

#include "shim.h"

/* 22.11 has flat mbuf fields, newer versions nest them in anonymous unions: offsetof finds both. */
enum {
	MPFWD_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	MPFWD_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	MPFWD_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	MPFWD_MBUF_RSS_HASH = offsetof(struct rte_mbuf, hash.rss),
	MPFWD_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	MPFWD_MBUF_PORT = offsetof(struct rte_mbuf, port),
	MPFWD_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	MPFWD_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	MPFWD_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	MPFWD_MBUF_NEXT = offsetof(struct rte_mbuf, next),
	MPFWD_MBUF_TX_OFFLOAD = offsetof(struct rte_mbuf, tx_offload),
	MPFWD_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt),
	MPFWD_MBUF_SHINFO = offsetof(struct rte_mbuf, shinfo),
	MPFWD_SHINFO_REFCNT = offsetof(struct rte_mbuf_ext_shared_info, refcnt),
	/* A ring's consumer and producer positions and the start of its items: to read the head. */
	MPFWD_RING_PROD_TAIL = offsetof(struct rte_ring, prod.tail),
	MPFWD_RING_CONS_HEAD = offsetof(struct rte_ring, cons.head),
	MPFWD_RING_ITEMS = sizeof(struct rte_ring),
};

/* The NIC has looked at the outermost TCP or UDP checksum: it is right, or wrong. */
static const uint64_t MPFWD_MBUF_L4_CHECKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t MPFWD_MBUF_L4_CHECKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t MPFWD_MBUF_L4_CHECKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t MPFWD_MBUF_INDIRECT = RTE_MBUF_F_INDIRECT;
static const uint64_t MPFWD_MBUF_EXTERNAL = RTE_MBUF_F_EXTERNAL;
static const unsigned int MPFWD_RING_SP_ENQ = RING_F_SP_ENQ;
static const unsigned int MPFWD_RING_SC_DEQ = RING_F_SC_DEQ;
static const unsigned int MPFWD_RING_HTS_ENQ = RING_F_MP_HTS_ENQ;
static const unsigned int MPFWD_RING_HTS_DEQ = RING_F_MC_HTS_DEQ;
/* Flags of a port: its driver reports changes of the link, and that the device is gone. */
static const uint32_t MPFWD_PORT_INTR_LSC = RTE_ETH_DEV_INTR_LSC;
static const uint32_t MPFWD_PORT_INTR_RMV = RTE_ETH_DEV_INTR_RMV;
static const unsigned int MPFWD_MAX_PORTS = RTE_MAX_ETHPORTS;
static const unsigned int MPFWD_MAX_LCORES = RTE_MAX_LCORE;
static const unsigned int MPFWD_MEMPOOL_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE;
static const unsigned int MPFWD_PKTMBUF_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const int MPFWD_PROC_PRIMARY = RTE_PROC_PRIMARY;
static const int MPFWD_SOCKET_ANY = SOCKET_ID_ANY;
static const uint64_t MPFWD_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t MPFWD_RX_OFFLOAD_TIMESTAMP = RTE_ETH_RX_OFFLOAD_TIMESTAMP;
static const uint64_t MPFWD_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t MPFWD_RSS_FUNCTIONS =
	RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_SCTP;
/* Subsets of these, by protocol: a driver that has one bit of a subset hashes the protocol. */
static const uint64_t MPFWD_RSS_IPV4 =
	RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
static const uint64_t MPFWD_RSS_IPV6 = RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV6 |
	RTE_ETH_RSS_NONFRAG_IPV6_OTHER | RTE_ETH_RSS_IPV6_EX;
static const uint64_t MPFWD_RSS_IPV4_TCP = RTE_ETH_RSS_NONFRAG_IPV4_TCP;
static const uint64_t MPFWD_RSS_IPV6_TCP =
	RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_IPV6_TCP_EX;
static const uint64_t MPFWD_RSS_IPV4_UDP = RTE_ETH_RSS_NONFRAG_IPV4_UDP;
static const uint64_t MPFWD_RSS_IPV6_UDP =
	RTE_ETH_RSS_NONFRAG_IPV6_UDP | RTE_ETH_RSS_IPV6_UDP_EX;
static const uint64_t MPFWD_RSS_IPV4_SCTP = RTE_ETH_RSS_NONFRAG_IPV4_SCTP;
static const uint64_t MPFWD_RSS_IPV6_SCTP = RTE_ETH_RSS_NONFRAG_IPV6_SCTP;
/* Unit of net_pcap's stamps: microseconds, from 26.07 on nanoseconds. */
static const unsigned int MPFWD_PCAP_STAMPS_NANOSECONDS =
	RTE_VERSION >= RTE_VERSION_NUM(26, 7, 0, 0);
static const int MPFWD_MQ_RX_NONE = RTE_ETH_MQ_RX_NONE;
static const int MPFWD_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
