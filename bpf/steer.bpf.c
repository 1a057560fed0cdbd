// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Outbound capture, attached to the cgroup of pods: a connect(2) from an enrolled netns goes to the
 * agent's listener in that same netns instead. What the application asked for is kept with its
 * socket (for getpeername) and, before the SYN leaves, in map `orig_dst` (for the agent).
 *
 * The return value of a connect program: 1 lets the call go on, 0 fails it with EPERM.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"
#include "address.h"
#include "maps/agent_cgroups.h"
#include "maps/config.h"
#include "maps/counters.h"
#include "maps/events.h"
#include "maps/listeners.h"
#include "maps/orig_dst.h"
#include "maps/pod_addrs.h"
#include "maps/pods.h"
#include "maps/sk_dst.h"

char LICENSE[] SEC("license") = "GPL";

#define SOCK_STREAM 1
#define PROTOCOL_MPTCP 262 /* IPPROTO_MPTCP, absent from older UAPI headers */

enum verdict { PASS, DENY, REDIRECT };

static __always_inline bool is_tcp(struct bpf_sock_addr *ctx)
{
	return ctx->type == SOCK_STREAM &&
	       (ctx->protocol == IPPROTO_TCP || ctx->protocol == PROTOCOL_MPTCP);
}

/*
 * Destinations that never leave the pod or cannot be a TCP peer. IPv6 link-local is among them: its
 * scope is lost with the sockaddr, so nobody could dial it later.
 */
static __always_inline bool not_routable(const struct warren_sk_dst *dst)
{
	if (dst->family == WARREN_FAMILY_V4)
		return dst->addr[0] == 0 || is_loopback4(dst->addr[0]) ||
		       (dst->addr[0] & bpf_htonl(0xe0000000)) == bpf_htonl(0xe0000000);
	return is_zero(dst->addr) || is_loopback6(dst->addr) ||
	       (dst->addr[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000) ||
	       (dst->addr[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline bool own_address(__u64 cookie, const struct warren_sk_dst *dst)
{
	struct warren_pod_addr key = {.netns_cookie = cookie, .family = dst->family};

	__builtin_memcpy(key.addr, dst->addr, sizeof(key.addr));
	return bpf_map_lookup_elem(&pod_addrs, &key) != NULL;
}

/* Only asked for pods that chose to fail open. */
static __always_inline bool agent_away(__u64 cookie, __u32 family)
{
	struct warren_listener key = {
		.netns_cookie = cookie,
		.role = WARREN_ROLE_OUTBOUND,
		.family = family,
	};
	__u32 zero = 0;
	struct warren_config *settings = bpf_map_lookup_elem(&config, &zero);
	struct bpf_sock *listener;

	if (!settings ||
	    bpf_ktime_get_ns() - settings->heartbeat_ns > settings->heartbeat_timeout_ns)
		return true;
	listener = bpf_map_lookup_elem(&listeners, &key);
	if (!listener)
		return true;
	bpf_sk_release(listener);
	return false;
}

/*
 * The pod's own address, not loopback, so that the application's local address stays the one it
 * would have had. A socket bound to an address keeps it on both ends.
 */
static __always_inline void listener_address(struct bpf_sock_addr *ctx,
					     const struct warren_pod *pod, __u32 family,
					     __u32 out[4])
{
	struct bpf_sock *sk = ctx->sk;

	out[0] = out[1] = out[2] = out[3] = 0;
	if (family == WARREN_FAMILY_V4) {
		if (sk)
			out[0] = sk->src_ip4;
		if (!out[0])
			out[0] = pod->addr4;
		if (!out[0])
			out[0] = bpf_htonl(0x7f000001);
		return;
	}
	if (sk) {
		out[0] = sk->src_ip6[0];
		out[1] = sk->src_ip6[1];
		out[2] = sk->src_ip6[2];
		out[3] = sk->src_ip6[3];
	}
	if (is_zero(out))
		__builtin_memcpy(out, pod->addr6, sizeof(pod->addr6));
	if (is_zero(out))
		out[3] = bpf_htonl(1);
}

static __always_inline enum verdict
steer(struct bpf_sock_addr *ctx, const struct warren_sk_dst *dst, __u32 target[4], __u16 *port)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct warren_pod *pod = bpf_map_lookup_elem(&pods, &cookie);
	struct warren_sk_dst *stored;
	__u64 cgroup;

	/* Whatever an earlier connect on this socket asked for is over. */
	if (ctx->sk)
		bpf_sk_storage_delete(&sk_dst, ctx->sk);

	if (!pod) {
		__u32 zero = 0;
		struct warren_config *settings = bpf_map_lookup_elem(&config, &zero);

		/* Not enrolled, so not ours to refuse: pods outside the mesh run here too. */
		count(warren_connect_unknown_netns);
		if (settings && settings->host_netns_cookie != cookie)
			report(WARREN_EVENT_UNKNOWN_NETNS, cookie, bpf_get_current_cgroup_id(),
			       bpf_get_current_pid_tgid() >> 32);
		return PASS;
	}
	if (not_routable(dst)) {
		count(warren_connect_not_routable);
		return PASS;
	}
	if (own_address(cookie, dst)) {
		count(warren_connect_own_address);
		return PASS;
	}
	cgroup = bpf_get_current_cgroup_id();
	if (bpf_map_lookup_elem(&agent_cgroups, &cgroup)) {
		count(warren_connect_by_agent);
		return PASS;
	}
	/* Fails open: the pod asked for it. All others are redirected to a port where nobody
	 * listens. */
	if ((pod->flags & WARREN_POD_FAIL_OPEN) && agent_away(cookie, dst->family)) {
		count(warren_connect_failed_open);
		return PASS;
	}
	stored = ctx->sk ? bpf_sk_storage_get(&sk_dst, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE)
			 : NULL;
	/* Fails closed: without a place for the destination the agent could only guess. */
	if (!stored) {
		count(warren_connect_no_storage);
		return DENY;
	}
	*stored = *dst;
	listener_address(ctx, pod, dst->family, target);
	*port = bpf_htons(pod->outbound_port);
	count(warren_connect_redirected);
	return REDIRECT;
}

/*
 * The key under which the agent will look for this connection: its peer as accept(2) shows it. All
 * loads are volatile and before the branch, lest the compiler fold them into one load from a
 * computed context offset, which the verifier refuses.
 */
static __always_inline void connection_key(struct bpf_sock_ops *ctx, __u16 family,
					   struct warren_orig_dst_key *key)
{
	volatile struct bpf_sock_ops *fields = ctx;
	__u32 v4 = fields->local_ip4;
	__u32 v6[4] = {fields->local_ip6[0], fields->local_ip6[1], fields->local_ip6[2],
		       fields->local_ip6[3]};

	__builtin_memset(key, 0, sizeof(*key));
	key->netns_cookie = bpf_get_netns_cookie(ctx);
	key->source_port_be = bpf_htons(ctx->local_port);
	key->family = family;
	if (family == WARREN_FAMILY_V4)
		key->source_addr[0] = v4;
	else
		__builtin_memcpy(key->source_addr, v6, sizeof(v6));
}

static __always_inline void connecting(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct warren_sk_dst *dst = sk ? bpf_sk_storage_get(&sk_dst, sk, NULL, 0) : NULL;
	struct warren_orig_dst_key key;
	struct warren_orig_dst value = {};

	if (!dst)
		return;
	connection_key(ctx, dst->family, &key);
	__builtin_memcpy(value.addr, dst->addr, sizeof(value.addr));
	value.port_be = dst->port_be;
	value.family = dst->family;
	value.created_ns = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&orig_dst, &key, &value, BPF_ANY)) {
		/* Fails closed: the agent closes connections without an entry. */
		count(warren_destination_not_stored);
		return;
	}
	count(warren_destination_stored);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/*
 * A connect that failed leaves no entry behind. One that succeeded does, until the agent has
 * accepted: a client may send and close before that.
 */
static __always_inline void closing(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct warren_sk_dst *dst = sk ? bpf_sk_storage_get(&sk_dst, sk, NULL, 0) : NULL;
	struct warren_orig_dst_key key;

	if (!dst)
		return;
	connection_key(ctx, dst->family, &key);
	bpf_map_delete_elem(&orig_dst, &key);
}

SEC("cgroup/connect4")
int mesh_connect4(struct bpf_sock_addr *ctx)
{
	struct warren_sk_dst dst = {
		.addr = {ctx->user_ip4}, .port_be = ctx->user_port, .family = WARREN_FAMILY_V4};
	__u32 target[4];
	__u16 port;

	if (!is_tcp(ctx))
		return 1;
	switch (steer(ctx, &dst, target, &port)) {
	case PASS:
		return 1;
	case DENY:
		return 0;
	case REDIRECT:
		ctx->user_ip4 = target[0];
		ctx->user_port = port;
	}
	return 1;
}

SEC("cgroup/connect6")
int mesh_connect6(struct bpf_sock_addr *ctx)
{
	struct warren_sk_dst dst = {.port_be = ctx->user_port};
	__u32 word0 = ctx->user_ip6[0], word1 = ctx->user_ip6[1];
	__u32 word2 = ctx->user_ip6[2], word3 = ctx->user_ip6[3];
	bool mapped = is_mapped(word0, word1, word2);
	__u32 target[4];
	__u16 port;

	if (!is_tcp(ctx))
		return 1;
	if (mapped) {
		dst.family = WARREN_FAMILY_V4;
		dst.addr[0] = word3;
	} else {
		dst.family = WARREN_FAMILY_V6;
		dst.addr[0] = word0;
		dst.addr[1] = word1;
		dst.addr[2] = word2;
		dst.addr[3] = word3;
	}
	switch (steer(ctx, &dst, target, &port)) {
	case PASS:
		return 1;
	case DENY:
		return 0;
	case REDIRECT:
		if (mapped) {
			ctx->user_ip6[3] = target[0];
		} else {
			ctx->user_ip6[0] = target[0];
			ctx->user_ip6[1] = target[1];
			ctx->user_ip6[2] = target[2];
			ctx->user_ip6[3] = target[3];
		}
		ctx->user_port = port;
	}
	return 1;
}

SEC("cgroup/getpeername4")
int mesh_getpeername4(struct bpf_sock_addr *ctx)
{
	struct warren_sk_dst *dst = ctx->sk ? bpf_sk_storage_get(&sk_dst, ctx->sk, NULL, 0) : NULL;

	if (dst && dst->family == WARREN_FAMILY_V4) {
		ctx->user_ip4 = dst->addr[0];
		ctx->user_port = dst->port_be;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int mesh_getpeername6(struct bpf_sock_addr *ctx)
{
	struct warren_sk_dst *dst = ctx->sk ? bpf_sk_storage_get(&sk_dst, ctx->sk, NULL, 0) : NULL;

	if (!dst)
		return 1;
	if (dst->family == WARREN_FAMILY_V4) {
		ctx->user_ip6[0] = 0;
		ctx->user_ip6[1] = 0;
		ctx->user_ip6[2] = bpf_htonl(0x0000ffff);
		ctx->user_ip6[3] = dst->addr[0];
	} else {
		ctx->user_ip6[0] = dst->addr[0];
		ctx->user_ip6[1] = dst->addr[1];
		ctx->user_ip6[2] = dst->addr[2];
		ctx->user_ip6[3] = dst->addr[3];
	}
	ctx->user_port = dst->port_be;
	return 1;
}

SEC("sockops")
int mesh_sockops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		connecting(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[0] == BPF_TCP_SYN_SENT && ctx->args[1] == BPF_TCP_CLOSE)
			closing(ctx);
		break;
	}
	return 1;
}
