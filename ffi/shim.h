/* DPDK's inline functions, made callable. Each is called once per burst, never once per packet. */
#ifndef MPFWD_SHIM_H
#define MPFWD_SHIM_H

#include <stdint.h>

struct rte_fib;
struct rte_fib6;
struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

/*
 * rte_eal_init. From 25.11 on EAL ends the process where it does not know an argument, with a code of its own: then the program says `last_words`,
 * and the exit code is 2.
 */
int mpfwd_eal_init(int argc, char **argv, const char *last_words);
/* rte_errno of the calling thread. */
int mpfwd_errno(void);
/* The first CPU that an lcore is pinned to. */
unsigned int mpfwd_lcore_cpu(unsigned int lcore);
/* The next port after `port` that no other layer owns (as RTE_ETH_FOREACH_DEV walks); UINT16_MAX: none. Start at UINT16_MAX. */
uint16_t mpfwd_next_port(uint16_t port);
/* Whether a device has a port, owned or not; written as for EAL's -a, with its bus: "pci:0000:01:00.0". */
int mpfwd_has_port(const char *device);

/* Free bytes of EAL's heaps, all memory nodes together; what it can still get from the system is not in it. */
uint64_t mpfwd_heap_free_bytes(void);

/* A pool of `mbufs` buffers of `room` bytes, kept as --mbuf-pool-ops-name says; where that says nothing, on a stack, if there is one, or as DPDK would. */
struct rte_mempool *mpfwd_pool_create(const char *name, unsigned int mbufs, unsigned int cache, uint16_t room, int stack);
/* rte_pktmbuf_alloc_bulk: all `n` or a negative errno. */
int mpfwd_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **pkts, unsigned int n);
/* Where the mbufs end that this lcore's cache holds, the next one last. Sets `n` to how many there are, if they are fewer. */
struct rte_mbuf *const *mpfwd_next_free(struct rte_mempool *pool, unsigned int *n);
/* rte_pktmbuf_chain: 0, or -EOVERFLOW when the chain would be too long. */
int mpfwd_chain(struct rte_mbuf *head, struct rte_mbuf *tail);

unsigned int mpfwd_ring_enqueue(struct rte_ring *ring, void *const *items, unsigned int n);
unsigned int mpfwd_ring_dequeue(struct rte_ring *ring, void **items, unsigned int n, unsigned int *left);
unsigned int mpfwd_ring_mask(const struct rte_ring *ring);

/* Packets that the device itself lost before any burst returned them, and what it says it took and sent. */
struct mpfwd_port_stats {
	uint64_t ipackets, opackets, imissed, ierrors, oerrors, rx_nombuf;
};
/* Whether the link is up; a driver that does not know counts as up. (The structure is nested from 25.03 on.) */
int mpfwd_link_is_up(uint16_t port);

int mpfwd_port_stats(uint16_t port, struct mpfwd_port_stats *out);

/* The device's clock by rte_eth_read_clock, in its own ticks: 0, or a negative errno. */
int mpfwd_read_clock(uint16_t port, uint64_t *ticks);
/* The device's clock of IEEE 1588, in nanoseconds: 0, or a negative errno. */
int mpfwd_timesync_clock(uint16_t port, uint64_t *ns);

/*
 * Tables for longest-prefix match with room for so many routes and groups of 256 entries, of four bytes each if they are wide, else of two:
 * NULL, and rte_errno says why.
 */
struct rte_fib *mpfwd_fib_create(const char *name, uint32_t routes, uint32_t groups, int wide, uint32_t default_hop);
struct rte_fib6 *mpfwd_fib6_create(const char *name, uint32_t routes, uint32_t groups, int wide, uint32_t default_hop);
/* rte_fib6_add and rte_fib6_lookup_bulk, whose addresses have a type of their own from 24.11 on. */
int mpfwd_fib6_add(struct rte_fib6 *fib, const uint8_t *prefix, uint8_t length, uint64_t hop);
int mpfwd_fib6_look_up(struct rte_fib6 *fib, const uint8_t *addresses, uint64_t *hops, int n);

#endif
