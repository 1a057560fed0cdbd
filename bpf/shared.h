/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Structures that BPF programs and native/ both read. Addresses are in network byte order; IPv4
 * stands in word 0, the rest is zero. Sizes are asserted here and compared with the objects' BTF by
 * a test.
 */
#ifndef WARREN_SHARED_H
#define WARREN_SHARED_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#ifdef __cplusplus
#define WARREN_STATIC_ASSERT static_assert
#else
#define WARREN_STATIC_ASSERT _Static_assert
#endif

#define WARREN_FAMILY_V4 4
#define WARREN_FAMILY_V6 6

/* SO_MARK of the agent's deliveries to an application of the pod: a routing hint, never authority.
 */
#define WARREN_MARK_DELIVER 0x111

/* Key of map `orig_dst`: the connecting socket as the accepting side sees its peer. */
struct warren_orig_dst_key {
	__u64 netns_cookie;
	__u32 source_addr[4];
	__u16 source_port_be;
	__u16 family; /* WARREN_FAMILY_* */
	__u32 pad;
};

/* What the application asked for. */
struct warren_orig_dst {
	__u32 addr[4];
	__u16 port_be;
	__u16 family; /* WARREN_FAMILY_* */
	__u32 pad;
	__u64 created_ns; /* bpf_ktime_get_ns */
};

/* Value of map `sk_dst`: the same, kept with the connecting socket for getpeername(2). */
struct warren_sk_dst {
	__u32 addr[4];
	__u16 port_be;
	__u16 family; /* WARREN_FAMILY_* */
};

/* The agent is away: let the application's traffic pass in clear. Without it: refuse. */
#define WARREN_POD_FAIL_OPEN (1U << 0)
/* The kubelet's exemption holds only for the ports in `probe_ports`. */
#define WARREN_POD_PROBE_PORTS (1U << 1)

/* Value of map `pods`; the key is the netns cookie. An address of zeros: none of that family. */
struct warren_pod {
	__u32 addr4;
	__u32 addr6[4];
	__u16 outbound_port; /* host order */
	__u16 pad;
	__u32 flags; /* WARREN_POD_* */
};

/* Key of map `pod_addrs`: every address of an enrolled pod. */
struct warren_pod_addr {
	__u64 netns_cookie;
	__u32 addr[4];
	__u32 family; /* WARREN_FAMILY_* */
	__u32 pad;
};

/* Key of map `probe_ports`. */
struct warren_probe_port {
	__u64 netns_cookie;
	__u16 port; /* host order */
	__u16 pad[3];
};

#define WARREN_ROLE_OUTBOUND 0
#define WARREN_ROLE_INBOUND 1
#define WARREN_ROLE_HBONE 2

/* Key of map `listeners`. */
struct warren_listener {
	__u64 netns_cookie;
	__u32 role;   /* WARREN_ROLE_* */
	__u32 family; /* WARREN_FAMILY_* */
};

/* Key of map `exempt_flows`: a connection from the client's side. */
struct warren_flow {
	__u32 source_addr[4];
	__u32 destination_addr[4];
	__u16 source_port_be;
	__u16 destination_port_be;
	__u32 family; /* WARREN_FAMILY_* */
};

#define WARREN_EXEMPT_KUBELET 1
#define WARREN_EXEMPT_AGENT 2

struct warren_exemption {
	__u32 kind; /* WARREN_EXEMPT_* */
	__u32 pad;
};

/* The one entry of map `config`. */
struct warren_config {
	__u64 host_netns_cookie;
	__u64 heartbeat_ns; /* CLOCK_MONOTONIC */
	__u64 heartbeat_timeout_ns;
};

#define WARREN_EVENT_UNKNOWN_NETNS 1
#define WARREN_EVENT_NO_LISTENER 2

/* Record of ring buffer `events`. */
struct warren_event {
	__u64 netns_cookie;
	__u64 cgroup_id;
	__u32 kind; /* WARREN_EVENT_* */
	__u32 pid;
};

/* Key of map `event_times`, which keeps a chatty pod from flooding the ring. */
struct warren_event_key {
	__u64 netns_cookie;
	__u32 kind;
	__u32 pad;
};

/*
 * Index into per-CPU array `counters`: every way out of a program counts. Numbers are never reused.
 */
#define WARREN_COUNTERS(X)                                                                         \
	X(0, connect_redirected)                                                                   \
	X(1, connect_unknown_netns)                                                                \
	X(2, connect_not_routable)                                                                 \
	X(3, connect_own_address)                                                                  \
	X(4, connect_by_agent)                                                                     \
	X(5, connect_failed_open)                                                                  \
	X(6, connect_no_storage)                                                                   \
	X(7, destination_stored)                                                                   \
	X(8, destination_not_stored)                                                               \
	X(9, lookup_outbound)                                                                      \
	X(10, lookup_outbound_stranger)                                                            \
	X(11, lookup_inbound)                                                                      \
	X(12, lookup_hbone)                                                                        \
	X(13, lookup_exempt)                                                                       \
	X(14, lookup_own_address)                                                                  \
	X(15, lookup_no_listener)                                                                  \
	X(16, lookup_failed_open)                                                                  \
	X(17, exempted_kubelet)                                                                    \
	X(18, exempted_agent)                                                                      \
	X(19, guard_dropped)

enum warren_counter {
#define WARREN_COUNTER_ENUM(number, name) warren_##name = number,
	WARREN_COUNTERS(WARREN_COUNTER_ENUM)
#undef WARREN_COUNTER_ENUM
		WARREN_COUNTER_SLOTS = 64, /* room to grow without a new map */
};

WARREN_STATIC_ASSERT(sizeof(struct warren_orig_dst_key) == 32, "warren_orig_dst_key");
WARREN_STATIC_ASSERT(sizeof(struct warren_orig_dst) == 32, "warren_orig_dst");
WARREN_STATIC_ASSERT(sizeof(struct warren_sk_dst) == 20, "warren_sk_dst");
WARREN_STATIC_ASSERT(sizeof(struct warren_pod) == 28, "warren_pod");
WARREN_STATIC_ASSERT(sizeof(struct warren_pod_addr) == 32, "warren_pod_addr");
WARREN_STATIC_ASSERT(sizeof(struct warren_probe_port) == 16, "warren_probe_port");
WARREN_STATIC_ASSERT(sizeof(struct warren_listener) == 16, "warren_listener");
WARREN_STATIC_ASSERT(sizeof(struct warren_flow) == 40, "warren_flow");
WARREN_STATIC_ASSERT(sizeof(struct warren_exemption) == 8, "warren_exemption");
WARREN_STATIC_ASSERT(sizeof(struct warren_config) == 24, "warren_config");
WARREN_STATIC_ASSERT(sizeof(struct warren_event) == 24, "warren_event");
WARREN_STATIC_ASSERT(sizeof(struct warren_event_key) == 16, "warren_event_key");

#endif
