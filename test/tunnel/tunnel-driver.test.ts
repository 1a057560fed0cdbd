import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Decision, PodHandle } from "../../src/tunnel/engine.ts";
import { authorizationPolicy, localPod, peerAuthentication, service, settings, workload } from "../mesh/build.ts";
import { api, Bench, web } from "./driver-bench.ts";

function targetsOf(decision: Decision | undefined): string {
  if (decision?.kind !== "carry") return decision?.kind ?? "nothing";
  return decision.targets.map(({ group, authority }) => `${group} ${authority}`).join(", ");
}

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(async () => {
  await bench.driver.stop();
  expect(bench.errors).toEqual([]);
  vi.useRealTimers();
});

describe("decisions", () => {
  beforeEach(() => {
    bench.index.apply({
      workloads: [web, api],
      services: [service("api", ["10.96.0.1"], { 80: [{ workload: api.uid, address: "10.0.1.1", targetPort: 8080 }] })],
    });
  });

  test("an outbound flow is carried in the pod's group to the peer, remembered for its destination in this epoch", () => {
    const pod = bench.capture(localPod(web));
    const { decision } = bench.out(pod, "10.96.0.1", 80);
    const [[group, spec] = []] = [...bench.engine.groups];
    expect(spec).toEqual({ pod, peer: { address: "10.0.1.1", port: 15008 }, expectedIdentities: [api.identity] });
    expect(decision).toEqual({
      kind: "carry",
      targets: [{ group, authority: "10.0.1.1:8080", weight: 1 }],
      label: 1,
      baggage:
        "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.deployment.name=web,service.name=web,service.version=latest",
      forwardedHost: "api.shop.svc.cluster.local",
      remember: { fields: ["destination"], epoch: bench.engine.epochs.at(-1)?.epoch },
    });
  });

  test("an inbound flow is delivered from the pod itself with the client's address", () => {
    const pod = bench.capture(localPod(api));
    expect(bench.tunnelled(pod, 8080).decision).toMatchObject({
      kind: "dial",
      targets: [{ destination: { address: "10.0.1.1", port: 8080 }, weight: 1 }],
      from: pod,
      purpose: "deliver",
      sourceAddress: "10.0.0.1",
      remember: { fields: ["source-address", "peer-identity", "authority"] },
    });
  });

  test("a flow of a handle that the driver does not know is refused", () => {
    expect(bench.out(12345 as PodHandle, "10.96.0.1", 80).decision).toMatchObject({
      kind: "refuse",
      reason: "pod-removed",
    });
  });

  test("the closing record is told with the label of its decision, also after the mesh moved on", () => {
    const pod = bench.capture(localPod(web));
    const { flow } = bench.out(pod, "10.96.0.1", 80);
    bench.index.apply({ removedWorkloads: [api.uid] });
    bench.engine.end(flow, "ok", { address: "10.0.1.1", port: 15008 });
    expect(bench.closed).toMatchObject([
      {
        reason: "ok",
        label: { source: web, destination: api, service: { name: "api" }, policy: "" },
        pod: { name: "web" },
      },
    ]);
  });
});

describe("a change of the mesh", () => {
  test("outdates all remembered decisions before it returns", () => {
    const before = bench.engine.epochs.length;
    bench.index.apply({ workloads: [web] });
    expect(bench.engine.epochs.length).toBe(before + 1);
    const [last, previous] = [bench.engine.epochs.at(-1), bench.engine.epochs.at(-2)];
    expect(last?.epoch).toBeGreaterThan(previous?.epoch ?? Number.POSITIVE_INFINITY);
  });

  test("keeps the pools of peers that stay and lets go of those that changed", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(web));
    const first = targetsOf(bench.out(pod, "10.0.1.1", 80).decision);
    bench.index.apply({ workloads: [workload("other", "10.0.2.2")] });
    expect(targetsOf(bench.out(pod, "10.0.1.1", 80).decision)).toBe(first);
    bench.index.apply({ workloads: [workload("api", "10.0.1.1", { serviceAccount: "other" })] });
    expect(bench.engine.groups.size).toBe(0);
    expect(targetsOf(bench.out(pod, "10.0.1.1", 80).decision)).not.toBe(first);
  });

  test("to STRICT closes plaintext flows and leaves tunnelled ones alone", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(api));
    const plain = bench.plain(pod);
    const tunnelled = bench.tunnelled(pod);
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "STRICT" })] });
    expect(bench.engine.closed).toEqual([{ flow: plain.flow, reason: "policy-changed" }]);
    expect(bench.engine.rows.has(tunnelled.flow)).toBe(true);
    expect(bench.closed).toMatchObject([{ reason: "policy-changed", label: { policy: "shop/default" } }]);
    expect(bench.driver.stats()).toMatchObject({ rejudgedTotal: 2, policyClosedTotal: 1 });
  });

  test("to DISABLE closes tunnelled flows and leaves plaintext ones alone", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(api));
    bench.plain(pod);
    const { flow } = bench.tunnelled(pod);
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "DISABLE" })] });
    expect(bench.engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
  });

  test("that attaches a selector policy by a pod's new label closes what it forbids", () => {
    const denied = authorizationPolicy("DENY", [{ to: [{ ports: ["80"] }] }], {
      matchLabels: new Map([["tier", "gold"]]),
    });
    bench.index.apply({ workloads: [web, api], authorizationPolicies: [denied] });
    const pod = bench.capture(localPod(api));
    const { flow } = bench.tunnelled(pod, 80);
    bench.tunnelled(pod, 81);
    expect(bench.engine.closed).toEqual([]);
    bench.index.apply({ workloads: [workload("api", "10.0.1.1", { labels: { tier: "gold" } })] });
    expect(bench.engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
    expect(bench.closed).toMatchObject([{ label: { policy: "shop/deny" } }]);
  });

  test("that denies an identity closes its flows", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(api));
    const { flow } = bench.tunnelled(pod);
    bench.plain(pod);
    bench.index.apply({ settings: { ...settings, deniedIdentities: [web.identity] } });
    expect(bench.engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
  });

  test("that only moves routes closes nothing and judges nothing", () => {
    bench.index.apply({ workloads: [web, api], services: [service("api", ["10.96.0.1"], { 80: [] })] });
    const pod = bench.capture(localPod(api));
    bench.tunnelled(pod);
    bench.index.apply({ services: [service("api", ["10.96.0.1"], { 80: [{ address: "10.0.9.9", targetPort: 1 }] })] });
    expect(bench.driver.stats()).toMatchObject({ rejudgedTotal: 0, policyClosedTotal: 0 });
  });

  test("is enforced on ten thousand open flows, in slices", async () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(api));
    for (let index = 0; index < 5000; index += 1) {
      bench.plain(pod, 1000 + index);
      bench.tunnelled(pod, 1000 + index);
    }
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "STRICT" })] });
    await bench.driver.settled();
    expect(bench.engine.closed.length).toBe(5000);
    expect([...bench.engine.rows.values()].every(({ role }) => role === "inbound-hbone")).toBe(true);
  });

  test("that comes in the middle of judging is what counts in the end", async () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(api));
    for (let index = 0; index < 5000; index += 1) bench.plain(pod, 1000 + index);
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "STRICT" })] });
    bench.index.apply({ removedPeerAuthentications: ["shop/default"] });
    const already = bench.engine.closed.length;
    await bench.driver.settled();
    expect(bench.engine.closed.length).toBe(already);
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "STRICT" })] });
    await bench.driver.settled();
    expect(bench.engine.rows.size).toBe(0);
  });
});

describe("a pod that the mesh does not know yet", () => {
  test("has its flows held until it is known", () => {
    const pod = bench.capture(localPod(web));
    const { flow, decision } = bench.out(pod, "10.0.1.1", 80);
    expect(decision).toBeUndefined();
    expect(bench.driver.stats().heldFlows).toBe(1);
    bench.index.apply({ workloads: [api] });
    expect(bench.engine.decisions.get(flow)).toBeUndefined();
    bench.index.apply({ workloads: [web] });
    expect(bench.engine.decisions.get(flow)).toMatchObject({ kind: "carry" });
    expect(bench.driver.stats().heldFlows).toBe(0);
  });

  test("has its flows refused when it stays unknown", () => {
    vi.useFakeTimers();
    const pod = bench.capture(localPod(web));
    const { flow } = bench.out(pod, "10.0.1.1", 80);
    vi.advanceTimersByTime(5000);
    expect(bench.engine.decisions.get(flow)).toMatchObject({ kind: "refuse", reason: "unknown-source" });
  });

  test("has nothing held for flows that ended meanwhile, or when it leaves", () => {
    const pod = bench.capture(localPod(web));
    bench.engine.end(bench.out(pod, "10.0.1.1", 80).flow, "reset-by-source");
    expect(bench.driver.stats().heldFlows).toBe(0);
    const { flow } = bench.out(pod, "10.0.1.1", 80);
    void bench.driver.removePod("uid-web");
    expect(bench.engine.decisions.get(flow)).toMatchObject({ kind: "refuse", reason: "pod-removed" });
  });
});
