import type { SocketAddress } from "../../src/model/address.ts";
import type { FlowLabel } from "../../src/model/flow-label.ts";
import type { Identity } from "../../src/model/identity.ts";
import type { Service } from "../../src/model/service.ts";
import type { LocalPod, Workload, WorkloadUid } from "../../src/model/workload.ts";
import type { FlowRecord } from "../../src/telemetry/flow-record.ts";
import type { RequestRecord } from "../../src/telemetry/request-record.ts";

export const webIdentity = "spiffe://cluster.local/ns/production/sa/web" as Identity;
export const apiIdentity = "spiffe://cluster.local/ns/production/sa/api" as Identity;

export function workload(name: string, over: Partial<Workload> = {}): Workload {
  return {
    uid: `Kubernetes//Pod/production/${name}-1` as WorkloadUid,
    name: `${name}-1`,
    namespace: "production",
    serviceAccount: name,
    trustDomain: "cluster.local",
    identity: `spiffe://cluster.local/ns/production/sa/${name}` as Identity,
    node: "n1",
    cluster: "Kubernetes",
    addresses: ["10.0.0.1"],
    hostNetwork: false,
    labels: new Map([["app", name]]),
    owner: { kind: "Deployment", name },
    canonicalName: name,
    canonicalRevision: "latest",
    tunnel: "hbone",
    ready: true,
    authorizationPolicies: [],
    ...over,
  } as Workload;
}

export function localPod(name: string): LocalPod {
  const of = workload(name);
  return {
    uid: `uid-${name}`,
    workload: of.uid,
    name: of.name,
    namespace: of.namespace,
    serviceAccount: of.serviceAccount,
    identity: of.identity,
    addresses: of.addresses,
    failOpen: false,
    probePorts: [],
  };
}

const apiService: Service = {
  name: "api",
  namespace: "production",
  hostname: "api.production.svc.cluster.local",
  addresses: ["10.96.0.10"],
  ports: [{ name: "http", port: 80, appProtocol: "" }],
};

export function label(over: Partial<FlowLabel> = {}): FlowLabel {
  return {
    source: workload("web"),
    destination: workload("api"),
    service: apiService,
    policy: "",
    shadow: [],
    ...over,
  };
}

export function record(over: Partial<FlowRecord> = {}): FlowRecord {
  return {
    flow: 7,
    role: "outbound",
    source: { address: "10.244.1.5", port: 38472 },
    destination: { address: "10.96.0.10", port: 80 },
    target: { address: "10.244.2.8", port: 15008 },
    peer: apiIdentity,
    tunnel: 3,
    reason: "ok",
    detail: "",
    traceparent: "",
    bytesSent: 120,
    bytesReceived: 4500,
    arrivedAt: 1_700_000_000_000,
    connectedMs: 2.4,
    durationMs: 31.7,
    ...over,
  };
}

/** A POST to the api that its policy refused. */
export function requestRecord(
  source: SocketAddress,
  peer: Identity | "" = "",
  over: Partial<RequestRecord> = {},
): RequestRecord {
  return {
    flow: { flow: 7, peer, source, destination: { address: "10.244.2.8", port: 8080 } },
    protocol: "HTTP/1.1",
    method: "POST",
    host: "api",
    path: "/orders",
    status: 403,
    reason: "policy-denied",
    detail: "",
    policy: "production/api-authz",
    rule: -1,
    shadow: [],
    bytesSent: 5,
    bytesReceived: 0,
    durationMs: 0.6,
    ...over,
  };
}
