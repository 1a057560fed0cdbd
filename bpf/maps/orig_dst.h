/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef WARREN_MAPS_ORIG_DST_H
#define WARREN_MAPS_ORIG_DST_H

/*
 * What the application asked for, by the connection as the agent accepts it; the agent takes
 * entries out. Sized for connections between SYN and accept, not for open ones: an evicted entry
 * closes its connection.
 */
#define WARREN_ORIG_DST_MAX 65536

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WARREN_ORIG_DST_MAX);
	__type(key, struct warren_orig_dst_key);
	__type(value, struct warren_orig_dst);
} orig_dst SEC(".maps");

#endif
