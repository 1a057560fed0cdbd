/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef WARREN_MAPS_LISTENERS_H
#define WARREN_MAPS_LISTENERS_H

/* The listening sockets of the agent. The kernel takes a socket out when it is closed. */
#define WARREN_LISTENERS_MAX 32768

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, WARREN_LISTENERS_MAX);
	__type(key, struct warren_listener);
	__type(value, __u64);
} listeners SEC(".maps");

#endif
