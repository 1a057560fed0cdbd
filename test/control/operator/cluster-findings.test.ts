import { describe, expect, test } from "vitest";
import { clusterFindings } from "../../../src/control/operator/cluster-findings.ts";
import { translateNetworkPolicy } from "../../../src/manifests/translate/network-policy.ts";
import type { NetworkPolicy } from "../../../src/model/network-policy.ts";
import { workload } from "../../telemetry/fixtures.ts";

function policy(name: string, spec: object): NetworkPolicy {
  const raw = { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { name }, spec };
  const metadata = { name, namespace: "production" };
  const { value } = translateNetworkPolicy({ raw, metadata } as never, "production") as { value: NetworkPolicy };
  return value;
}

const found = (...policies: NetworkPolicy[]) =>
  clusterFindings({ workloads: () => [workload("api")], networkPoliciesOf: () => policies }).map(
    ({ object, message }) => `${object}: ${message}`,
  );

const app = { podSelector: {} };

describe("a NetworkPolicy that leaves no way for tunnels", () => {
  test.each([
    ["allows other ports only", { ...app, ingress: [{ ports: [{ port: 8080 }] }] }],
    ["allows nothing", { ...app, policyTypes: ["Ingress"] }],
    ["allows UDP only", { ...app, ingress: [{ ports: [{ port: 15_008, protocol: "UDP" }] }] }],
    ["names its ports", { ...app, ingress: [{ ports: [{ port: "http" }] }] }],
  ])("is found when it %s", (_what, spec) => {
    expect(found(policy("tight", spec))).toEqual([
      "production/api-1: NetworkPolicy tight lets no tunnel (TCP 15008) pass from peers; allow that port",
    ]);
  });

  test("is found for what leaves, too", () => {
    expect(found(policy("tight", { ...app, policyTypes: ["Egress"], egress: [{ ports: [{ port: 53 }] }] }))).toEqual([
      expect.stringContaining("to peers"),
    ]);
  });

  test.each([
    ["allows every port", { ...app, ingress: [{ from: [{ podSelector: {} }] }] }],
    ["allows 15008", { ...app, ingress: [{ ports: [{ port: 8080 }, { port: 15_008 }] }] }],
    ["allows a range around it", { ...app, ingress: [{ ports: [{ port: 15_000, endPort: 15_100 }] }] }],
    ["allows all of TCP", { ...app, ingress: [{ ports: [{ protocol: "TCP" }] }] }],
    ["is about egress alone", { ...app, policyTypes: ["Egress"], egress: [{}] }],
  ])("is no finding when it %s", (_what, spec) => {
    expect(found(policy("fine", spec))).toEqual([]);
  });

  test("is no finding beside one that lets them pass, because policies add up", () => {
    const tight = policy("tight", { ...app, ingress: [{ ports: [{ port: 8080 }] }] });
    expect(found(tight, policy("open", { ...app, ingress: [{ ports: [{ port: 15_008 }] }] }))).toEqual([]);
  });

  test("is no concern of a pod that is not enrolled", () => {
    const view = {
      workloads: () => [workload("api", { tunnel: "none" })],
      networkPoliciesOf: () => [policy("tight", app)],
    };
    expect(clusterFindings(view)).toEqual([]);
  });
});
