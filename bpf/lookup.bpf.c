// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Inbound capture: runs in a pod's netns for each SYN (and for nothing of established connections)
 * and picks the agent's listener. One copy per pod, because an sk_lookup program cannot ask for its
 * netns cookie. Source and destination of the packet stay as they are.
 *
 * BPF_SK_LOOKUP_F_NO_REUSEPORT always: otherwise the kernel would share our connections with any
 * socket that the pod has bound to the same port with SO_REUSEPORT.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"
#include "address.h"
#include "maps/counters.h"
#include "maps/events.h"
#include "maps/exempt_flows.h"
#include "maps/listeners.h"
#include "maps/pod_addrs.h"
#include "maps/pods.h"
#include "maps/probe_ports.h"

char LICENSE[] SEC("license") = "GPL";

const volatile __u64 netns_cookie;
const volatile __u16 outbound_port; /* host order, as the next */
const volatile __u16 hbone_port;

static __always_inline void flow_of(struct bpf_sk_lookup *ctx, struct warren_flow *flow)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->source_port_be = ctx->remote_port;
	flow->destination_port_be = bpf_htons(ctx->local_port);
	if (ctx->family == AF_INET) {
		flow->family = WARREN_FAMILY_V4;
		flow->source_addr[0] = ctx->remote_ip4;
		flow->destination_addr[0] = ctx->local_ip4;
		return;
	}
	flow->family = WARREN_FAMILY_V6;
	flow->source_addr[0] = ctx->remote_ip6[0];
	flow->source_addr[1] = ctx->remote_ip6[1];
	flow->source_addr[2] = ctx->remote_ip6[2];
	flow->source_addr[3] = ctx->remote_ip6[3];
	flow->destination_addr[0] = ctx->local_ip6[0];
	flow->destination_addr[1] = ctx->local_ip6[1];
	flow->destination_addr[2] = ctx->local_ip6[2];
	flow->destination_addr[3] = ctx->local_ip6[3];
}

/*
 * The pod talks to itself. `ingress_ifindex` cannot tell: local traffic to an interface's address
 * reports that interface, not lo.
 */
static __always_inline bool from_itself(const struct warren_flow *flow)
{
	struct warren_pod_addr key = {.netns_cookie = netns_cookie, .family = flow->family};

	if (same_address(flow->source_addr, flow->destination_addr))
		return true;
	if (flow->family == WARREN_FAMILY_V4 && is_loopback4(flow->destination_addr[0]))
		return true;
	__builtin_memcpy(key.addr, flow->source_addr, sizeof(key.addr));
	return bpf_map_lookup_elem(&pod_addrs, &key) != NULL;
}

static __always_inline bool is_exempt(const struct warren_flow *flow, const struct warren_pod *pod)
{
	struct warren_exemption *exemption = bpf_map_lookup_elem(&exempt_flows, flow);
	struct warren_probe_port key = {
		.netns_cookie = netns_cookie,
		.port = bpf_ntohs(flow->destination_port_be),
	};

	if (!exemption)
		return false;
	if (exemption->kind != WARREN_EXEMPT_KUBELET || !pod ||
	    !(pod->flags & WARREN_POD_PROBE_PORTS))
		return true;
	return bpf_map_lookup_elem(&probe_ports, &key) != NULL;
}

static __always_inline int assign(struct bpf_sk_lookup *ctx, __u32 role, __u32 family,
				  const struct warren_pod *pod, enum warren_counter counter)
{
	struct warren_listener key = {
		.netns_cookie = netns_cookie,
		.role = role,
		.family = family,
	};
	struct bpf_sock *listener = bpf_map_lookup_elem(&listeners, &key);
	long failed = -1;

	if (listener) {
		failed = bpf_sk_assign(ctx, listener,
				       BPF_SK_LOOKUP_F_REPLACE | BPF_SK_LOOKUP_F_NO_REUSEPORT);
		bpf_sk_release(listener);
	}
	if (!failed) {
		count(counter);
		return SK_PASS;
	}
	/* Fails open: the pod asked for it, and its application's own listener is next in line. */
	if (pod && (pod->flags & WARREN_POD_FAIL_OPEN) && role == WARREN_ROLE_INBOUND) {
		count(warren_lookup_failed_open);
		return SK_PASS;
	}
	/* Fails closed: the client is refused at once. */
	count(warren_lookup_no_listener);
	report(WARREN_EVENT_NO_LISTENER, netns_cookie, 0, 0);
	return SK_DROP;
}

SEC("sk_lookup")
int mesh_lookup(struct bpf_sk_lookup *ctx)
{
	__u64 cookie = netns_cookie;
	struct warren_pod *pod;
	struct warren_flow flow;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	flow_of(ctx, &flow);
	pod = bpf_map_lookup_elem(&pods, &cookie);
	if (ctx->local_port == outbound_port) {
		if (from_itself(&flow))
			return assign(ctx, WARREN_ROLE_OUTBOUND, flow.family, pod,
				      warren_lookup_outbound);
		/* Fails closed: nobody but the pod may speak as the pod. */
		count(warren_lookup_outbound_stranger);
		return SK_DROP;
	}
	if (ctx->local_port == hbone_port)
		return assign(ctx, WARREN_ROLE_HBONE, flow.family, pod, warren_lookup_hbone);
	if (is_exempt(&flow, pod)) {
		count(warren_lookup_exempt);
		return SK_PASS;
	}
	if (from_itself(&flow)) {
		count(warren_lookup_own_address);
		return SK_PASS;
	}
	return assign(ctx, WARREN_ROLE_INBOUND, flow.family, pod, warren_lookup_inbound);
}
