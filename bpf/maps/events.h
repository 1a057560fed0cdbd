/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef WARREN_MAPS_EVENTS_H
#define WARREN_MAPS_EVENTS_H

/* Hints for the agent. Losing one is harmless: nothing is decided by them alone. */
#define WARREN_EVENTS_BYTES (64 * 1024)
#define WARREN_EVENT_TIMES_MAX 1024
#define WARREN_EVENT_INTERVAL_NS 1000000000ULL

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, WARREN_EVENTS_BYTES);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WARREN_EVENT_TIMES_MAX);
	__type(key, struct warren_event_key);
	__type(value, __u64);
} event_times SEC(".maps");

/* Not inlined, so that BTF has the struct and the layout test can see it. */
static __noinline int fill(struct warren_event *event, __u64 netns_cookie, __u64 cgroup_id,
			   __u32 kind, __u32 pid)
{
	if (!event)
		return 0;
	event->netns_cookie = netns_cookie;
	event->cgroup_id = cgroup_id;
	event->kind = kind;
	event->pid = pid;
	return 0;
}

/* Reports at most one event of a kind per netns and second. */
static __always_inline void report(__u32 kind, __u64 netns_cookie, __u64 cgroup_id, __u32 pid)
{
	struct warren_event_key key = {.netns_cookie = netns_cookie, .kind = kind};
	__u64 now = bpf_ktime_get_ns();
	__u64 *last = bpf_map_lookup_elem(&event_times, &key);
	struct warren_event *event;

	if (last && now - *last < WARREN_EVENT_INTERVAL_NS)
		return;
	bpf_map_update_elem(&event_times, &key, &now, BPF_ANY);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return;
	fill(event, netns_cookie, cgroup_id, kind, pid);
	bpf_ringbuf_submit(event, 0);
}

#endif
