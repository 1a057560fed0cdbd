/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef WARREN_MAPS_PODS_H
#define WARREN_MAPS_PODS_H

/* Enrolled pods, by netns cookie. */
#define WARREN_PODS_MAX 4096

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WARREN_PODS_MAX);
	__type(key, __u64);
	__type(value, struct warren_pod);
} pods SEC(".maps");

#endif
