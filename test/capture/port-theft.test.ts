import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Agent, backends, families, Harness, ports } from "./support/harness.ts";
import type { Pod, ToolProcess } from "./support/machine.ts";

const meshPorts = Object.values(ports).map(String);
const count = 100;

describe.each(backends)("a pod that wants the ports of the mesh (%s)", (backend) => {
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

  async function thieves(pod: Pod): Promise<readonly ToolProcess[]> {
    const started: ToolProcess[] = [];
    for (const port of meshPorts) {
      for (const { any } of families) {
        started.push(await node.machine.start(pod, "serve", any, port, "--reuseport", "--name=thief"));
      }
    }
    return started;
  }

  /** Who answered `count` connections out of the pod and into it, by the first letter of its name. */
  async function takers(pod: Pod): Promise<readonly Readonly<Record<string, number>>[]> {
    const ends: Readonly<Record<string, number>>[] = [];
    for (const { of } of families) {
      const out = await node.machine.run(pod, "crr", of(peer), "80", `${count}`);
      const into = await node.machine.run(peer, "crr", of(pod), "80", `${count}`);
      ends.push(out.ends ?? {}, into.ends ?? {});
    }
    return ends;
  }

  async function victim(name: string): Promise<Pod> {
    const pod = await node.machine.addPod(name);
    for (const { any } of families) {
      await node.machine.start(pod, "serve", any, "80", "--name=server");
    }
    return pod;
  }

  const allServed = Array.from({ length: 4 }, () => ({ ok: count, "byte s": count }));

  it("cannot bind them while the agent listens", async () => {
    const pod = await victim("late");
    await node.agent.enrol(pod);
    for (const port of meshPorts) {
      const answer = await node.machine.run(pod, "serve", "0.0.0.0", port, "--reuseport");
      expect(answer).toMatchObject({ ok: false, step: "bind", error: "EADDRINUSE" });
    }
    expect(await takers(pod)).toEqual(allServed);
  });

  it("gets no connection by holding them before it is enrolled", async () => {
    const pod = await victim("early");
    await thieves(pod);
    await node.agent.enrol(pod);
    node.relay.flows.splice(0);
    expect(await takers(pod)).toEqual(allServed);
    expect(node.relay.flows).toHaveLength(4 * count);
  });

  it("gets no connection by taking them while the agent is away, once that is back", async () => {
    const pod = await victim("waiting");
    await node.agent.enrol(pod);
    await node.agent.crash();
    const started = await thieves(pod);
    if (backend === "ebpf") {
      const refused = Array.from({ length: 4 }, () => ({ ECONNREFUSED: count }));
      expect(await takers(pod)).toEqual(refused);
    }
    node.agent = await Agent.start(node.machine, backend);
    await node.agent.enrol(pod);
    expect(await takers(pod)).toEqual(allServed);
    for (const thief of started) {
      await thief.stop();
    }
  });
});
