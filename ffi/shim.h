/* DPDK's inline functions as linkable ones. Called once per burst, never once per packet. */
#ifndef MPFWD_SHIM_H
#define MPFWD_SHIM_H

#include <stdint.h>

struct rte_fib;
struct rte_fib6;
struct rte_mbuf;
struct rte_mempool;
struct rte_ring;
struct rte_tel_data;

/*
 * rte_eal_init, without its usage. EAL may end the process: by an abort, and from 25.11 on by an
 * exit. Then the exit code is 2, and the last line is EAL's first error with the program's name, or
 * `exit_message` if EAL logged none.
 */
int mpfwd_eal_init(int argc, char **argv, const char *exit_message);
/* The first error that EAL logged while it started; empty if there was none. */
const char *mpfwd_eal_error(void);
/* rte_errno of the calling thread. */
int mpfwd_errno(void);
/* The first CPU of an lcore's CPU set. */
unsigned int mpfwd_lcore_cpu(unsigned int lcore);
/* Whether an lcore's CPU set has this CPU. */
int mpfwd_lcore_may_use(unsigned int lcore, unsigned int cpu);
/*
 * The next port after `port` without an owner, as RTE_ETH_FOREACH_DEV; UINT16_MAX if there is none.
 * Start with UINT16_MAX.
 */
uint16_t mpfwd_next_port(uint16_t port);
/* The socket of a port; -1 if it is on none, as virtual devices are. */
int mpfwd_port_socket(uint16_t port);
/* Bytes of a slot of net_af_packet's ring: its `framesz`. */
uint32_t mpfwd_af_packet_frame(uint16_t port);
/* Whether a device has a port, owned or not. Named as for EAL's -a, with its bus: "pci:0000:01:00.0". */
int mpfwd_has_port(const char *device);

/* Telemetry's answers: an array of lcore ids, or a dictionary of counts (renamed in 23.03). */
void mpfwd_telemetry_ids(struct rte_tel_data *data);
void mpfwd_telemetry_id(struct rte_tel_data *data, unsigned int id);
void mpfwd_telemetry_counts(struct rte_tel_data *data);
void mpfwd_telemetry_count(struct rte_tel_data *data, const char *name, uint64_t count);
/*
 * rte_lcore_register_usage_cb; before 23.03 it does nothing. `source` writes the cycles of an lcore and
 * the busy ones among them, and returns 0; -1 if it knows none.
 */
void mpfwd_register_usage(int (*source)(unsigned int lcore, uint64_t *all, uint64_t *busy));

/* Free bytes of EAL's heaps on all sockets, without what EAL can still allocate from the system. */
uint64_t mpfwd_heap_free_bytes(void);

/*
 * A pool of `mbufs` buffers of `room` bytes on `socket`, with the mempool ops of --mbuf-pool-ops-name; without
 * those a stack if `stack` and this DPDK has one, else DPDK's default.
 */
struct rte_mempool *mpfwd_pool_create(const char *name, unsigned int mbufs, unsigned int cache,
				      uint16_t room, int stack, int socket);
/* rte_pktmbuf_alloc_bulk: all `n` or a negative errno. */
int mpfwd_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **pkts, unsigned int n);
/*
 * The end of the mbufs in this lcore's cache; the next one to be allocated is the last. Lowers `n` to
 * the number of mbufs in the cache.
 */
struct rte_mbuf *const *mpfwd_next_free(struct rte_mempool *pool, unsigned int *n);
/* rte_pktmbuf_chain: 0, or -EOVERFLOW when the chain would be too long. */
int mpfwd_chain(struct rte_mbuf *head, struct rte_mbuf *tail);

unsigned int mpfwd_ring_enqueue(struct rte_ring *ring, void *const *items, unsigned int n);
unsigned int mpfwd_ring_dequeue(struct rte_ring *ring, void **items, unsigned int n,
				unsigned int *left);
unsigned int mpfwd_ring_mask(const struct rte_ring *ring);

/* The device's own counters, with the packets it lost before any burst returned them. */
struct mpfwd_port_stats {
	uint64_t ipackets, opackets, imissed, ierrors, oerrors, rx_nombuf;
};
/* Whether the link is up; a driver without link status counts as up. (Nested struct from 25.03 on.) */
int mpfwd_link_is_up(uint16_t port);

int mpfwd_port_stats(uint16_t port, struct mpfwd_port_stats *out);

/* The device's clock by rte_eth_read_clock, in its own ticks. 0 or a negative errno. */
int mpfwd_read_clock(uint16_t port, uint64_t *ticks);
/* The device's IEEE 1588 clock, in nanoseconds. 0 or a negative errno. */
int mpfwd_timesync_clock(uint16_t port, uint64_t *ns);

/*
 * Longest-prefix-match tables with room for this many routes and groups of 256 entries, of four bytes
 * each if `wide`, else of two. NULL with rte_errno set on failure.
 */
struct rte_fib *mpfwd_fib_create(const char *name, uint32_t routes, uint32_t groups, int wide,
				 uint32_t default_hop, int socket);
struct rte_fib6 *mpfwd_fib6_create(const char *name, uint32_t routes, uint32_t groups, int wide,
				   uint32_t default_hop, int socket);
/* rte_fib6_add and rte_fib6_lookup_bulk; their addresses have their own type from 24.11 on. */
int mpfwd_fib6_add(struct rte_fib6 *fib, const uint8_t *prefix, uint8_t length, uint64_t hop);
int mpfwd_fib6_look_up(struct rte_fib6 *fib, const uint8_t *addresses, uint64_t *hops, int n);

#endif
