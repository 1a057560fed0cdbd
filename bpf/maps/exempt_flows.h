/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef WARREN_MAPS_EXEMPT_FLOWS_H
#define WARREN_MAPS_EXEMPT_FLOWS_H

/* Connections that no pod's sk_lookup steers: probes of the kubelet, deliveries of the agent. */
#define WARREN_EXEMPT_FLOWS_MAX 65536

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WARREN_EXEMPT_FLOWS_MAX);
	__type(key, struct warren_flow);
	__type(value, struct warren_exemption);
} exempt_flows SEC(".maps");

#endif
