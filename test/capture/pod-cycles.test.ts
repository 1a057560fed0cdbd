import { execFile } from "node:child_process";
import { closeSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Agent, Harness, soon } from "./support/harness.ts";

const run = promisify(execFile);
const batch = 25;
/** Of each batch, pods that the agent does not release because it is killed before; then their netns goes too. */
const lost = 5;
const rounds = [
  { backend: "ebpf", cycles: 1000 },
  { backend: "nftables", cycles: 500 },
] as const;

describe.each(rounds)("$cycles pods that come and go ($backend)", ({ backend, cycles }) => {
  let node: Harness;

  beforeAll(async () => {
    node = await Harness.start(backend);
  });
  afterAll(() => node?.stop());

  function openDescriptors(): number {
    return readdirSync("/proc/self/fd").length;
  }

  async function entries(map: string): Promise<number> {
    const path = join(node.machine.pinDirectory, "v1/maps", map);
    return (JSON.parse((await run("bpftool", ["-j", "map", "dump", "pinned", path])).stdout) as unknown[]).length;
  }

  /** Programs in the kernel, attached or not, that use this agent's map of listeners. */
  async function programs(): Promise<number> {
    if (backend === "nftables") {
      return 0;
    }
    const path = join(node.machine.pinDirectory, "v1/maps/listeners");
    const { id } = JSON.parse((await run("bpftool", ["-j", "map", "show", "pinned", path])).stdout) as { id: number };
    const { stdout } = await run("bpftool", ["-j", "prog", "list"]);
    const all = JSON.parse(stdout) as { readonly map_ids?: readonly number[] }[];
    return all.filter(({ map_ids: ids }) => ids?.includes(id)).length;
  }

  async function cycle(first: number): Promise<void> {
    const names = Array.from({ length: batch }, (_, index) => `${node.machine.id}-c${first + index}`);
    const address = "10.99.0.1";
    await node.machine.batch(names.map((name) => `netns add ${name}`));
    for (const name of names) {
      await node.machine.ip(name, [`address add ${address}/32 dev lo`, "link set lo up"]);
    }
    for (const [index, name] of names.entries()) {
      const request = { uid: name, netnsPath: `/run/netns/${name}`, addresses: [address], failOpen: false };
      const { listeners } = await node.capture.enrol(request, soon());
      for (const { fd } of listeners) {
        closeSync(fd);
      }
      if (index >= lost) {
        await node.capture.release(name);
      }
    }
    await node.agent.crash();
    await node.machine.batch(names.map((name) => `netns delete ${name}`));
    node.agent = await Agent.start(node.machine, backend);
    const left = await node.capture.collectGarbage(new Set());
    // With its netns an nftables pod's rules went too.
    expect(left.toSorted()).toEqual(backend === "ebpf" ? names.slice(0, lost).toSorted() : []);
  }

  it("leave no descriptor, program, pin or map entry", { timeout: 300_000 }, async () => {
    const fresh = await programs();
    await cycle(0);
    // A program ends a moment after its last pin: when no processor can be in it any more.
    await expect.poll(programs).toBe(fresh);
    const before = { descriptors: openDescriptors(), programs: fresh };
    for (let first = batch; first < cycles; first += batch) {
      await cycle(first);
    }
    await expect.poll(async () => ({ descriptors: openDescriptors(), programs: await programs() })).toEqual(before);
    if (backend === "ebpf") {
      expect(readdirSync(join(node.machine.pinDirectory, "v1/pods"))).toEqual([]);
      expect(await Promise.all([entries("pods"), entries("pod_addrs"), entries("probe_ports")])).toEqual([0, 0, 0]);
    }
  });
});
