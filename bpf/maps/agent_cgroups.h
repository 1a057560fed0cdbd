/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef WARREN_MAPS_AGENT_CGROUPS_H
#define WARREN_MAPS_AGENT_CGROUPS_H

/*
 * Cgroups of agents, whose connects are never redirected: the agent itself may run below the cgroup
 * of pods. An LRU, so that cgroups of agents long gone make room by themselves.
 */
#define WARREN_AGENT_CGROUPS_MAX 64

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WARREN_AGENT_CGROUPS_MAX);
	__type(key, __u64);
	__type(value, __u8);
} agent_cgroups SEC(".maps");

#endif
