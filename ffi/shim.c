#define _GNU_SOURCE
/* For rte_eth_read_clock, experimental in every version that has it. */
#define ALLOW_EXPERIMENTAL_API
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_ring.h>
#include <rte_telemetry.h>
#include <rte_version.h>

/* What is said if EAL ends the process; no error of EAL's, no reason. */
static const char *pending_message;
/* The first error that EAL logged while it started, without its prefix. */
static char first_error[256];

/* Prints EAL's log, and keeps the first error. */
static ssize_t log_write(void *unused, const char *text, size_t size)
{
	static const char no_reason[] = "Invalid 'command line' arguments";
	const char *start = text;
	size_t left = size;

	(void)unused;
	fwrite(text, 1, size, stderr);
	fflush(stderr);
	if (left >= 5 && strncmp(start, "EAL: ", 5) == 0) {
		start += 5;
		left -= 5;
	}
	while (left > 0 && (start[left - 1] == '\n' || start[left - 1] == '.'))
		left--;
	/* getopt said which, and it is no log. rte_panic logs where it is, and then what it has to say. */
	if (first_error[0] != '\0' || rte_log_cur_msg_loglevel() > (int)RTE_LOG_ERR ||
	    left == 0 || strncmp(start, "PANIC in ", 9) == 0 ||
	    memmem(start, left, no_reason, sizeof(no_reason) - 1) != NULL)
		return size;
	if (left >= sizeof(first_error))
		left = sizeof(first_error) - 1;
	memcpy(first_error, start, left);
	first_error[left] = '\0';
	return size;
}

static void print_pending(void)
{
	const char *reason = first_error[0] == '\0' ? pending_message : first_error;

	fflush(NULL);
	fprintf(stderr, "%s: EAL did not start: %s\n", program_invocation_short_name, reason);
	_exit(2);
}

static void print_exit_message(int code, void *unused)
{
	(void)unused;
	/* Code 0: EAL printed its help. No message: EAL did not end the process. */
	if (code != 0 && pending_message != NULL)
		print_pending();
}

/* rte_panic aborts, in the thread that starts EAL. */
static void handle_abort(int unused)
{
	(void)unused;
	print_pending();
}

/* EAL answers a bad argument with all its arguments, on standard output. */
static int hide_stdout(void)
{
	int kept = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	int null = kept < 0 ? -1 : open("/dev/null", O_WRONLY | O_CLOEXEC);

	fflush(stdout);
	if (null >= 0) {
		dup2(null, STDOUT_FILENO);
		close(null);
	}
	return kept;
}

static void show_stdout(int kept)
{
	fflush(stdout);
	if (kept >= 0) {
		dup2(kept, STDOUT_FILENO);
		close(kept);
	}
}

int mpfwd_eal_init(int argc, char **argv, const char *exit_message)
{
	static const cookie_io_functions_t io = { .write = log_write };
	const struct sigaction on_abort = { .sa_handler = handle_abort };
	struct sigaction before;
	FILE *log = fopencookie(NULL, "w", io);
	int code, stdout_kept;

	pending_message = exit_message;
	on_exit(print_exit_message, NULL);
	sigaction(SIGABRT, &on_abort, &before);
	if (log != NULL)
		rte_openlog_stream(log);
	stdout_kept = hide_stdout();
	code = rte_eal_init(argc, argv);
	show_stdout(stdout_kept);
	if (log != NULL) {
		rte_openlog_stream(NULL);
		fclose(log);
	}
	sigaction(SIGABRT, &before, NULL);
	pending_message = NULL;
	return code;
}

void mpfwd_telemetry_ids(struct rte_tel_data *data)
{
	rte_tel_data_start_array(data, RTE_TEL_INT_VAL);
}

void mpfwd_telemetry_id(struct rte_tel_data *data, unsigned int id)
{
	rte_tel_data_add_array_int(data, (int)id);
}

void mpfwd_telemetry_counts(struct rte_tel_data *data)
{
	rte_tel_data_start_dict(data);
}

void mpfwd_telemetry_count(struct rte_tel_data *data, const char *name, uint64_t count)
{
#if RTE_VERSION >= RTE_VERSION_NUM(23, 3, 0, 0)
	rte_tel_data_add_dict_uint(data, name, count);
#else
	rte_tel_data_add_dict_u64(data, name, count);
#endif
}

#if RTE_VERSION >= RTE_VERSION_NUM(23, 3, 0, 0)
static int (*usage_source)(unsigned int lcore, uint64_t *all, uint64_t *busy);

static int lcore_usage(unsigned int lcore, struct rte_lcore_usage *usage)
{
	return usage_source(lcore, &usage->total_cycles, &usage->busy_cycles);
}
#endif

void mpfwd_register_usage(int (*source)(unsigned int lcore, uint64_t *all, uint64_t *busy))
{
#if RTE_VERSION >= RTE_VERSION_NUM(23, 3, 0, 0)
	usage_source = source;
	rte_lcore_register_usage_cb(lcore_usage);
#else
	(void)source;
#endif
}

const char *mpfwd_eal_error(void)
{
	return first_error;
}

int mpfwd_errno(void)
{
	return rte_errno;
}

unsigned int mpfwd_lcore_cpu(unsigned int lcore)
{
	rte_cpuset_t set = rte_lcore_cpuset(lcore);
	unsigned int cpu;

	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set))
			return cpu;
	return lcore;
}

int mpfwd_lcore_may_use(unsigned int lcore, unsigned int cpu)
{
	rte_cpuset_t set = rte_lcore_cpuset(lcore);

	return cpu < CPU_SETSIZE && CPU_ISSET(cpu, &set);
}

uint16_t mpfwd_next_port(uint16_t port)
{
	uint64_t next = rte_eth_find_next_owned_by((uint16_t)(port + 1), RTE_ETH_DEV_NO_OWNER);

	return next < RTE_MAX_ETHPORTS ? (uint16_t)next : UINT16_MAX;
}

int mpfwd_port_socket(uint16_t port)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(port, &info) == 0 && info.device != NULL &&
	    strcmp(rte_bus_name(rte_dev_bus(info.device)), "vdev") == 0)
		return -1;
	return rte_eth_dev_socket_id(port);
}

uint32_t mpfwd_af_packet_frame(uint16_t port)
{
	const uint32_t by_default = 2048;
	const struct rte_devargs *devargs;
	struct rte_eth_dev_info info;
	const char *size;

	if (rte_eth_dev_info_get(port, &info) != 0 || info.device == NULL)
		return by_default;
	devargs = rte_dev_devargs(info.device);
	size = devargs == NULL || devargs->args == NULL ? NULL : strstr(devargs->args, "framesz=");
	return size == NULL ? by_default : (uint32_t)strtoul(size + strlen("framesz="), NULL, 10);
}

int mpfwd_has_port(const char *device)
{
	struct rte_dev_iterator it;
	uint16_t port;

	if (rte_eth_iterator_init(&it, device) != 0)
		return 0;
	port = rte_eth_iterator_next(&it);
	if (port != RTE_MAX_ETHPORTS)
		rte_eth_iterator_cleanup(&it);
	return port != RTE_MAX_ETHPORTS;
}

uint64_t mpfwd_heap_free_bytes(void)
{
	struct rte_malloc_socket_stats stats;
	uint64_t bytes = 0;
	unsigned int i;

	for (i = 0; i < rte_socket_count(); i++)
		if (rte_malloc_get_socket_stats(rte_socket_id_by_idx(i), &stats) == 0)
			bytes += stats.heap_freesz_bytes;
	return bytes;
}

struct rte_mempool *mpfwd_pool_create(const char *name, unsigned int mbufs, unsigned int cache,
				      uint16_t room, int stack, int socket)
{
	struct rte_mempool *pool = NULL;

	/* A DPDK built with few drivers may lack the stack. */
	if (stack && rte_mbuf_user_mempool_ops() == NULL)
		pool = rte_pktmbuf_pool_create_by_ops(name, mbufs, cache, 0, room, socket,
						      "stack");
	if (pool == NULL)
		pool = rte_pktmbuf_pool_create(name, mbufs, cache, 0, room, socket);
	return pool;
}

int mpfwd_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **pkts, unsigned int n)
{
	return rte_pktmbuf_alloc_bulk(pool, pkts, n);
}

struct rte_mbuf *const *mpfwd_next_free(struct rte_mempool *pool, unsigned int *n)
{
	struct rte_mempool_cache *cache = rte_mempool_default_cache(pool, rte_lcore_id());
	unsigned int len = cache == NULL ? 0 : cache->len;

	if (*n > len)
		*n = len;
	return cache == NULL ? NULL : (struct rte_mbuf *const *)&cache->objs[len];
}

int mpfwd_chain(struct rte_mbuf *head, struct rte_mbuf *tail)
{
	return rte_pktmbuf_chain(head, tail);
}

unsigned int mpfwd_ring_enqueue(struct rte_ring *ring, void *const *items, unsigned int n)
{
	return rte_ring_enqueue_burst(ring, items, n, NULL);
}

unsigned int mpfwd_ring_dequeue(struct rte_ring *ring, void **items, unsigned int n,
				unsigned int *left)
{
	return rte_ring_dequeue_burst(ring, items, n, left);
}

unsigned int mpfwd_ring_mask(const struct rte_ring *ring)
{
	return ring->mask;
}

int mpfwd_link_is_up(uint16_t port)
{
	struct rte_eth_link link;

	if (rte_eth_link_get_nowait(port, &link) < 0)
		return 1;
	return link.link_status == RTE_ETH_LINK_UP;
}

int mpfwd_port_stats(uint16_t port, struct mpfwd_port_stats *out)
{
	struct rte_eth_stats stats;
	int err = rte_eth_stats_get(port, &stats);

	if (err != 0)
		return err;
	out->ipackets = stats.ipackets;
	out->opackets = stats.opackets;
	out->imissed = stats.imissed;
	out->ierrors = stats.ierrors;
	out->oerrors = stats.oerrors;
	out->rx_nombuf = stats.rx_nombuf;
	return 0;
}

int mpfwd_read_clock(uint16_t port, uint64_t *ticks)
{
	return rte_eth_read_clock(port, ticks);
}

int mpfwd_timesync_clock(uint16_t port, uint64_t *ns)
{
	struct timespec time;
	int err = rte_eth_timesync_read_time(port, &time);

	if (err == 0)
		*ns = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
	return err;
}

struct rte_fib *mpfwd_fib_create(const char *name, uint32_t routes, uint32_t groups, int wide,
				 uint32_t default_hop, int socket)
{
	struct rte_fib_conf conf = {
		.type = RTE_FIB_DIR24_8,
		.default_nh = default_hop,
		.max_routes = (int)routes,
		.dir24_8 = {
			.nh_sz = wide ? RTE_FIB_DIR24_8_4B : RTE_FIB_DIR24_8_2B,
			.num_tbl8 = groups,
		},
	};

	return rte_fib_create(name, socket, &conf);
}

struct rte_fib6 *mpfwd_fib6_create(const char *name, uint32_t routes, uint32_t groups, int wide,
				   uint32_t default_hop, int socket)
{
	struct rte_fib6_conf conf = {
		.type = RTE_FIB6_TRIE,
		.default_nh = default_hop,
		.max_routes = (int)routes,
		.trie = { .nh_sz = wide ? RTE_FIB6_TRIE_4B : RTE_FIB6_TRIE_2B, .num_tbl8 = groups },
	};

	return rte_fib6_create(name, socket, &conf);
}

int mpfwd_fib6_add(struct rte_fib6 *fib, const uint8_t *prefix, uint8_t length, uint64_t hop)
{
	return rte_fib6_add(fib, (const void *)prefix, length, hop);
}

int mpfwd_fib6_look_up(struct rte_fib6 *fib, const uint8_t *addresses, uint64_t *hops, int n)
{
	return rte_fib6_lookup_bulk(fib, (void *)(uintptr_t)addresses, hops, n);
}
