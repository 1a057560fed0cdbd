import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import type { CertificateLine } from "../../../src/cli/query/certificate-rows.ts";
import { type HealthFacts, judge } from "../../../src/cli/query/health-checks.ts";
import { type NodeStatus, nodeStatus } from "../../../src/cli/query/node-statuses.ts";
import type { WorkloadRow } from "../../../src/cli/query/workload-rows.ts";
import { version } from "../../../src/lib/version.ts";
import { StatusSchema } from "../../../src/xds/gen/warren/inspect/v1/inspect_pb.ts";
import { ControlSchema } from "../../../src/xds/gen/warren/operator/v1/operator_pb.ts";

const now = Date.UTC(2026, 10, 1);
const day = 86_400_000;
const iso = (at: number) => new Date(at).toISOString();

const control = (over: object = {}) =>
  create(ControlSchema, {
    name: "control-1",
    version,
    certificates: [
      { name: "root", notAfter: timestampFromMs(now + 3650 * day) },
      { name: "serving", notAfter: timestampFromMs(now + day / 2) },
    ],
    ...over,
  });

function node(over: Partial<NodeStatus> = {}): NodeStatus {
  const status = create(StatusSchema, {
    version,
    now: timestampFromMs(now),
    runtime: { aes: "vaes", descriptors: { used: 10n, limit: 1000n }, inotifyInstances: { limit: 8192n } },
    kernel: {
      backends: [
        { name: "ebpf", usable: true },
        { name: "nftables", usable: true },
      ],
    },
  });
  const message = { node: "w1", kind: { case: undefined }, askedAt: now, receivedAt: now + 10 } as const;
  return { ...nodeStatus(status, message, ""), ...over };
}

const certificate: CertificateLine = {
  identity: "spiffe://cluster.local/ns/a/sa/b",
  namespace: "a",
  node: "w1",
  state: "ready",
  valid: true,
  revoked: false,
  notBefore: iso(now - day),
  notAfter: iso(now + day),
  renewsAt: iso(now),
  serial: "1",
  issuer: "i",
  keyType: "P-256",
  lastError: "",
};

const workload = {
  namespace: "a",
  name: "p",
  node: "w1",
  protocol: "HBONE",
  state: "captured",
  lastError: "",
} as WorkloadRow;

const healthy: HealthFacts = {
  controls: [control()],
  nodes: [node()],
  certificates: [certificate],
  workloads: [workload],
  now,
};

function wrong(facts: Partial<HealthFacts>): string[] {
  return judge({ ...healthy, ...facts })
    .filter(({ result }) => result !== "ok")
    .map(({ code, result }) => `${code} ${result}`);
}

test("a healthy mesh has no findings, and every check a name of its own", () => {
  expect(wrong({})).toEqual([]);
  const codes = judge(healthy).map(({ code }) => code);
  expect(new Set(codes).size).toBe(codes.length);
});

describe("is found:", () => {
  const runtime = node().runtime;
  const kernel = node().kernel;
  test.each<[string, Partial<HealthFacts>, string[]]>([
    ["control that is starting", { controls: [control({ blockers: ["authority"] })] }, ["control-ready failure"]],
    [
      "a root with less than 60 days",
      { controls: [control({ certificates: [{ name: "root", notAfter: timestampFromMs(now + 59 * day) }] })] },
      ["authority-valid warning"],
    ],
    [
      "a root with less than a week",
      { controls: [control({ certificates: [{ name: "root", notAfter: timestampFromMs(now + 6 * day) }] })] },
      ["authority-valid failure"],
    ],
    [
      "a serving certificate that has ended",
      { controls: [control({ certificates: [{ name: "serving", notAfter: timestampFromMs(now - 1) }] })] },
      ["authority-valid failure"],
    ],
    ["another version", { nodes: [node({ version: "0.0.9" })] }, ["versions-match warning"]],
    [
      "a NetworkPolicy in the way",
      {
        controls: [control({ findings: [{ code: "network-policy-blocks-hbone", object: "a/p", message: "closed" }] })],
      },
      ["network-policies failure"],
    ],
    [
      "an object that control can't tell of",
      { controls: [control({ findings: [{ code: "resource-untold", object: "policy a/p", message: "odd" }] })] },
      ["resources-told warning"],
    ],
    [
      "a client that rejects what it is told",
      { controls: [control({ findings: [{ code: "client-rejects", object: "w1/ztunnel", message: "odd" }] })] },
      ["clients-accept warning"],
    ],
    ["an agent that is silent", { nodes: [node({ answered: false, version: "" })] }, ["agents-answer failure"]],
    ["an agent that is not ready", { nodes: [node({ blockers: ["capture"] })] }, ["agents-ready failure"]],
    ["an object that an agent can't use", { nodes: [node({ problems: ["{}"] })] }, ["mesh-state warning"]],
    ["a clock that is off", { nodes: [node({ clock: { aheadMs: -5000, uncertainMs: 100 } })] }, ["clocks warning"]],
    [
      "a clock that is far off",
      { nodes: [node({ clock: { aheadMs: 90_000, uncertainMs: 100 } })] },
      ["clocks failure"],
    ],
    [
      "a certificate that has ended",
      { certificates: [{ ...certificate, valid: false }] },
      ["certificates-valid failure"],
    ],
    [
      "one that is revoked, whatever its dates",
      { certificates: [{ ...certificate, valid: false, revoked: true, lastError: "refused" }] },
      ["certificates-valid failure"],
    ],
    [
      "an identity without one",
      { certificates: [{ ...certificate, state: "unavailable", valid: false, lastError: "refused" }] },
      ["certificates-valid failure"],
    ],
    ["a renewal that fails", { certificates: [{ ...certificate, lastError: "away" }] }, ["certificates-renew warning"]],
    ["a pod that is not captured", { workloads: [{ ...workload, state: "failed" }] }, ["capture-audit failure"]],
    [
      "a kernel without eBPF",
      {
        nodes: [
          node({
            kernel: {
              ...kernel,
              backends: [
                { name: "ebpf", usable: false, missing: ["x"] },
                { name: "nftables", usable: true, missing: [] },
              ],
            },
          }),
        ],
      },
      ["kernel-features warning"],
    ],
    [
      "a kernel that can't capture",
      { nodes: [node({ kernel: { ...kernel, backends: [{ name: "ebpf", usable: false, missing: ["x"] }] } })] },
      ["kernel-features failure"],
    ],
    [
      "descriptors running out",
      { nodes: [node({ runtime: { ...runtime, descriptors: { used: 900, limit: 1000 } } })] },
      ["headroom warning"],
    ],
    [
      "few inotify instances",
      { nodes: [node({ runtime: { ...runtime, inotifyInstances: { used: 0, limit: 128 } } })] },
      ["inotify warning"],
    ],
    [
      "inotify instances running out",
      { nodes: [node({ runtime: { ...runtime, inotifyInstances: { used: 8000, limit: 8192 } } })] },
      ["inotify warning"],
    ],
    ["no AES instructions", { nodes: [node({ runtime: { ...runtime, aes: "none" } })] }, ["aes warning"]],
  ])("%s", (_what, facts, expected) => {
    expect(wrong(facts)).toEqual(expected);
  });

  test("and named in words, with what to do", () => {
    const problem = JSON.stringify({ object: "policy AuthorizationPolicy/a/p", message: "field 9 is not known" });
    const facts = { ...healthy, nodes: [node({ problems: [problem, "a folder's own words"] })] };
    const found = judge(facts).find(({ code }) => code === "mesh-state");
    expect(found?.detail).toBe("w1: policy AuthorizationPolicy/a/p: field 9 is not known; w1: a folder's own words");
    expect(found?.hint).toContain("warren lint");
  });

  test("nothing where the answer's own way may be the difference, and a certificate is still on its way", () => {
    expect(wrong({ nodes: [node({ clock: { aheadMs: 3000, uncertainMs: 2900 } })] })).toEqual([]);
    expect(wrong({ certificates: [{ ...certificate, state: "pending", valid: false }] })).toEqual([]);
  });
});
