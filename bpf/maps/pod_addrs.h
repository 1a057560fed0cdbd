/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef WARREN_MAPS_POD_ADDRS_H
#define WARREN_MAPS_POD_ADDRS_H

/* Every address of every enrolled pod: a pod may have several of a family. */
#define WARREN_POD_ADDRS_MAX 16384

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WARREN_POD_ADDRS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct warren_pod_addr);
	__type(value, __u8);
} pod_addrs SEC(".maps");

#endif
