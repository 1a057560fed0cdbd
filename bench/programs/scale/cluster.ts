/** The cluster of the scale bench: the API server's double with as many pods, Services and policies as asked for, and their churn. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ApiServer } from "../../../test/support/kubernetes-api/api-server.ts";
import type { DraftObject } from "../../../test/support/kubernetes-api/objects.ts";
import {
  type ClusterSize,
  endWithParent,
  type FromCluster,
  monotonicMs,
  probePolicy,
  scaleNode,
  type ToCluster,
} from "./messages.ts";

const podsPerNode = 110;
const podsPerService = 30;
const podsPerNamespace = 150;
const localAccounts = 50;

function send(message: FromCluster): void {
  process.send?.(message);
}

class ScaleCluster {
  readonly #api = new ApiServer();
  readonly #size: ClusterSize;
  #generation = 0;
  #next = 0;

  constructor(size: ClusterSize) {
    this.#size = size;
  }

  async make(folder: string): Promise<void> {
    const { workloads, policies, localPods } = this.#size;
    await this.#api.start();
    const namespaces = Math.ceil(workloads / podsPerNamespace);
    const labels = { "warren.dev/mode": "ambient" };
    this.#apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: "warren-system" } });
    for (let index = 0; index < namespaces; index += 1)
      this.#apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: `scale-${index}`, labels } });
    for (let index = 0; index < Math.ceil(workloads / podsPerNode); index += 1) this.#node(`node-${index}`, index);
    this.#node(scaleNode, 0);
    for (let index = 0; index < workloads; index += 1) this.#apply(this.#pod(index));
    for (let index = 0; index * podsPerService < workloads; index += 1) this.#apply(...this.#service(index));
    for (let index = 0; index < policies; index += 1) this.#apply(policy(index, namespaces));
    this.probe(0);
    const account = { namespace: "warren-system", name: "warren-node" };
    this.#apply(
      { apiVersion: "v1", kind: "ServiceAccount", metadata: account },
      {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { namespace: "warren-system", name: "warren-node-scale" },
        spec: { nodeName: scaleNode, serviceAccountName: "warren-node", hostNetwork: true, containers: [] },
        status: { phase: "Running" },
      },
    );
    const token = join(folder, "token");
    writeFileSync(
      token,
      this.#api.tokens.forServiceAccount("warren-system", "warren-node", {
        audiences: ["warren-control"],
        pod: "warren-node-scale",
      }),
    );
    const kubeconfig = join(folder, "kubeconfig");
    writeFileSync(kubeconfig, JSON.stringify(this.#kubeconfig()), { mode: 0o600 });
    if (localPods > workloads) throw new Error("more pods on the node than there are");
    send({ kind: "made", kubeconfig, token });
  }

  /** Pods other than the node's own, one after the other, are deleted and come back with another uid and address. */
  churn(share: number): void {
    const { workloads, localPods } = this.#size;
    const others = workloads - localPods;
    const count = Math.round(workloads * share);
    this.#generation += 1;
    for (let done = 0; done < count; done += 1) {
      this.#apply(this.#pod(localPods + (this.#next % others)));
      this.#next += 1;
    }
    send({ kind: "churned", pods: count });
  }

  probe(number: number): void {
    const principal = `cluster.local/ns/scale-0/sa/probe-${number}`;
    const object = {
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { ...probePolicy, annotations: { probe: String(number) } },
      spec: { action: "DENY", rules: [{ from: [{ source: { principals: [principal] } }] }] },
    };
    const at = monotonicMs();
    this.#apply(object);
    if (number > 0) send({ kind: "written", number, at });
  }

  #apply(...drafts: readonly DraftObject[]): void {
    this.#api.apply(...drafts);
  }

  #node(name: string, index: number): void {
    const address = { type: "InternalIP", address: `172.16.${(index >> 8) & 255}.${index & 255}` };
    this.#apply({ apiVersion: "v1", kind: "Node", metadata: { name }, status: { addresses: [address] } });
  }

  /** Of the generation of now: the later its churn, the higher the second octet of its address. */
  #pod(index: number): DraftObject {
    const local = index < this.#size.localPods;
    const generation = local ? 0 : this.#generation;
    const namespace = `scale-${Math.floor(index / podsPerNamespace)}`;
    const number = index + generation * this.#size.workloads;
    const ip = `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`;
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        namespace,
        name: `pod-${index}`,
        uid: `uid-${index}-${generation}`,
        labels: { app: `app-${Math.floor(index / podsPerService)}`, "app.kubernetes.io/version": "v1" },
      },
      spec: {
        nodeName: local ? scaleNode : `node-${Math.floor(index / podsPerNode)}`,
        serviceAccountName: local ? `local-${index % localAccounts}` : `app-${Math.floor(index / podsPerService)}`,
        containers: [{ name: "app", ports: [{ containerPort: 8080 }] }],
      },
      status: {
        phase: "Running",
        podIP: ip,
        podIPs: [{ ip }],
        conditions: [{ type: "Ready", status: "True" }],
      },
    };
  }

  #service(index: number): DraftObject[] {
    const first = index * podsPerService;
    const namespace = `scale-${Math.floor(first / podsPerNamespace)}`;
    const name = `service-${index}`;
    const clusterIP = `172.20.${(index >> 8) & 255}.${index & 255}`;
    const members = Array.from(
      { length: Math.min(podsPerService, this.#size.workloads - first) },
      (_, at) => first + at,
    );
    const endpoints = members.map((member) => {
      const { metadata, status } = this.#pod(member) as DraftObject & { status: { podIP: string } };
      return {
        addresses: [status.podIP],
        conditions: { ready: true },
        targetRef: { kind: "Pod", name: metadata.name, namespace },
      };
    });
    return [
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { namespace, name },
        spec: {
          clusterIP,
          clusterIPs: [clusterIP],
          selector: { app: `app-${index}` },
          ports: [{ name: "http", port: 80, targetPort: 8080 }],
        },
      },
      {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: { namespace, name: `${name}-1`, labels: { "kubernetes.io/service-name": name } },
        addressType: "IPv4",
        endpoints,
        ports: [{ name: "http", port: 8080 }],
      },
    ];
  }

  #kubeconfig(): object {
    const token = this.#api.tokens.issue({ username: "kubernetes-admin", groups: ["system:masters"] });
    const root = Buffer.from(this.#api.root).toString("base64");
    return {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "scale",
      clusters: [{ name: "scale", cluster: { server: this.#api.url, "certificate-authority-data": root } }],
      users: [{ name: "admin", user: { token } }],
      contexts: [{ name: "scale", context: { cluster: "scale", user: "admin" } }],
    };
  }
}

/** Each selects one application of its namespace and names a few others. */
function policy(index: number, namespaces: number): DraftObject {
  const namespace = `scale-${index % namespaces}`;
  const principals = Array.from({ length: 3 }, (_, at) => `cluster.local/ns/${namespace}/sa/app-${index * 3 + at}`);
  return {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { namespace, name: `policy-${index}` },
    spec: {
      selector: { matchLabels: { app: `app-${index % (podsPerNamespace / podsPerService)}` } },
      rules: [
        { from: [{ source: { principals } }], to: [{ operation: { ports: ["8080"] } }] },
        { from: [{ source: { namespaces: [namespace] } }] },
      ],
    },
  };
}

let cluster: ScaleCluster | undefined;
process.on("message", (message: ToCluster) => {
  switch (message.kind) {
    case "make":
      cluster = new ScaleCluster(message.request.size);
      cluster.make(message.request.folder).catch((error: unknown) => {
        process.stderr.write(`${String(error)}\n`);
        process.exit(1);
      });
      return;
    case "churn":
      cluster?.churn(message.share);
      return;
    case "probe":
      cluster?.probe(message.number);
  }
});
endWithParent();
