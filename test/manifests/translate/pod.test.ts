import { describe, expect, test } from "vitest";
import type { NamespacePiece } from "../../../src/manifests/translate/namespace.ts";
import {
  enrolmentOf,
  localPodOf,
  type PodPiece,
  translatePod,
  workloadOf,
} from "../../../src/manifests/translate/pod.ts";
import { settings } from "../../mesh/build.ts";
import { framed, type PodInput, podObject } from "../objects.ts";

function pod(input: Partial<PodInput>): PodPiece {
  const translation = translatePod(framed(podObject({ name: "api", ...input })), "shop");
  if (translation.kind !== "ok") throw new Error(JSON.stringify(translation));
  return translation.value;
}

const ambient: NamespacePiece = { name: "shop", mode: "ambient", defaultAction: undefined };
const optedOut: NamespacePiece = { name: "shop", mode: "none", defaultAction: undefined };
const mode = (value: string) => ({ labels: { "warren.dev/mode": value } });

describe("enrolment", () => {
  test.each([
    ["no label anywhere", {}, undefined, "no label"],
    ["the namespace's label", {}, ambient, "namespace label"],
    ["the pod's label", mode("ambient"), undefined, "pod label"],
    ["a pod that opts out of an enrolled namespace", mode("none"), ambient, "opted out by pod label"],
    ["a pod that opts in against its namespace", mode("ambient"), optedOut, "pod label"],
    ["a namespace that opts out", {}, optedOut, "opted out by namespace label"],
    ["a misspelt pod label", mode("Ambient"), ambient, "namespace label"],
    ["host network", { ...mode("ambient"), spec: { hostNetwork: true } }, ambient, "host network"],
    ["Warren's own pods", { labels: { "app.kubernetes.io/part-of": "warren" } }, ambient, "part of warren"],
    ["an Istio sidecar", { annotations: { "sidecar.istio.io/status": "{}" } }, ambient, "has another mesh's sidecar"],
    ["a Linkerd sidecar", { spec: { containers: [{ name: "linkerd-proxy" }] } }, ambient, "has another mesh's sidecar"],
    [
      "a native sidecar",
      { spec: { initContainers: [{ name: "istio-proxy" }] } },
      ambient,
      "has another mesh's sidecar",
    ],
    ["a pod that succeeded", { phase: "Succeeded" }, ambient, "finished"],
    ["a pod that failed", { phase: "Failed" }, ambient, "finished"],
    ["a Windows pod", { spec: { os: { name: "windows" } } }, ambient, "not a Linux pod"],
  ] as const)("%s", (_name, input, namespace, because) => {
    const piece = pod(input);
    expect(enrolmentOf(piece, namespace).because).toBe(because);
    const enrolled = because === "namespace label" || because === "pod label";
    const workload = workloadOf(piece, namespace, settings);
    expect(workload?.tunnel === "hbone").toBe(enrolled);
    expect(localPodOf(piece, workload) !== undefined).toBe(enrolled);
  });

  test("a misspelt label is a problem that names the label", () => {
    const translation = translatePod(framed(podObject({ name: "api", ...mode("Ambient") })), "shop");
    expect(translation.problems).toMatchObject([{ field: "metadata.labels[warren.dev/mode]" }]);
  });
});

describe("workload", () => {
  test("has the identity of its service account and canonical addresses without doubles", () => {
    const piece = pod({ ips: ["10.0.0.1", "FD00:0::1", "::ffff:10.0.0.1"] });
    expect(workloadOf(piece, ambient, settings)).toMatchObject({
      uid: "c1//Pod/shop/api",
      identity: "spiffe://cluster.local/ns/shop/sa/api",
      addresses: ["10.0.0.1", "fd00::1"],
      node: "n1",
      ready: true,
    });
  });

  test("on the host network has no address of its own", () => {
    const hostNetwork = pod({ spec: { hostNetwork: true } });
    expect(workloadOf(hostNetwork, ambient, settings)?.addresses).toEqual([]);
    expect(workloadOf(hostNetwork, ambient, settings)?.hostAddresses).toEqual(hostNetwork.addresses);
  });

  test("is none once the pod has finished: its address may be another's", () => {
    expect(workloadOf(pod({ phase: "Succeeded" }), ambient, settings)).toBeUndefined();
  });

  test("is not ready while it terminates", () => {
    const piece = pod({ metadata: { deletionTimestamp: "2026-01-01T00:00:00Z" } });
    expect(workloadOf(piece, ambient, settings)?.ready).toBe(false);
  });

  test.each([
    ["ReplicaSet", "api-5d8f7c", { "pod-template-hash": "5d8f7c" }, "Deployment", "api"],
    ["ReplicaSet", "bare", {}, "ReplicaSet", "bare"],
    ["Job", "backup-28473920", {}, "CronJob", "backup"],
    ["Job", "import", {}, "Job", "import"],
    ["StatefulSet", "db", {}, "StatefulSet", "db"],
  ] as const)("owned by %s %s belongs to %s", (kind, name, labels, ownerKind, ownerName) => {
    const metadata = { labels, ownerReferences: [{ kind, name, controller: true }] };
    expect(workloadOf(pod({ metadata }), ambient, settings)?.owner).toEqual({ kind: ownerKind, name: ownerName });
  });

  test("is named by its labels first, then by its owner", () => {
    expect(workloadOf(pod({}), ambient, settings)).toMatchObject({ canonicalName: "api", canonicalRevision: "latest" });
    const labels = { app: "shop-api", version: "v2" };
    expect(workloadOf(pod({ labels }), ambient, settings)).toMatchObject({
      canonicalName: "shop-api",
      canonicalRevision: "v2",
    });
  });
});

describe("local pod", () => {
  test("waits for a node", () => {
    const piece = pod({ spec: { nodeName: "" } });
    expect(localPodOf(piece, workloadOf(piece, ambient, settings))).toBeUndefined();
  });

  test("is told before it has an address: its container runtime gives it one first", () => {
    const piece = pod({ ips: [] });
    expect(localPodOf(piece, workloadOf(piece, ambient, settings))?.pod.addresses).toEqual([]);
  });

  test("carries uid, fail-open choice and probed ports", () => {
    const piece = pod({
      metadata: { uid: "4711" },
      annotations: { "warren.dev/fail-open": "true" },
      spec: {
        containers: [
          {
            name: "main",
            ports: [{ name: "http", containerPort: 8080 }],
            livenessProbe: { httpGet: { port: "http" } },
            readinessProbe: { tcpSocket: { port: 5432 } },
            startupProbe: { exec: { command: ["true"] } },
          },
        ],
      },
    });
    expect(localPodOf(piece, workloadOf(piece, ambient, settings))).toMatchObject({
      node: "n1",
      pod: { uid: "4711", failOpen: true, probePorts: [5432, 8080] },
    });
  });
});

test.each([
  ["status.podIPs[0].ip", { ips: ["10.0.0.300"] }],
  [
    "spec.containers[0].ports[0].containerPort",
    { spec: { containers: [{ name: "a", ports: [{ containerPort: 0 }] }] } },
  ],
  ["spec.serviceAccountName", { spec: { serviceAccountName: "a/b" } }],
  ["spec.hostNetwork", { spec: { hostNetwork: "yes" } }],
])("a bad %s rejects the pod and names the field", (field, input) => {
  const translation = translatePod(framed(podObject({ name: "api", ...input })), "shop");
  expect(translation).toMatchObject({ kind: "rejected", problems: [{ field }] });
});
