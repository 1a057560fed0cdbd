/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef WARREN_MAPS_CONFIG_H
#define WARREN_MAPS_CONFIG_H

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct warren_config);
} config SEC(".maps");

#endif
