/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef WARREN_ADDRESS_H
#define WARREN_ADDRESS_H

/* linux/socket.h has no AF_* for BPF. */
#define AF_INET 2
#define AF_INET6 10

static __always_inline bool is_loopback4(__u32 addr_be)
{
	return (addr_be & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

static __always_inline bool is_loopback6(const __u32 addr[4])
{
	return addr[0] == 0 && addr[1] == 0 && addr[2] == 0 && addr[3] == bpf_htonl(1);
}

/* ::ffff:a.b.c.d, the form in which an AF_INET6 socket speaks IPv4. */
static __always_inline bool is_mapped(__u32 word0, __u32 word1, __u32 word2)
{
	return word0 == 0 && word1 == 0 && word2 == bpf_htonl(0x0000ffff);
}

static __always_inline bool same_address(const __u32 a[4], const __u32 b[4])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

static __always_inline bool is_zero(const __u32 addr[4])
{
	return (addr[0] | addr[1] | addr[2] | addr[3]) == 0;
}

#endif
