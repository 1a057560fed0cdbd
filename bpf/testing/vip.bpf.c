// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Stand-in for a CNI's socket load balancer in tests: attached above the cgroup of pods, it turns a
 * service's address into a backend's in connect(2), as Cilium's kube-proxy replacement does.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define SERVICE bpf_htonl(0x0a600001) /* 10.96.0.1 */
#define BACKEND bpf_htonl(0x0a600002) /* 10.96.0.2 */

SEC("cgroup/connect4")
int vip_connect4(struct bpf_sock_addr *ctx)
{
	if (ctx->user_ip4 == SERVICE)
		ctx->user_ip4 = BACKEND;
	return 1;
}
