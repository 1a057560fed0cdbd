/** A namespace is labelled: its running pods are in the mesh, not restarted, their connections untouched. The label goes: nothing is left. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { client, documents, HeldConnection, server } from "./support/cast.ts";

const plain = "{apiVersion: v1, kind: Namespace, metadata: {name: production}}";
const eventually = { timeout: 60_000, interval: 10 };
const node = "node-1";

interface PodRow {
  readonly uid: string;
  readonly name: string;
  readonly state: string;
}

describe.each(["ebpf", "nftables"] as const)("a namespace that is labelled and unlabelled (%s)", (backend) => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.up(
      { nodes: 1, backend, manifests: [documents(plain, server(node), client("one", node))] },
      AbortSignal.timeout(90_000),
    );
    await lab.waitReady();
  });
  afterAll(() => lab?.down());

  const rows = async () => ((await lab.adminJson(node, "/config_dump")) as { pods: PodRow[] }).pods;
  const captured = async () =>
    (await rows())
      .filter(({ state }) => state === "captured")
      .map(({ name }) => name)
      .sort();
  const securityOf = async () =>
    (await lab.exec("one", ["curl", "-sS", "--max-time", "5", "http://server:8080/"])).code;
  const pids = () => lab.pods().map(({ name }) => [name, lab.placeInPod(name).place.holder.pid]);

  /** Everything that capture puts into a pod's netns, as the kernel shows it, and its pins. */
  async function traces(): Promise<string> {
    const said: string[] = [];
    for (const pod of ["server", "one"]) {
      for (const argv of [
        ["ip", "-4", "rule"],
        ["ip", "-6", "rule"],
        ["ip", "route", "show", "table", "all", "type", "local", "default"],
        ["ss", "-Hltn", "sport = :15001 or sport = :15006 or sport = :15008"],
        ["nft", "list", "tables"],
        ["sysctl", "net.ipv4.tcp_fwmark_accept", "net.ipv4.fwmark_reflect", "net.ipv6.fwmark_reflect"],
      ]) {
        const { stdout, stderr } = await lab.exec(pod, argv);
        said.push(stdout, stderr);
      }
    }
    const pins = await lab.execOnNode(node, ["find", join(lab.node(node).bpffs, "warren"), "-path", "*/pods/*"]);
    return [...said, pins.stdout].join("\n");
  }

  it("captures its pods as they run, and leaves nothing behind", async () => {
    const before = { traces: await traces(), pids: pids() };
    const held = await HeldConnection.open(lab, "one", "server");
    const took: number[] = [];
    for (let round = 0; round < 3; round++) {
      const started = performance.now();
      await lab.labelNamespace("production", { "warren.dev/mode": "ambient" });
      await expect.poll(captured, eventually).toEqual(["one", "server"]);
      took.push(performance.now() - started);
      await expect.poll(securityOf, eventually).toBe(0);
      expect((await lab.adminJson(node, "/tunnels")) as unknown[]).not.toEqual([]);
      await lab.labelNamespace("production", { "warren.dev/mode": null });
      await expect.poll(rows, eventually).toEqual([]);
      await expect.poll(traces, eventually).toBe(before.traces);
      await expect.poll(securityOf, eventually).toBe(0);
    }
    console.log(`label to captured, two pods, ${backend}: ${took.map((ms) => `${Math.round(ms)} ms`).join(", ")}`);
    expect(held.isOpen).toBe(true);
    await held.echo();
    expect(pids()).toEqual(before.pids);
  });

  it("takes the pod's own label over the namespace's", async () => {
    await lab.labelNamespace("production", { "warren.dev/mode": "ambient" });
    await expect.poll(captured, eventually).toEqual(["one", "server"]);
    await lab.label("Pod", "production", "one", { "warren.dev/mode": "none" });
    await expect.poll(async () => (await rows()).map(({ name }) => name), eventually).toEqual(["server"]);
    await lab.label("Pod", "production", "one", { "warren.dev/mode": null });
    await expect.poll(captured, eventually).toEqual(["one", "server"]);
    const log = readFileSync(join(lab.folder, "logs", "lab.log"), "utf8");
    expect(log).not.toMatch(/ended with code/);
  });
});
