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

WARREN_STATIC_ASSERT(sizeof(struct warren_orig_dst_key) == 32, "warren_orig_dst_key");
WARREN_STATIC_ASSERT(sizeof(struct warren_orig_dst) == 32, "warren_orig_dst");

#endif
