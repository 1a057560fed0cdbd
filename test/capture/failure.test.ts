import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { AgentProcessInput } from "./support/agent-process.ts";
import { Agent, backends, captureOptions, families, Harness } from "./support/harness.ts";
import type { Pod } from "./support/machine.ts";

const probePort = 8090;
const agentProcess = fileURLToPath(new URL("support/agent-process.ts", import.meta.url));

describe.each(backends)("an agent that goes away (%s)", (backend) => {
  let node: Harness;
  let stranger: Pod;

  beforeEach(async () => {
    node = await Harness.start(backend);
    stranger = await node.machine.addPod("stranger");
    await serve(stranger);
  });
  afterEach(() => node?.stop());

  async function serve(pod: Pod): Promise<void> {
    for (const { any } of families) {
      await node.machine.start(pod, "serve", any, "80", "--name=server");
      await node.machine.start(pod, "serve", any, `${probePort}`, "--name=probed");
    }
  }

  /** What becomes of connections out of the pod, into it, and of the kubelet's probes; per family. */
  async function fate(pod: Pod): Promise<readonly string[]> {
    const fates: string[] = [];
    for (const { of } of families) {
      const out = await node.machine.run(pod, "connect", of(stranger), "80");
      const into = await node.machine.run(stranger, "connect", of(pod), "80");
      const probe = await node.machine.run(node.machine.kubelet, "connect", of(pod), `${probePort}`);
      for (const answer of [out, into, probe]) {
        fates.push(answer.ok ? "served" : (answer.error ?? "unknown"));
      }
    }
    return fates;
  }

  const refused = ["ECONNREFUSED", "ECONNREFUSED", "served", "ECONNREFUSED", "ECONNREFUSED", "served"];
  const served = Array.from({ length: 6 }, () => "served");

  it("leaves its pods refusing, with probes alive, until a successor adopts them", async () => {
    const pod = await node.enrolled("pod", { probePorts: [probePort] });
    await serve(pod);
    expect(await fate(pod)).toEqual(served);
    await node.agent.crash();
    expect(await fate(pod)).toEqual(refused);
    node.agent = await Agent.start(node.machine, backend);
    expect(await fate(pod)).toEqual(refused);
    await node.agent.enrol(pod, { probePorts: [probePort] });
    expect(await fate(pod)).toEqual(served);
    expect(node.relay.flows).toHaveLength(4);
  });

  it("changes nothing of that by being killed with SIGKILL", async () => {
    const pod = await node.machine.addPod("pod");
    await serve(pod);
    const input: AgentProcessInput = {
      options: captureOptions(node.machine, backend),
      pods: [{ uid: pod.uid, netnsPath: pod.netnsPath, addresses: pod.addresses }],
    };
    const child = spawn(process.execPath, [agentProcess, JSON.stringify(input)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    expect(await fate(pod)).toEqual(served);
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
    expect(await fate(pod)).toEqual(refused);
    await node.agent.enrol(pod, { probePorts: [probePort] });
    expect(await fate(pod)).toEqual(served);
  });

  it("lets pods that fail open through in clear, and captures them again when it is back", async () => {
    // Whom a stall held up for longer than a sign of life lasts lets some through, too, and carries the next ones.
    const fates: (readonly string[])[] = [];
    const carried = async () => {
      node.relay.flows.splice(0);
      fates.push(await fate(pod));
      return node.relay.flows.length;
    };
    const pod = await node.enrolled("pod", { failOpen: true, probePorts: [probePort] });
    await serve(pod);
    await expect.poll(carried).toBe(4);
    await node.agent.crash();
    // At once with eBPF, which sees the listeners go; nftables waits for the agent's last sign of life to expire.
    await expect.poll(() => fate(pod), { timeout: 30_000 }).toEqual(served);
    node.agent = await Agent.start(node.machine, backend);
    await node.agent.enrol(pod, { failOpen: true, probePorts: [probePort] });
    await expect.poll(carried).toBe(4);
    expect(fates).toEqual(fates.map(() => served));
  });

  it("hands over under load without one failed connection", async () => {
    const pod = await node.enrolled("pod");
    await serve(pod);
    // Connections without a pause until the hand-over is done, however long it takes.
    const done = new AbortController();
    const load = [
      [pod, stranger],
      [stranger, pod],
    ].map(async ([from, to]) => {
      for (;;) {
        const { ends } = await node.machine.run(from as Pod, "crr", (to as Pod).ip4, "80", "250");
        expect(ends).toEqual({ ok: 250, "byte s": 250 });
        if (done.signal.aborted) return;
      }
    });
    await expect.poll(() => node.relay.flows.length).toBeGreaterThan(200);
    const successor = await Agent.start(node.machine, backend);
    await successor.enrol(pod);
    await expect.poll(() => successor.relay.flows.length).toBeGreaterThan(50);
    // The predecessor accepts what had come to it before the switch, then it may close.
    await expect.poll(() => node.machine.output(pod, "ss", "-Hltn")).not.toMatch(/^LISTEN\s+[1-9]/m);
    await node.relay.stopListening();
    done.abort();
    await Promise.all(load);
    await node.agent.crash();
    node.agent = successor;
  });
});
