/**
 * What a run puts into a cluster, judged by Kubernetes itself: where there is a real API server and a kubectl (`KUBEBUILDER_ASSETS`), the
 * whole of `--target kubeconfig` but for what a kubelet does. Something plays the controllers: nothing else is played.
 */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { parseBenchArguments } from "../../../bench/arguments.ts";
import { clusterScenarios, runOnCluster } from "../../../bench/cluster/cluster-target.ts";
import { podManifests } from "../../../bench/cluster/pods.ts";
import { fullPace, quickPace } from "../../../bench/scenarios/scenario.ts";
import { findProgram } from "../../deploy/programs.ts";
import { ApiCalls } from "../../support/kubernetes-api/calls.ts";
import { type Cluster, clusterKinds, clusterTimeout, kubeconfig } from "../../support/kubernetes-api/cluster.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const images = { mesh: "registry.example/warren:1", load: "registry.example/load:1" };

interface Named {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly generation?: number;
    readonly deletionTimestamp?: string;
  };
  readonly spec?: {
    readonly finalizers?: readonly string[];
    readonly template?: { readonly spec: { readonly containers: readonly { readonly image: string }[] } };
  };
  readonly status?: { readonly observedGeneration?: number; readonly podIP?: string };
}

test("the bench's pods ask for nothing that a restricted namespace refuses", () => {
  const { items } = JSON.parse(podManifests("warren", { nodes: ["one", "two"], image: images.load })) as {
    items: { kind: string; spec: { securityContext: object; containers: { securityContext: object }[] } }[];
  };
  const pods = items.filter(({ kind }) => kind === "Pod");
  expect(pods).toHaveLength(3);
  for (const { spec } of pods) {
    expect(spec.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
    for (const { securityContext } of spec.containers)
      expect(securityContext).toEqual({ allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } });
  }
});

/** Of the controllers: rollouts are done, pods run, namespaces that are deleted go. No kubelet: nothing can be executed in a pod. */
class StandIn {
  /** Images of the mesh's workloads, as they were last seen. */
  readonly images = new Map<string, string>();
  readonly namespaces = new Set<string>();
  readonly #admin: ApiCalls;
  #going = true;

  constructor(admin: ApiCalls) {
    this.#admin = admin;
  }

  async run(): Promise<void> {
    while (this.#going) {
      await this.#round().catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  stop(): void {
    this.#going = false;
  }

  async #round(): Promise<void> {
    for (const kind of ["deployments", "daemonsets"]) {
      for (const one of await this.#items(`/apis/apps/v1/namespaces/warren-system/${kind}`)) {
        this.images.set(one.metadata.name, one.spec?.template?.spec.containers[0]?.image ?? "");
        if (one.status?.observedGeneration !== one.metadata.generation) await this.#rolledOut(kind, one);
      }
    }
    for (const { metadata, status } of await this.#items("/api/v1/pods")) {
      if (status?.podIP !== undefined) continue;
      const conditions = [{ type: "Ready", status: "True" }];
      const running = { phase: "Running", podIP: "10.244.1.5", podIPs: [{ ip: "10.244.1.5" }], conditions };
      await this.#status(`/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}`, running);
    }
    for (const namespace of await this.#items("/api/v1/namespaces")) {
      const { name, deletionTimestamp } = namespace.metadata;
      this.namespaces.add(name);
      if (deletionTimestamp === undefined) continue;
      await this.#admin.call("PUT", `/api/v1/namespaces/${name}/finalize`, { ...namespace, spec: { finalizers: [] } });
    }
  }

  async #items(path: string): Promise<readonly Named[]> {
    return ((await this.#admin.call("GET", path)).body["items"] ?? []) as Named[];
  }

  async #rolledOut(kind: string, { metadata: { name, generation } }: Named): Promise<void> {
    const status =
      kind === "deployments"
        ? { replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 2 }
        : {
            desiredNumberScheduled: 2,
            currentNumberScheduled: 2,
            updatedNumberScheduled: 2,
            numberReady: 2,
            numberAvailable: 2,
            numberMisscheduled: 0,
          };
    await this.#status(`/apis/apps/v1/namespaces/warren-system/${kind}/${name}`, {
      ...status,
      observedGeneration: generation,
    });
    if (kind !== "daemonsets") return;
    const labels = { "app.kubernetes.io/name": "warren-node", "app.kubernetes.io/part-of": "warren" };
    const spec = { nodeName: "one", containers: [{ name: "agent", image: "any" }] };
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "warren-node-1", labels }, spec };
    await this.#admin.call("POST", "/api/v1/namespaces/warren-system/pods", pod);
  }

  async #status(path: string, status: object): Promise<void> {
    await this.#admin.call("PATCH", `${path}/status`, { status }, "application/merge-patch+json");
  }
}

/** Two nodes, and none of the kinds that an installation brings. */
async function prepare(cluster: Cluster): Promise<ApiCalls> {
  const admin = new ApiCalls(cluster.url, cluster.root, cluster.adminToken);
  const nodeInfo = {
    kernelVersion: "6.1",
    osImage: "Debian",
    containerRuntimeVersion: "containerd://2",
    kubeletVersion: "v1.34.0",
  };
  for (const name of ["one", "two"]) {
    await cluster.apply({
      apiVersion: "v1",
      kind: "Node",
      metadata: { name },
      status: { capacity: { cpu: "2", memory: "8Gi" }, nodeInfo },
    });
    // Admission taints what is new until a controller has looked at it.
    await admin.call("PATCH", `/api/v1/nodes/${name}`, { spec: { taints: null } }, "application/merge-patch+json");
  }
  for (const name of ["authorizationpolicies", "peerauthentications"]) {
    const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}.security.istio.io`;
    await admin.call("DELETE", path);
    await expect.poll(async () => (await admin.call("GET", path)).code, { timeout: 60_000 }).toBe(404);
  }
  return admin;
}

const kubectl = findProgram("kubectl");
const real = clusterKinds.filter(({ name }) => kubectl !== undefined && name === "a real API server");

for (const { start } of real) {
  describe("against a real API server", clusterTimeout, () => {
    test("deploys the mesh with the image it was given, starts pods on both nodes, and takes everything away again", async () => {
      const cluster = await start();
      const admin = await prepare(cluster);
      vi.stubEnv("KUBECONFIG", await kubeconfig(cluster, { token: cluster.adminToken }));
      vi.stubEnv("PATH", `${dirname(kubectl ?? "")}:${process.env["PATH"]}`);
      onTestFinished(() => void vi.unstubAllEnvs());
      const standIn = new StandIn(admin);
      const playing = standIn.run();
      const parsed = parseBenchArguments(
        [
          "--target=kubeconfig",
          "--quick",
          "--rounds=1",
          "--scenario=pingpong",
          "--variant=direct",
          `--image=${images.mesh}`,
          `--load-image=${images.load}`,
        ],
        () => ({
          scenarios: clusterScenarios({ quick: false, scenarios: undefined }, fullPace).map(({ name }) => name),
          variants: ["direct", "warren"],
        }),
      );
      if (parsed.kind !== "run") throw new Error(JSON.stringify(parsed));
      const said: string[] = [];
      const ended = await runOnCluster("kubeconfig", {
        request: parsed.request,
        pace: quickPace,
        machine: { root, proc: "/proc" },
        signal: AbortSignal.timeout(150_000),
        say: (line) => said.push(line),
      }).catch((error: unknown) => error);
      standIn.stop();
      await playing;

      expect(said).toEqual(
        expect.arrayContaining([
          "the mesh is deployed",
          "direct: client and servers run",
          "what was put into the cluster is being removed",
        ]),
      );
      expect(Object.fromEntries(standIn.images)).toEqual({ "warren-control": images.mesh, "warren-node": images.mesh });
      expect([...standIn.namespaces]).toEqual(expect.arrayContaining(["warren-system", "warren-bench-direct"]));
      // Where a kubelet would come in, the run says so.
      expect(JSON.stringify(ended instanceof Error ? ended.message : ended)).toMatch(/exec|address/);
      for (const path of [
        "/api/v1/namespaces/warren-system",
        "/api/v1/namespaces/warren-bench-direct",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/warren-control",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/authorizationpolicies.security.istio.io",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/warren-policies",
      ])
        expect([path, (await admin.call("GET", path)).code]).toEqual([path, 404]);
    });
  });
}
