import { describe, expect, test } from "vitest";
import type { NetworkPolicy } from "../../src/model/network-policy.ts";
import { localPod, mesh, workload } from "./build.ts";

const api = workload("api", "10.0.0.1");

function policy(name: string, labels: Record<string, string>): NetworkPolicy {
  return { name, namespace: "shop", matchLabels: new Map(Object.entries(labels)) };
}

describe("networkPolicySelects", () => {
  test("is true while no source has told of them: packets may have to be seen", () => {
    expect(mesh({ workloads: [api] }).networkPolicySelects(api)).toBe(true);
    expect(mesh({ workloads: [api], networkPolicies: [] }).networkPolicySelects(api)).toBe(false);
  });

  test("follows policies as they come, change and go", () => {
    const view = mesh({ workloads: [api], networkPolicies: [] });
    view.apply({ networkPolicies: [policy("one", { app: "api" })] });
    expect(view.networkPolicySelects(api)).toBe(true);
    view.apply({ networkPolicies: [policy("one", { app: "web" })] });
    expect(view.networkPolicySelects(api)).toBe(false);
    view.apply({ networkPolicies: [policy("two", {})] });
    expect(view.networkPolicySelects(api)).toBe(true);
    view.apply({ removedNetworkPolicies: ["shop/two"] });
    expect(view.networkPolicySelects(api)).toBe(false);
  });

  test("without policies it is what the source says about a pod, and that is a change for all flows", () => {
    const pod = (networkPolicy: "none" | "selected") => ({ node: "n1", pod: localPod(api, { networkPolicy }) });
    const view = mesh({ workloads: [api], localPods: [pod("none")] });
    expect(view.networkPolicySelects(api)).toBe(false);
    expect(view.apply({ localPods: [pod("selected")] })).toMatchObject({ policyScope: "all" });
    expect(view.networkPolicySelects(api)).toBe(true);
    view.apply({ localPods: [pod("none")] });
    view.apply({ localPods: [{ node: "n1", pod: localPod(api, { uid: "anew", networkPolicy: "none" }) }] });
    view.apply({ removedLocalPods: [`uid-${api.name}`] });
    expect(view.networkPolicySelects(api)).toBe(false);
    view.apply({ removedLocalPods: ["anew"] });
    expect(view.networkPolicySelects(api)).toBe(true);
  });

  test("a change concerns all flows, and one that changes nothing is none", () => {
    const view = mesh({ workloads: [api], networkPolicies: [] });
    expect(view.apply({ networkPolicies: [policy("one", {})] })).toMatchObject({ policyScope: "all" });
    expect(view.apply({ networkPolicies: [policy("one", {})] })).toBeUndefined();
    expect(view.apply({ removedNetworkPolicies: ["shop/none"] })).toBeUndefined();
  });
});
