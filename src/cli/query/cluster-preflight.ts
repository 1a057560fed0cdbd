/** What an installation would meet in a cluster, asked of its API with the rights of whoever asks. */
import { z } from "zod";
import { isApiError, type KubernetesApi } from "../../control/kubernetes/api.ts";
import { clusterFindings } from "../../control/operator/cluster-findings.ts";
import { messageOf } from "../../lib/errors.ts";
import { counted } from "../output/words.ts";
import { type Check, checkOf, skipped } from "./check-report.ts";
import { readCluster } from "./cluster.ts";
import { clockCheck, clockFacts } from "./cluster-clocks.ts";
import { listCluster } from "./cluster-listing.ts";
import type { TextApi } from "./cluster-logs.ts";
import { settingsOf } from "./source.ts";

const group = "cluster";

const list = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({
        name: z.string(),
        namespace: z.string().nullish(),
        labels: z.record(z.string(), z.string()).nullish(),
        annotations: z.record(z.string(), z.string()).nullish(),
      }),
      spec: z.looseObject({ hostNetwork: z.boolean().nullish(), group: z.string().nullish() }).nullish(),
      data: z.record(z.string(), z.string()).nullish(),
    }),
  ),
});
const versionSchema = z.looseObject({ major: z.string(), minor: z.string(), gitVersion: z.string() });
type Item = z.infer<typeof list>["items"][number];

/** What an installation makes: verb, API group, resource. */
const made = [
  ["", "namespaces"],
  ["", "serviceaccounts"],
  ["", "configmaps"],
  ["", "services"],
  ["apps", "daemonsets"],
  ["apps", "deployments"],
  ["rbac.authorization.k8s.io", "clusterroles"],
  ["rbac.authorization.k8s.io", "clusterrolebindings"],
  ["apiextensions.k8s.io", "customresourcedefinitions"],
] as const;

/** ValidatingAdmissionPolicy is generally available from here on. */
const oldestMinor = 30;

/** Other meshes by their node agents' DaemonSets. */
const meshAgents: ReadonlyMap<string, string> = new Map([
  ["istio-cni-node", "Istio's CNI agent"],
  ["ztunnel", "Istio's ambient mode"],
  ["linkerd-cni", "Linkerd's CNI plugin"],
  ["kmesh", "Kmesh"],
]);

/** Those that hold after an installation as well. */
export const lastingCodes: ReadonlySet<string> = new Set(["other-meshes", "cilium", "windows-nodes", "host-network"]);

/** Rejects when the API can't be reached; what only this user may not see is skipped, by check. */
export async function clusterChecks(api: TextApi, meshNamespace: string, signal: AbortSignal): Promise<Check[]> {
  const items = async (path: string): Promise<Item[]> =>
    list.parse(await api.call({ method: "GET", path }, signal)).items;
  const looked = async (base: Pick<Check, "code" | "group" | "name">, look: () => Promise<Check>): Promise<Check> => {
    try {
      return await look();
    } catch (error) {
      signal.throwIfAborted();
      if (isApiError(error, 0)) throw error;
      return skipped(base, messageOf(error));
    }
  };
  const recent = { code: "kubernetes-version", group, name: "Kubernetes is recent enough" };
  const rights = { code: "rights", group, name: "you may install" };
  const meshes = { code: "other-meshes", group, name: "no other mesh captures traffic" };
  const cilium = { code: "cilium", group, name: "Cilium leaves pods' sockets alone" };
  const security = { code: "pod-security", group, name: `${meshNamespace} admits the agent` };
  const windows = { code: "windows-nodes", group, name: "every node runs Linux" };
  const hostNetwork = { code: "host-network", group, name: "no workload is on the host's network" };
  const clocks = { code: "clocks", group, name: "clocks agree" };
  const policies = { code: "network-policies", group, name: "no NetworkPolicy would be in the way of tunnels" };
  const crds = { code: "crd-owner", group, name: "the policy CRDs are free, or ours to share" };
  return [
    await looked(recent, async () => {
      const answer = await api.call({ method: "GET", path: "/version" }, signal);
      const { major, minor, gitVersion } = versionSchema.parse(answer);
      const old = major === "1" && Number.parseInt(minor, 10) < oldestMinor ? [gitVersion] : [];
      return checkOf(recent, "failure", old, `1.${oldestMinor} is the oldest`, gitVersion);
    }),
    await looked(rights, async () => {
      const denied: string[] = [];
      for (const [apiGroup, resource] of made)
        if (!(await mayCreate(api, meshNamespace, { apiGroup, resource }, signal))) denied.push(`create ${resource}`);
      return checkOf(rights, "failure", denied, "ask for cluster-admin for the time of the installation");
    }),
    await looked(meshes, async () => {
      const sets = await items("/apis/apps/v1/daemonsets");
      const others = sets.flatMap(({ metadata: { name, namespace } }) => {
        const what = meshAgents.get(name);
        return what === undefined ? [] : [`${what} (DaemonSet ${namespace ?? ""}/${name})`];
      });
      return checkOf(meshes, "warning", others, "a namespace may be in one mesh only: see docs/migration.md");
    }),
    await looked(cilium, async () => {
      const [config] = (await items("/api/v1/namespaces/kube-system/configmaps")).filter(
        ({ metadata }) => metadata.name === "cilium-config",
      );
      const data = config?.data ?? {};
      const wrong = [
        ...(config !== undefined && data["cni-exclusive"] !== "false" ? ["cni-exclusive is not false"] : []),
        ...(data["kube-proxy-replacement"] === "true" && data["bpf-lb-sock-hostns-only"] !== "true"
          ? ["bpf-lb-sock-hostns-only is not true"]
          : []),
      ];
      return checkOf(
        cilium,
        "warning",
        wrong,
        "Cilium removes other CNI plugins' files, and resolves Services before we see them",
      );
    }),
    await looked(security, async () => {
      const there = (await items("/api/v1/namespaces")).find(({ metadata }) => metadata.name === meshNamespace);
      const level = there?.metadata.labels?.["pod-security.kubernetes.io/enforce"];
      const wrong =
        there !== undefined && level !== undefined && level !== "privileged" ? [`it enforces ${level}`] : [];
      return checkOf(
        security,
        "failure",
        wrong,
        `label ${meshNamespace} pod-security.kubernetes.io/enforce=privileged; applications' namespaces may stay restricted`,
      );
    }),
    await looked(windows, async () => {
      const nodes = await items("/api/v1/nodes");
      const others = nodes.filter(({ metadata }) => (metadata.labels?.["kubernetes.io/os"] ?? "linux") !== "linux");
      return checkOf(
        windows,
        "warning",
        others.map(({ metadata }) => metadata.name),
        "pods there stay outside the mesh",
        counted(nodes.length, "node"),
      );
    }),
    await looked(hostNetwork, async () => {
      const pods = (await items("/api/v1/pods")).filter(
        ({ metadata, spec }) =>
          spec?.hostNetwork === true && metadata.namespace !== "kube-system" && metadata.namespace !== meshNamespace,
      );
      const names = pods.map(({ metadata }) => `${metadata.namespace ?? ""}/${metadata.name}`);
      return checkOf(
        hostNetwork,
        "warning",
        names,
        "they can't be enrolled and go on in plaintext; STRICT refuses them",
      );
    }),
    await looked(clocks, async () => clockCheck(clocks, await clockFacts(api, signal))),
    await looked(policies, async () => {
      const blocked = await blockedTunnels(api, meshNamespace, signal);
      return checkOf(
        policies,
        "warning",
        blocked,
        "before their pods are enrolled: allow TCP 15008 to and from them, beside the application's ports",
      );
    }),
    await looked(crds, async () => {
      const all = await items("/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
      const owned = all.flatMap(({ metadata, spec }) => {
        const owner = metadata.labels?.["app.kubernetes.io/part-of"] ?? metadata.labels?.["release"] ?? "";
        return spec?.group === "security.istio.io" && owner !== "warren"
          ? [`${metadata.name} is ${owner === "" ? "somebody else's" : `${owner}'s`}`]
          : [];
      });
      return checkOf(
        crds,
        "warning",
        owned,
        "install with the CRDs left out: theirs serve, and their owner upgrades them",
      );
    }),
  ];
}

/** As control would find it if every application's pod were enrolled. */
async function blockedTunnels(api: KubernetesApi, meshNamespace: string, signal: AbortSignal): Promise<string[]> {
  const kinds = new Set(["Namespace", "Pod", "NetworkPolicy"]);
  const live = (await listCluster(api, signal, kinds)).map((object) => ({ live: object }));
  const { view } = readCluster(live, [], { settings: settingsOf({ meshNamespace }), defaultNamespace: "default" });
  const applications = [...view.workloads()].filter(
    ({ namespace, hostNetwork }) => !hostNetwork && namespace !== "kube-system" && namespace !== meshNamespace,
  );
  const found = clusterFindings({
    workloads: () => applications.map((workload) => ({ ...workload, tunnel: "hbone" as const })),
    networkPoliciesOf: (workload) => view.networkPoliciesOf(workload),
  });
  return [...new Set(found.map(({ object, message }) => `${object}: ${message}`))];
}

async function mayCreate(
  api: KubernetesApi,
  meshNamespace: string,
  { apiGroup, resource }: { readonly apiGroup: string; readonly resource: string },
  signal: AbortSignal,
): Promise<boolean> {
  const namespaced = !["namespaces", "clusterroles", "clusterrolebindings", "customresourcedefinitions"].includes(
    resource,
  );
  const resourceAttributes = {
    verb: "create",
    group: apiGroup,
    resource,
    ...(namespaced ? { namespace: meshNamespace } : {}),
  };
  const body = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes } };
  const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
  const answer = await api.call({ method: "POST", path, body }, signal);
  return z.looseObject({ status: z.looseObject({ allowed: z.boolean() }) }).parse(answer).status.allowed;
}
