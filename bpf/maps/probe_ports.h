/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef WARREN_MAPS_PROBE_PORTS_H
#define WARREN_MAPS_PROBE_PORTS_H

/* Ports that the kubelet probes, for pods flagged WARREN_POD_PROBE_PORTS. */
#define WARREN_PROBE_PORTS_MAX 16384

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WARREN_PROBE_PORTS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct warren_probe_port);
	__type(value, __u8);
} probe_ports SEC(".maps");

#endif
