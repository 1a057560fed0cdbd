import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Agent, backends, families, Harness, soon } from "./support/harness.ts";
import type { Machine, Pod } from "./support/machine.ts";

/** Everything that capture may leave in a pod's netns, and where it pins and keeps pods. */
async function traces(machine: Machine, pod: Pod): Promise<Readonly<Record<string, string>>> {
  const look = (program: string, ...args: readonly string[]) => machine.output(pod, program, ...args);
  return {
    rules: (await look("ip", "rule")) + (await look("ip", "-6", "rule")),
    routes: [await look("ip", "route", "show", "table", "all"), await look("ip", "-6", "route", "show", "table", "all")]
      .flatMap((text) => text.split("\n"))
      .filter((line) => line.includes("table 15006"))
      .join("\n"),
    nft: await look("nft", "list", "ruleset"),
    sysctls: await look(
      "sysctl",
      "-n",
      "net.ipv4.tcp_fwmark_accept",
      "net.ipv4.fwmark_reflect",
      "net.ipv6.fwmark_reflect",
    ),
    listeners: await look("ss", "-Hltn"),
  };
}

describe.each(backends)("enrolment with %s", (backend) => {
  let node: Harness;
  let peer: Pod;

  beforeAll(async () => {
    node = await Harness.start(backend);
    peer = await node.machine.addPod("peer");
    for (const { any } of families) {
      await node.machine.start(peer, "serve", any, "80", "--name=server");
    }
  });
  afterAll(() => node?.stop());
  beforeEach(() => node.relay.flows.splice(0));

  function pinnedPods(): readonly string[] {
    return backend === "ebpf" ? readdirSync(join(node.machine.pinDirectory, "v1/pods")) : [];
  }

  async function mapEntries(map: string): Promise<number> {
    const path = join(node.machine.pinDirectory, "v1/maps", map);
    const dump = await node.machine.output(node.machine.host, "bpftool", "-j", "map", "dump", "pinned", path);
    return (JSON.parse(dump) as unknown[]).length;
  }

  it("leaves nothing behind when the pod is released", async () => {
    const pod = await node.machine.addPod("passing");
    const before = await traces(node.machine, pod);
    await node.agent.enrol(pod);
    const during = await traces(node.machine, pod);
    for (const trace of ["rules", "routes", "sysctls", "listeners"]) {
      expect(during[trace]).not.toBe(before[trace]);
    }
    await node.capture.release(pod.uid);
    await node.relay.stopListening();
    expect(await traces(node.machine, pod)).toEqual(before);
    expect(pinnedPods()).not.toContain(pod.uid);
    expect(await node.machine.run(pod, "connect", peer.ip4, "80")).toMatchObject({ ok: true });
    expect(node.relay.flows).toEqual([]);
    // Twice is as good as once.
    await node.capture.release(pod.uid);
  });

  it("leaves connections open that were open before, on both ends", async () => {
    const pod = await node.machine.addPod("longlived");
    await node.machine.start(pod, "serve", "0.0.0.0", "80", "--name=own");
    const out = await node.machine.start(pod, "hold", peer.ip4, "80");
    const into = await node.machine.start(peer, "hold", pod.ip4, "80");
    await node.agent.enrol(pod);
    for (const held of [out, into]) {
      expect(await held.ask("still here")).toEqual({ ok: true, echo: "still here" });
    }
    expect(node.relay.flows).toEqual([]);
    await node.machine.run(pod, "connect", peer.ip4, "80");
    expect(node.relay.flows).toHaveLength(1);
    await node.capture.release(pod.uid);
    for (const held of [out, into]) {
      expect(await held.ask("and still")).toEqual({ ok: true, echo: "and still" });
    }
  });

  it("may be repeated: new listeners take over from the old ones", async () => {
    const pod = await node.machine.addPod("twice");
    const first = await node.agent.enrol(pod);
    const second = await node.agent.enrol(pod);
    expect(second.netns.cookie).toBe(first.netns.cookie);
    expect(await node.machine.run(pod, "connect", peer.ip4, "80")).toMatchObject({ ok: true });
    expect(node.relay.flows).toHaveLength(1);
  });

  it("is proved by a probe through the real path, and stays provable", async () => {
    const pod = await node.enrolled("proved");
    await node.capture.probe(pod.uid, soon());
    await node.capture.probe(pod.uid, soon());
    const outbound = node.relay.flows.filter(({ role }) => role === "outbound");
    expect(outbound.map(({ destination }) => destination?.address)).toEqual([
      "192.0.2.1",
      "2001:db8::1",
      "192.0.2.1",
      "2001:db8::1",
    ]);
  });

  it("is disproved by a probe when nobody takes the connections", async () => {
    const pod = await node.machine.addPod("unserved");
    const request = { uid: pod.uid, netnsPath: pod.netnsPath, addresses: pod.addresses, failOpen: false };
    await node.capture.enrol(request, soon());
    const patience = new AbortController();
    const disproved = expect(node.capture.probe(pod.uid, patience.signal)).rejects.toMatchObject({
      code: "MESH_PROBE_FAILED",
      message: expect.stringMatching(/outbound IPv4 probe .* is the agent's engine running/),
    });
    // It has connected, and waits to be accepted.
    await expect.poll(() => node.machine.output(pod, "ss", "-Hltn")).toMatch(/^LISTEN\s+[1-9]/m);
    patience.abort();
    await disproved;
  });

  it("is disproved by a probe when the steering was removed behind the agent's back", async () => {
    const pod = await node.enrolled("sabotaged");
    if (backend === "ebpf") {
      const pins = join(node.machine.pinDirectory, "v1/pods", pod.uid);
      for (const pin of readdirSync(pins)) {
        await node.machine.output(node.machine.host, "rm", join(pins, pin));
      }
    } else {
      await node.machine.nft(pod.netns, "flush ruleset");
    }
    await expect(node.capture.probe(pod.uid, soon())).rejects.toMatchObject({ code: "MESH_PROBE_FAILED" });
    // Enrolling again mends it.
    await node.agent.enrol(pod);
    await node.capture.probe(pod.uid, soon());
  });

  it("refuses a netns that does not hold the pod's address", async () => {
    const pod = await node.machine.addPod("mixed-up");
    const request = { uid: pod.uid, addresses: pod.addresses, failOpen: false };
    for (const netnsPath of [peer.netnsPath, node.machine.host.netnsPath]) {
      await expect(node.capture.enrol({ ...request, netnsPath }, soon())).rejects.toMatchObject({
        code: "MESH_WRONG_NETNS",
        message: expect.stringContaining(pod.ip4),
      });
    }
    const before = await traces(node.machine, peer);
    expect(before["rules"]).not.toContain("0x111");
  });

  it("refuses the agent's own netns, whatever addresses it holds", async () => {
    const request = { uid: "own", netnsPath: "/proc/self/ns/net", addresses: ["127.0.0.1"], failOpen: false };
    await expect(node.capture.enrol(request, soon())).rejects.toMatchObject({
      code: "MESH_WRONG_NETNS",
      message: expect.stringContaining("node's own netns"),
    });
  });

  it("refuses to give one netns to two pods", async () => {
    const pod = await node.enrolled("first");
    const request = { uid: "second", netnsPath: pod.netnsPath, addresses: pod.addresses, failOpen: false };
    await expect(node.capture.enrol(request, soon())).rejects.toMatchObject({
      code: "MESH_WRONG_NETNS",
      message: expect.stringContaining(pod.uid),
    });
    expect(await node.machine.run(pod, "connect", peer.ip4, "80")).toMatchObject({ ok: true });
  });

  it("follows a pod whose sandbox was made anew", async () => {
    const old = await node.enrolled("reborn");
    const fresh = await node.machine.addPod("reborn-again");
    await node.agent.enrol({ ...fresh, uid: old.uid });
    await node.machine.run(fresh, "connect", peer.ip4, "80");
    expect(node.relay.flows.map(({ source }) => source)).toEqual([fresh.ip4]);
    expect((await traces(node.machine, old))["rules"]).not.toContain("0x111");
  });

  it("undoes itself when its signal is aborted", async () => {
    const pod = await node.machine.addPod("hesitant");
    const before = await traces(node.machine, pod);
    const request = { uid: pod.uid, netnsPath: pod.netnsPath, addresses: pod.addresses, failOpen: false };
    const controller = new AbortController();
    const enrolling = node.capture.enrol(request, controller.signal);
    controller.abort();
    await expect(enrolling).rejects.toMatchObject({ name: "AbortError" });
    expect(await traces(node.machine, pod)).toEqual(before);
  });

  it("takes new addresses of a pod", async () => {
    const pod = await node.machine.addPod("growing");
    await node.agent.enrol(pod);
    const second = pod.ip4.replace(/\.0\.(\d+)$/, ".9.$1");
    await node.machine.ip(pod.netns, [`address add ${second}/16 dev eth0`]);
    await node.capture.update(pod.uid, [...pod.addresses, second]);
    await node.machine.start(pod, "serve", second, "80", "--name=own");
    await node.machine.run(pod, "connect", second, "80", `--bind=${pod.ip4}`);
    expect(node.relay.flows).toEqual([]);
    await expect(node.capture.update("nobody", [])).rejects.toMatchObject({ code: "MESH_NOT_CAPTURED" });
  });

  it("is undone for pods that a successor finds no longer live", async () => {
    const gone = await node.machine.addPod("gone");
    const kept = await node.machine.addPod("kept");
    const undecided = await node.machine.addPod("undecided");
    const dead = await node.machine.addPod("dead");
    const before = await traces(node.machine, gone);
    for (const pod of [gone, kept, undecided, dead]) {
      await node.agent.enrol(pod);
    }
    await node.agent.crash();
    await node.machine.removePod(dead);
    node.agent = await Agent.start(node.machine, backend);
    const removed = await node.capture.collectGarbage(new Set([kept.uid, undecided.uid]));
    expect(removed).toContain(gone.uid);
    expect(removed).not.toContain(kept.uid);
    expect(await traces(node.machine, gone)).toEqual(before);
    expect(await node.machine.run(kept, "connect", peer.ip4, "80")).toMatchObject({ error: "ECONNREFUSED" });
    await node.agent.enrol(kept);
    expect(await node.machine.run(kept, "connect", peer.ip4, "80")).toMatchObject({ ok: true });
    // Live at the first call and not any more.
    expect(await node.capture.collectGarbage(new Set())).toEqual([undecided.uid]);
    expect(await traces(node.machine, undecided)).toEqual(before);
    if (backend === "ebpf") {
      expect(pinnedPods()).toEqual([kept.uid]);
      expect(await mapEntries("pods")).toBe(1);
      expect(await mapEntries("pod_addrs")).toBe(2);
    }
    await node.capture.release(kept.uid);
    expect(await node.capture.collectGarbage(new Set())).toEqual([]);
  });

  it("outlives the removal of what earlier agents left, whatever comes and goes meanwhile", async () => {
    const [stays, moves] = [await node.enrolled("stays"), await node.machine.addPod("moves")];
    const moved = new AbortController();
    const clean = async (): Promise<void> => {
      while (!moved.signal.aborted) {
        expect(await node.capture.collectGarbage(new Set())).toEqual([]);
        await nextTurn();
      }
    };
    const move = async (): Promise<void> => {
      try {
        for (let round = 0; round < 10; round++) {
          await node.agent.enrol(moves);
          await node.capture.release(moves.uid);
        }
        await node.agent.enrol(moves);
      } finally {
        moved.abort();
      }
    };
    await Promise.all([clean(), move()]);
    for (const pod of [stays, moves]) {
      await node.capture.probe(pod.uid, soon());
    }
  });

  it("exempts no cgroup that holds the pods", async () => {
    for (const cgroup of [node.machine.podsCgroup, join(node.machine.podsCgroup, "..")]) {
      await expect(node.capture.exempt(cgroup, "kubelet")).rejects.toMatchObject({ code: "MESH_CGROUP_UNUSABLE" });
    }
  });

  if (backend === "nftables") {
    return;
  }

  it("reports a netns that nobody enrolled and a connection that met no listener", async () => {
    const events: string[] = [];
    const stop = node.capture.onEvent(({ kind, cookie }) => events.push(`${kind} ${cookie}`));
    const unknown = await node.machine.addPod("unknown");
    await node.machine.run(unknown, "connect", peer.ip4, "80");
    const closed = await node.machine.addPod("closed");
    const captured = await node.agent.enrol(closed);
    await node.relay.stopListening();
    await node.machine.run(closed, "connect", peer.ip4, "80");
    await expect
      .poll(() => events.join(", "))
      .toMatch(new RegExp(`^unknown-netns-connected \\d+, no-listener ${captured.netns.cookie}$`));
    stop();
  });
});
