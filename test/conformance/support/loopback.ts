/**
 * Pods on loopback: addresses of 127/8 that no other test process uses, listeners made by the capture addon in this process's
 * own netns, so that the suite needs neither capture nor namespaces.
 */
import { openSync } from "node:fs";
import { type CaptureAddon, loadCaptureAddon } from "../../../src/capture/addon.ts";
import { ipFamily } from "../../../src/lib/ip.ts";
import type { ListenerRole, PodListener } from "../../../src/model/sockets.ts";

export const ports: Readonly<Record<ListenerRole, number>> = { outbound: 15_001, inbound: 15_006, hbone: 15_008 };

export const addon: CaptureAddon = loadCaptureAddon();

/** This process's own network namespace. */
export const netns: number = openSync("/proc/self/ns/net", "r");

let lastHost = 0;

/**
 * 127.a.b.n with a and b from the process id: test files run side by side in processes of their own. In a process that asks for hundreds,
 * the later ones come around again; whoever took them is long done with them.
 */
export function freshAddress(): string {
  lastHost = lastHost === 254 ? 100 : lastHost + 1;
  return `127.${16 + ((process.pid >> 8) % 200)}.${process.pid & 0xff}.${lastHost}`;
}

/** IPv6 has one loopback address only, so that there the ports must differ between processes: five of them for each. */
const firstPort6 = 20_000 + (process.pid % 2_000) * 5;
export const ports6: Readonly<Record<ListenerRole, number>> = {
  outbound: firstPort6,
  inbound: firstPort6 + 1,
  hbone: firstPort6 + 2,
};

export async function listen(address: string, role: ListenerRole): Promise<PodListener> {
  const family = ipFamily(address);
  const fd = await addon.listen(netns, {
    family,
    port: (family === 4 ? ports : ports6)[role],
    address,
    backlog: 512,
    transparent: false,
    reusePort: false,
  });
  return { role, family, fd };
}
