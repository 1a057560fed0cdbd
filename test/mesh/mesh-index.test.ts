import { describe, expect, test } from "vitest";
import type { MeshDelta } from "../../src/mesh/mesh-index.ts";
import type { MeshChange } from "../../src/model/mesh.ts";
import { authorizationPolicy, localPod, mesh, peerAuthentication, service, settings, workload } from "./build.ts";

const api = workload("api", "10.0.0.1");

describe("MeshIndex", () => {
  test("a delta that changes nothing makes no epoch and calls nobody", () => {
    const index = mesh({ workloads: [api], services: [service("api", ["10.96.0.1"], { 80: [] })] });
    const { epoch } = index;
    const heard: MeshChange[] = [];
    index.onChange((change) => heard.push(change));
    expect(
      index.apply({
        settings: { ...settings },
        workloads: [workload("api", "10.0.0.1")],
        services: [service("api", ["10.96.0.1"], { 80: [] })],
        removedWorkloads: [workload("nobody", "").uid],
      }),
    ).toBeUndefined();
    expect(index.epoch).toBe(epoch);
    expect(heard).toEqual([]);
  });

  test("a change names what changed, removed things too", () => {
    const index = mesh({ workloads: [api], localPods: [{ node: "n1", pod: localPod(api) }] });
    const change = index.apply({
      removedWorkloads: [api.uid],
      removedLocalPods: ["uid-api"],
      services: [service("api", ["10.96.0.1"], { 80: [] })],
    });
    expect(change).toMatchObject({
      epoch: 2,
      settings: false,
      workloads: new Set([api.uid]),
      services: new Set(["shop/api.shop.svc.cluster.local"]),
      nodes: new Set(["n1"]),
      policyScope: new Set([api.uid]),
    });
    expect(index.workload(api.uid)).toBeUndefined();
    expect(index.workloadByAddress("10.0.0.1")).toBeUndefined();
    expect([...index.localPods("n1")]).toEqual([]);
  });

  test("a workload that changes its address is found under the new one only", () => {
    const index = mesh({ workloads: [api] });
    index.apply({ workloads: [workload("api", "10.0.0.7")] });
    expect(index.workloadByAddress("10.0.0.1")).toBeUndefined();
    expect(index.workloadByAddress("10.0.0.7")?.name).toBe("api");
  });

  test("of two claimants of an address the enrolled one wins, and among equals the later one", () => {
    const outside = workload("outside", "10.0.0.1", { tunnel: "none" });
    const index = mesh({ workloads: [api, outside] });
    expect(index.workloadByAddress("10.0.0.1")?.name).toBe("api");
    index.apply({ workloads: [workload("later", "10.0.0.1")] });
    expect(index.workloadByAddress("10.0.0.1")?.name).toBe("later");
    index.apply({ removedWorkloads: [workload("later", "").uid] });
    expect(index.workloadByAddress("10.0.0.1")?.name).toBe("api");
    index.apply({ removedWorkloads: [api.uid] });
    expect(index.workloadByAddress("10.0.0.1")?.name).toBe("outside");
  });

  test("whoever had an address before another came to it does not get it back by changing, but by enrolling", () => {
    const index = mesh({ workloads: [api, workload("later", "10.0.0.1", { tunnel: "none" })] });
    index.apply({ workloads: [{ ...api, tunnel: "none" }] });
    expect(index.workloadByAddress("10.0.0.1")?.name).toBe("api");
    index.apply({ workloads: [workload("newest", "10.0.0.1", { tunnel: "none" })] });
    index.apply({ workloads: [{ ...api, tunnel: "none", ready: false, labels: new Map([["a", "b"]]) }] });
    expect(index.workloadByAddress("10.0.0.1")?.name).toBe("newest");
    expect(index.workload(api.uid)).toMatchObject({ ready: false, addresses: ["10.0.0.1"] });
    index.apply({ workloads: [{ ...api, addresses: ["10.0.0.1", "fd00::1"] }] });
    expect(index.workloadByAddress("10.0.0.1")?.name).toBe("api");
    expect(index.workloadByAddress("fd00::1")?.name).toBe("api");
    index.apply({ workloads: [{ ...api, addresses: ["fd00::1"] }] });
    expect(index.workloadByAddress("10.0.0.1")?.name).toBe("newest");
    index.apply({ removedWorkloads: [workload("newest", "").uid] });
    expect(index.workloadByAddress("10.0.0.1")?.name).toBe("later");
    index.apply({ removedWorkloads: [workload("later", "").uid] });
    expect(index.workloadByAddress("10.0.0.1")).toBeUndefined();
  });

  test("a disputed virtual IP stays with its first Service until that goes", () => {
    const index = mesh({
      services: [service("first", ["10.96.0.1"], { 80: [] }), service("second", ["10.96.0.1"], { 80: [] })],
    });
    expect(index.serviceByAddress("10.96.0.1")?.name).toBe("first");
    index.apply({ removedServices: ["shop/first.shop.svc.cluster.local"] });
    expect(index.serviceByAddress("10.96.0.1")?.name).toBe("second");
  });

  test("endpoints tell an unknown port from a port without endpoints", () => {
    const entry = service("api", ["10.96.0.1"], { 80: [] });
    const index = mesh({ services: [entry] });
    expect(index.endpoints(entry.service, 80)).toEqual([]);
    expect(index.endpoints(entry.service, 81)).toBeUndefined();
  });

  test("effective modes follow policies, labels and settings", () => {
    const index = mesh({
      workloads: [api],
      peerAuthentications: [
        peerAuthentication({ matchLabels: new Map([["tier", "gold"]]), name: "gold", mode: "STRICT" }),
      ],
    });
    const mode = (): string => index.inboundMode(index.workload(api.uid) ?? api, 80).mode;
    expect(mode()).toBe("PERMISSIVE");
    index.apply({ workloads: [workload("api", "10.0.0.1", { labels: { tier: "gold" } })] });
    expect(mode()).toBe("STRICT");
    index.apply({ removedPeerAuthentications: ["shop/gold"] });
    expect(mode()).toBe("PERMISSIVE");
    const change = index.apply({ peerAuthentications: [peerAuthentication({ namespace: "root", mode: "STRICT" })] });
    expect(change?.policyScope).toBe("all");
    expect(mode()).toBe("PERMISSIVE");
    index.apply({ settings: { ...settings, rootNamespace: "root" } });
    expect(mode()).toBe("STRICT");
  });

  test("a change concerns the workloads that the policies it is about select, as they were or as they are", () => {
    const gold = workload("gold", "10.0.0.2", { labels: { tier: "gold" } });
    const away = workload("away", "10.0.0.3", { namespace: "away" });
    const index = mesh({ workloads: [api, gold, away] });
    const concerned = (delta: MeshDelta): string[] => {
      const change = index.apply(delta);
      return [...index.workloads()].filter((one) => change?.concerns(one)).map(({ name }) => name);
    };
    const onGold = new Map([["tier", "gold"]]);
    const policy = authorizationPolicy("DENY", [{}], { matchLabels: onGold });
    expect(concerned({ authorizationPolicies: [policy] })).toEqual(["gold"]);
    expect(concerned({ authorizationPolicies: [{ ...policy, matchLabels: new Map([["app", "api"]]) }] })).toEqual([
      "api",
      "gold",
    ]);
    expect(concerned({ removedAuthorizationPolicies: ["shop/deny"] })).toEqual(["api"]);
    const { rootNamespace: namespace } = settings;
    expect(concerned({ authorizationPolicies: [{ ...policy, namespace }] })).toEqual(["gold"]);
    expect(concerned({ authorizationPolicies: [{ ...policy, namespace, matchLabels: undefined }] })).toHaveLength(3);
    expect(concerned({ peerAuthentications: [peerAuthentication({ matchLabels: onGold })] })).toEqual(["gold"]);
    expect(concerned({ peerAuthentications: [peerAuthentication()] })).toEqual(["api", "gold"]);
    expect(concerned({ removedPeerAuthentications: ["shop/default"] })).toEqual(["api", "gold"]);
    expect(concerned({ settings: { ...settings, defaultAction: "deny" } })).toHaveLength(3);
    expect(concerned({ workloads: [workload("away", "10.0.0.4", { namespace: "away" })] })).toEqual(["away"]);
  });

  test("a policy with a Service as target follows the Service's pods", () => {
    const policy = authorizationPolicy("ALLOW", [], { targetServices: ["api"] });
    const index = mesh({ workloads: [api], authorizationPolicies: [policy] });
    expect(index.authorizationFor(api)).toEqual([]);
    const change = index.apply({ services: [service("api", [], { 80: [] }, [api])] });
    expect(change?.policyScope).toEqual(new Set([api.uid]));
    expect(index.authorizationFor(api)).toEqual([policy]);
    index.apply({ services: [service("api", [], { 80: [] })] });
    expect(index.authorizationFor(api)).toEqual([]);
  });

  test("a listener that left hears nothing", () => {
    const index = mesh({});
    let heard = 0;
    const leave = index.onChange(() => {
      heard += 1;
    });
    index.apply({ workloads: [api] });
    leave();
    index.apply({ removedWorkloads: [api.uid] });
    expect(heard).toBe(1);
  });
});
