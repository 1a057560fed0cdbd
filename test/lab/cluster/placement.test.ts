import { describe, expect, it } from "vitest";
import { PodAddresses, place } from "../../../src/lab/cluster/placement.ts";
import { podOf } from "../objects.ts";

const nodes = ["node-1", "node-2", "node-3"];

function on(node: string, name: string, labels: Record<string, string> = {}) {
  return podOf(name, { labels, spec: `nodeName: ${node}` });
}

const avoidClient = (strength: "required" | "preferred") => {
  const term = "{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: client}}}";
  return strength === "required"
    ? `affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [${term}]}}`
    : `affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: ${term}}]}}`;
};

describe("place", () => {
  it("deals pods out in turn", () => {
    const placed = [];
    for (const name of ["a", "b", "c", "d"]) {
      const placement = place(podOf(name), nodes, placed);
      if (placement.kind === "pending") throw new Error(placement.why);
      placed.push(on(placement.node, name));
    }
    expect(placed.map((pod) => pod.spec.nodeName)).toEqual(["node-1", "node-2", "node-3", "node-1"]);
  });

  it.each([
    ["nodeName", "nodeName: node-3", "node-3"],
    ["a hostname selector", "nodeSelector: {kubernetes.io/hostname: node-2}", "node-2"],
    ["an anti-affinity that it must keep", avoidClient("required"), "node-3"],
    ["an anti-affinity that it would like to keep", avoidClient("preferred"), "node-3"],
  ])("obeys %s", (_, spec, expected) => {
    const others = [
      on("node-1", "a", { app: "client" }),
      on("node-2", "b", { app: "client" }),
      on("node-3", "c"),
      on("node-3", "d"),
    ];
    expect(place(podOf("x", { spec }), nodes, others)).toEqual({ kind: "node", node: expected });
  });

  it("breaks a wish, not a rule, when every node has what the pod avoids", () => {
    const others = nodes.map((node) => on(node, `client-${node}`, { app: "client" }));
    expect(place(podOf("x", { spec: avoidClient("preferred") }), nodes, others)).toEqual({
      kind: "node",
      node: "node-1",
    });
    expect(place(podOf("x", { spec: avoidClient("required") }), nodes, others).kind).toBe("pending");
  });

  it("ignores pods of other namespaces in an anti-affinity", () => {
    const other = podOf("client", { namespace: "other", labels: { app: "client" }, spec: "nodeName: node-1" });
    expect(place(podOf("x", { spec: avoidClient("required") }), ["node-1"], [other]).kind).toBe("node");
  });

  it.each([
    ["nodeName: node-9", "node-9 is not a node of this lab: node-1, node-2, node-3"],
    ["nodeSelector: {kubernetes.io/hostname: node-9}", "no node is named node-9"],
    ["nodeSelector: {disk: ssd}", "no node has the label disk"],
  ])("leaves a pod with %s pending and says why", (spec, why) => {
    const placement = place(podOf("x", { spec }), nodes, []);
    expect(placement).toMatchObject({ kind: "pending", why: expect.stringContaining(why) });
  });
});

describe("PodAddresses", () => {
  it("gives both families the same number, from the node's own ranges", () => {
    expect(new PodAddresses(17).allocate()).toEqual({ host: 2, v4: "10.244.17.2", v6: "fd00:10:244:11::2" });
  });

  it("does not give a released number again while others are unused", () => {
    const addresses = new PodAddresses(1);
    const first = addresses.allocate();
    addresses.release(first?.host ?? 0);
    expect(addresses.allocate()?.host).toBe(3);
  });

  it("holds 253 pods, then none, and takes released numbers up again", () => {
    const addresses = new PodAddresses(1);
    const hosts = new Set(Array.from({ length: 253 }, () => addresses.allocate()?.host));
    expect([hosts.size, hosts.has(undefined), addresses.allocate()]).toEqual([253, false, undefined]);
    addresses.release(77);
    expect(addresses.allocate()?.host).toBe(77);
  });
});
