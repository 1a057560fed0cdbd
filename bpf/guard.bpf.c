// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Keeps enrolled pods from going round the connect hooks with raw sockets, attached to the cgroup
 * of pods: TCP that no TCP socket made does not leave. (Packet sockets never come here: CAP_NET_RAW
 * is a matter of pod security policy.)
 *
 * The one program that needs CO-RE: cgroup_skb programs can ask for a netns cookie only since
 * Linux 6.15.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"
#include "maps/counters.h"
#include "maps/pods.h"

char LICENSE[] SEC("license") = "GPL";

#define ALLOW 1
#define DROP 0

#define ETH_P_IP 0x0800
#define SOCK_RAW 3

/* Extension headers that may stand before TCP (RFC 8200, section 4.1). */
#define NEXT_HOP_BY_HOP 0
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_DESTINATION 60
#define MAX_EXTENSIONS 8

struct net {
	__u64 net_cookie;
} __attribute__((preserve_access_index));

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	possible_net_t skc_net;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
} __attribute__((preserve_access_index));

/*
 * The verifier forbids pointer arithmetic on a socket, so the start of it is copied and the field
 * taken from the copy; in every kernel since 4.1 skc_net stands well within these bytes.
 */
#define SOCK_HEAD_BYTES 128

static __always_inline __u64 cookie_of(struct bpf_sock *sk)
{
	__u32 offset = bpf_core_field_offset(struct sock, __sk_common.skc_net.net);
	__u8 head[SOCK_HEAD_BYTES] __attribute__((aligned(8)));
	struct net *net;

	if (offset > sizeof(head) - sizeof(net) || bpf_probe_read_kernel(head, sizeof(head), sk))
		return 0;
	__builtin_memcpy(&net, head + offset, sizeof(net));
	return BPF_CORE_READ(net, net_cookie);
}

/* Fails closed: a chain of headers too long or too short to follow counts as TCP. */
static __always_inline bool carries_tcp(struct __sk_buff *skb)
{
	struct {
		__u8 next;
		__u8 length;
	} extension;
	__u32 offset = sizeof(struct ipv6hdr);
	__u8 next;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, offsetof(struct iphdr, protocol), &next, 1))
			return true;
		return next == IPPROTO_TCP;
	}
	if (bpf_skb_load_bytes(skb, offsetof(struct ipv6hdr, nexthdr), &next, 1))
		return true;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		if (next == IPPROTO_TCP)
			return true;
		if (next != NEXT_HOP_BY_HOP && next != NEXT_ROUTING && next != NEXT_FRAGMENT &&
		    next != NEXT_DESTINATION)
			return false;
		if (bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension)))
			return true;
		offset += next == NEXT_FRAGMENT ? 8 : (extension.length + 1) * 8;
		next = extension.next;
	}
	return true;
}

SEC("cgroup_skb/egress")
int mesh_guard(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	__u64 cookie;

	/* Packets without a socket open no connection. */
	if (!sk)
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	/* The protocol of a raw socket proves nothing: with IP_HDRINCL it sends any. */
	if (!sk || sk->type != SOCK_RAW)
		return ALLOW;
	cookie = cookie_of(sk);
	if (!bpf_map_lookup_elem(&pods, &cookie))
		return ALLOW;
	if (!carries_tcp(skb))
		return ALLOW;
	count(warren_guard_dropped);
	return DROP;
}
