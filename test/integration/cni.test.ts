/**
 * The window between a pod's start and its capture. Pods here connect out with their first instruction; a witness on the node's bridge
 * counts what they send in clear. Without the CNI plugin there is such a window; with it there is none, and an agent that is away lets no
 * pod start uncaptured.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Segment, tcpSegments } from "../../src/lab/demo/packets.ts";
import { Lab } from "../../src/lab/lab.ts";
import { documents, echoPort, httpPort, namespaces, server } from "./support/cast.ts";

const node = "node-1";
const eventually = { timeout: 60_000, interval: 20 };
const earlyPods = 5;

const kubeSystem = "{apiVersion: v1, kind: Namespace, metadata: {name: kube-system}}";

/** Connects before it does anything else, and again until it was answered; then it idles. */
function early(name: string, namespace: string, address: string): string {
  const program = `until exec 3<>/dev/tcp/${address}/${echoPort} && echo first-words-of-${name} >&3 && read -t 5 -u 3 answer && [ -n "$answer" ]; do :; done; echo answered; sleep infinity`;
  return `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  nodeName: ${node}
  serviceAccountName: ${name}
  terminationGracePeriodSeconds: 0
  containers: [{name: early, command: [bash, -c, ${JSON.stringify(program)}]}]`;
}

function logOf(lab: Lab, pod: string): string {
  try {
    return readFileSync(lab.logPath(pod), "utf8");
  } catch {
    return "";
  }
}

const running = (lab: Lab, pod: string) =>
  lab.store.get("Pod", pod.split("/")[0], pod.split("/")[1] ?? "")?.status?.phase === "Running";

describe.each([
  ["with", true],
  ["without", false],
] as const)("a node %s the CNI plugin", (_, cni) => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.up(
      { nodes: 1, cni, manifests: [documents(namespaces, kubeSystem, server(node))] },
      AbortSignal.timeout(90_000),
    );
    await lab.waitReady();
    const conflist = join(lab.node(node).paths.cniConfDir, "00-warren.conflist");
    if (cni) expect(readFileSync(conflist, "utf8")).toContain("lab-bridge");
  });
  afterAll(() => lab?.down());

  const names = async () => {
    const dump = (await lab.adminJson(node, "/config_dump")) as { pods: { name: string; state: string }[] };
    return dump.pods.filter(({ state }) => state === "captured").map(({ name }) => name);
  };

  it("lets pods speak before they are captured, or not at all", async () => {
    const target = lab.pod("server").ips[0] ?? "";
    const witness = await lab.capturePackets({ where: "node", node, interface: "cni0" });
    const inside = Array.from({ length: earlyPods }, (__, index) => `early-${index}`);
    await lab.apply(
      documents(...inside.map((name) => early(name, "production", target)), early("stranger", "outside", target)),
    );
    for (const pod of [...inside.map((name) => `production/${name}`), "outside/stranger"]) {
      await expect.poll(() => logOf(lab, pod), eventually).toContain("answered");
    }
    await expect.poll(names, eventually).toEqual(expect.arrayContaining(inside));
    const packets = await witness.stop();
    expect(packets.complete).toBe(true);
    const clear = tcpSegments(packets.bytes).filter(({ destinationPort }) => destinationPort === echoPort);
    const from = (segments: readonly Segment[], pod: string) =>
      segments.filter(({ source }) => lab.pod(pod).ips.includes(source)).length;
    const leaks = inside.map((name) => from(clear, name));
    // What is in clear the witness does see.
    expect(from(clear, "outside/stranger")).toBeGreaterThan(0);
    console.log(`packets in clear of ${earlyPods} pods before their capture, ${_} the plugin: ${leaks.join(", ")}`);
    if (cni) expect(leaks).toEqual(inside.map(() => 0));
    for (const name of inside) await lab.delete("Pod", "production", name);
    await expect.poll(names, eventually).toEqual(["server"]);
  });

  if (!cni) return;

  it("starts nothing uncaptured while the agent is away, but the cluster's own pods, and all of it when it is back", async () => {
    const target = lab.pod("server").ips[0] ?? "";
    await lab.killAgent(node);
    const witness = await lab.capturePackets({ where: "node", node, interface: "cni0" });
    await lab.apply(documents(early("late", "production", target), early("system", "kube-system", target)));
    await expect.poll(() => running(lab, "kube-system/system"), eventually).toBe(true);
    await expect
      .poll(() => readFileSync(join(lab.folder, "logs", "lab.log"), "utf8"), eventually)
      .toMatch(
        /pod production\/late: plugin type="warren-cni" failed \(add\): warren-cni: the mesh agent of this node does not answer, so pod production\/late is not started outside of the mesh; cannot reach the agent/,
      );
    expect(running(lab, "production/late")).toBe(false);
    await lab.startAgent(node);
    await expect.poll(() => logOf(lab, "production/late"), eventually).toContain("answered");
    const packets = await witness.stop();
    const clear = tcpSegments(packets.bytes).filter(({ destinationPort }) => destinationPort === echoPort);
    expect(clear.filter(({ source }) => lab.pod("late").ips.includes(source))).toEqual([]);
    expect(await names()).toContain("late");
  });

  it("captures a pod that has the name of one that went", async () => {
    const target = lab.pod("server").ips[0] ?? "";
    const name = "again";
    for (let round = 0; round < 2; round++) {
      await lab.apply(early(name, "production", target));
      await expect.poll(() => logOf(lab, name).match(/answered/g)?.length, eventually).toBe(round + 1);
      await expect.poll(names, eventually).toContain(name);
      expect((await lab.exec(name, ["curl", "-sS", "--max-time", "15", `http://${target}:${httpPort}/`])).code).toBe(0);
      await lab.delete("Pod", "production", name);
      await lab.waitFor(`${name} to go`, () => lab.store.get("Pod", "production", name) === undefined);
    }
  });
});
