// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Exemption from inbound capture by exact 4-tuple, attached to the kubelet's cgroup and to the
 * agent's own: the tuple is known to every pod's sk_lookup before the SYN leaves, and forgotten
 * when the connection closes. Nothing else of those cgroups or of the node's addresses is exempt.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"
#include "address.h"
#include "maps/counters.h"
#include "maps/exempt_flows.h"
#include "maps/pods.h"

char LICENSE[] SEC("license") = "GPL";

/* WARREN_EXEMPT_*, by the cgroup that this copy is attached to. */
const volatile __u32 exempt_kind;

static __always_inline void flow_of(struct bpf_sock_ops *ctx, struct warren_flow *flow)
{
	bool v4 = ctx->family == AF_INET ||
		  is_mapped(ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2]);

	__builtin_memset(flow, 0, sizeof(*flow));
	flow->source_port_be = bpf_htons(ctx->local_port);
	/* remote_port holds the 16 bits in network order in its upper half: see bpf(2),
	 * bpf_sock_ops. */
	flow->destination_port_be = bpf_htons(bpf_ntohl(ctx->remote_port));
	if (v4) {
		flow->family = WARREN_FAMILY_V4;
		flow->source_addr[0] = ctx->local_ip4;
		flow->destination_addr[0] = ctx->remote_ip4;
		return;
	}
	flow->family = WARREN_FAMILY_V6;
	flow->source_addr[0] = ctx->local_ip6[0];
	flow->source_addr[1] = ctx->local_ip6[1];
	flow->source_addr[2] = ctx->local_ip6[2];
	flow->source_addr[3] = ctx->local_ip6[3];
	flow->destination_addr[0] = ctx->remote_ip6[0];
	flow->destination_addr[1] = ctx->remote_ip6[1];
	flow->destination_addr[2] = ctx->remote_ip6[2];
	flow->destination_addr[3] = ctx->remote_ip6[3];
}

/* The agent's tunnels leave pods from the same cgroup: only marked deliveries into enrolled pods
 * count. */
static __always_inline bool is_delivery(struct bpf_sock_ops *ctx)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct bpf_sock *sk = ctx->sk;

	return sk && sk->mark == WARREN_MARK_DELIVER && bpf_map_lookup_elem(&pods, &cookie);
}

static __always_inline void connecting(struct bpf_sock_ops *ctx)
{
	struct warren_exemption exemption = {.kind = exempt_kind};
	struct warren_flow flow;

	if (exempt_kind == WARREN_EXEMPT_AGENT && !is_delivery(ctx))
		return;
	flow_of(ctx, &flow);
	/* Fails closed: a flow that cannot be noted is captured like any other. */
	if (bpf_map_update_elem(&exempt_flows, &flow, &exemption, BPF_ANY))
		return;
	count(exempt_kind == WARREN_EXEMPT_AGENT ? warren_exempted_agent : warren_exempted_kubelet);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

SEC("sockops")
int mesh_exempt(struct bpf_sock_ops *ctx)
{
	struct warren_flow flow;

	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		connecting(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] != BPF_TCP_CLOSE)
			break;
		flow_of(ctx, &flow);
		bpf_map_delete_elem(&exempt_flows, &flow);
		break;
	}
	return 1;
}
