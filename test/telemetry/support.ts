/** Flows as the driver reports them, with what most tests do not care about filled in. */
import type { FlowLabel } from "../../src/model/flow-label.ts";
import type { Identity } from "../../src/model/identity.ts";
import type { LocalPod, Workload, WorkloadUid } from "../../src/model/workload.ts";
import type { FlowRecord } from "../../src/telemetry/flow-record.ts";

export function workload(name: string, change: Partial<Workload> = {}): Workload {
  return {
    uid: `Kubernetes//Pod/production/${name}` as WorkloadUid,
    name,
    namespace: "production",
    serviceAccount: name,
    trustDomain: "cluster.local",
    identity: `spiffe://cluster.local/ns/production/sa/${name}` as Identity,
    node: "node-1",
    cluster: "Kubernetes",
    addresses: [],
    hostNetwork: false,
    labels: new Map(),
    owner: { kind: "Deployment", name },
    canonicalName: name,
    canonicalRevision: "latest",
    tunnel: "hbone",
    ready: true,
    ...change,
  };
}

export function localPod(name: string): LocalPod {
  const { uid, namespace, identity, serviceAccount } = workload(name);
  return {
    uid: `uid-${name}`,
    workload: uid,
    name,
    namespace,
    serviceAccount,
    identity,
    addresses: ["10.244.1.2"],
    failOpen: false,
    probePorts: [],
  };
}

export function label(change: Partial<FlowLabel> = {}): FlowLabel {
  return {
    source: workload("web"),
    destination: workload("api"),
    service: undefined,
    policy: "",
    shadow: [],
    ...change,
  };
}

let flows = 0;

/** A connection from `web` to `api` through a tunnel, as api's agent tells of its end. */
export function closed(change: Partial<FlowRecord> = {}): FlowRecord {
  flows += 1;
  const destination = { address: "10.244.1.2", port: 8080 };
  return {
    flow: flows,
    role: "inbound-hbone",
    source: { address: "10.244.0.7", port: 40_000 },
    destination,
    target: destination,
    peer: "spiffe://cluster.local/ns/production/sa/web" as Identity,
    tunnel: 1,
    bytesSent: 10,
    bytesReceived: 20,
    reason: "ok",
    detail: "",
    traceparent: "",
    arrivedAt: 1000,
    connectedMs: 1,
    durationMs: 5,
    ...change,
  };
}
