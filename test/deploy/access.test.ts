/** Rights on the Kubernetes API, as the manifests grant them: what each part needs is allowed, and everything else is not. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { watchedKinds } from "../../src/control/kubernetes/watched-kinds.ts";
import { ApiCalls } from "../support/kubernetes-api/calls.ts";
import { type Cluster, clusterKinds, clusterTimeout } from "../support/kubernetes-api/cluster.ts";
import type { DraftObject } from "../support/kubernetes-api/objects.ts";

const namespace = "warren-system";
const deploy = fileURLToPath(new URL("../../deploy/", import.meta.url));
/** Of the manifests, what says who may do what. */
const accessKinds = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

type Call = readonly [method: string, path: string, body?: object];

const watches = watchedKinds.map(({ apiVersion, plural }): Call => {
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return ["GET", `${root}/${plural}`];
});
const secrets = `/api/v1/namespaces/${namespace}/secrets`;
const configMaps = `/api/v1/namespaces/${namespace}/configmaps`;
const leases = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
const named = (name: string) => `?fieldSelector=metadata.name%3D${name}`;
const metadata = (name: string) => ({ metadata: { name, namespace } });

const controlMay: readonly Call[] = [
  ...watches,
  ["GET", `${secrets}/warren-ca`],
  ["GET", `${secrets}${named("warren-ca")}`],
  ["GET", `${secrets}/cacerts`],
  ["GET", `${configMaps}${named("warren-ca-root")}`],
  ["GET", `${leases}/warren-control`],
  ["POST", leases, { apiVersion: "coordination.k8s.io/v1", kind: "Lease", ...metadata("warren-control") }],
  ["POST", secrets, { apiVersion: "v1", kind: "Secret", ...metadata("warren-ca") }],
  ["POST", configMaps, { apiVersion: "v1", kind: "ConfigMap", ...metadata("warren-ca-root") }],
  [
    "POST",
    "/apis/authentication.k8s.io/v1/tokenreviews",
    { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token: "none" } },
  ],
];

const controlMayNot: readonly Call[] = [
  ["GET", secrets],
  ["GET", "/api/v1/secrets"],
  ["GET", `${secrets}/somebody-elses`],
  ["GET", "/api/v1/namespaces/default/secrets"],
  ["DELETE", `${secrets}/warren-ca`],
  ["DELETE", `${secrets}/cacerts`],
  ["GET", configMaps],
  ["DELETE", "/api/v1/namespaces/default/pods/any"],
  ["PATCH", "/api/v1/namespaces/default/pods/any", { metadata: { labels: { a: "b" } } }],
  ["PATCH", "/api/v1/namespaces/default", { metadata: { labels: { "warren.dev/mode": "ambient" } } }],
  [
    "PATCH",
    "/apis/security.istio.io/v1/namespaces/default/peerauthentications/any",
    { spec: { mtls: { mode: "DISABLE" } } },
  ],
  ["POST", `/api/v1/namespaces/${namespace}/serviceaccounts/warren-node/token`, {}],
];

async function installed(start: () => Promise<Cluster>): Promise<Cluster> {
  const cluster = await start();
  await cluster.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
  for (const path of ["control.yaml", "operators.yaml", "daemonset.yaml"]) {
    const documents = parseAllDocuments(await readFile(`${deploy}${path}`, "utf8"));
    for (const document of "empty" in documents ? [] : documents) {
      const object = document.toJS() as DraftObject | null;
      if (object !== null && accessKinds.includes(object.kind)) await cluster.apply(object);
    }
  }
  return cluster;
}

/** An API client that is a service account of Warren's namespace. */
async function as(cluster: Cluster, account: string): Promise<ApiCalls> {
  const admin = new ApiCalls(cluster.url, cluster.root, cluster.adminToken);
  const { code, body } = await admin.call("POST", `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`, {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    spec: { expirationSeconds: 3600 },
  });
  expect(code).toBe(201);
  return new ApiCalls(cluster.url, cluster.root, (body["status"] as { token: string }).token);
}

async function forbidden(api: ApiCalls, calls: readonly Call[]): Promise<string[]> {
  const refused: string[] = [];
  for (const [method, path, body] of calls) {
    const { code } = await api.call(method, path, body);
    if (code === 403) refused.push(`${method} ${path}`);
  }
  return refused;
}

describe.each(clusterKinds)("on $name, the manifests", clusterTimeout, ({ start }) => {
  it("let control do what it does and nothing else", async () => {
    const control = await as(await installed(start), "warren-control");
    expect(await forbidden(control, controlMay)).toEqual([]);
    expect(await forbidden(control, controlMayNot)).toEqual(controlMayNot.map(([method, path]) => `${method} ${path}`));
  });

  it("let agents and operators' tokens do nothing with the API", async () => {
    const cluster = await installed(start);
    for (const account of ["warren-node", "warren-operator"]) {
      const calls = [...controlMay.filter(([method]) => method === "GET"), ...controlMayNot];
      expect(await forbidden(await as(cluster, account), calls)).toEqual(
        calls.map(([method, path]) => `${method} ${path}`),
      );
    }
  });
});
