/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#ifndef WARREN_MAPS_SK_DST_H
#define WARREN_MAPS_SK_DST_H

/* What the application asked for, kept with the socket that asked. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct warren_sk_dst);
} sk_dst SEC(".maps");

#endif
