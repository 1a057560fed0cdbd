// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* All maps in one object without programs: loaded first, pinned, and lent to the other objects. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"
#include "maps/agent_cgroups.h"
#include "maps/config.h"
#include "maps/counters.h"
#include "maps/events.h"
#include "maps/exempt_flows.h"
#include "maps/listeners.h"
#include "maps/orig_dst.h"
#include "maps/pod_addrs.h"
#include "maps/pods.h"
#include "maps/probe_ports.h"
#include "maps/sk_dst.h"

char LICENSE[] SEC("license") = "GPL";
