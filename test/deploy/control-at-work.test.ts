/**
 * Control with the account and the rights that the manifests give it, doing all that it does with the Kubernetes API: on the double, where
 * each of its requests is seen, and on a real API server with Kubernetes' own authorizer, tokens and CEL.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { AuthorityClient } from "../../src/cli/ca/authority-client.ts";
import { MeshClient } from "../../src/cli/query/mesh-client.ts";
import { controlConfigSchema } from "../../src/control/config.ts";
import { Control } from "../../src/control/control.ts";
import { operatorAudience } from "../../src/control/kubernetes/operator-review.ts";
import { controlParts } from "../../src/control/parts.ts";
import { CaClient } from "../../src/identity/ca-client.ts";
import { createCertificateRequest } from "../../src/identity/certificate-request.ts";
import { createWorkloadKey } from "../../src/identity/key.ts";
import { formatIdentity } from "../../src/identity/spiffe.ts";
import { loadConfig } from "../../src/lib/config.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { podObject, policyObject } from "../manifests/objects.ts";
import { ApiCalls } from "../support/kubernetes-api/calls.ts";
import {
  type Cluster,
  clusterKinds,
  clusterTimeout,
  kubeconfig,
  startApiServer,
} from "../support/kubernetes-api/cluster.ts";
import type { DraftObject } from "../support/kubernetes-api/objects.ts";
import { plugInFiles, plugInSecret } from "../support/kubernetes-api/plug-in-secret.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { objectsIn } from "./kubernetes-objects.ts";

const namespace = "warren-system";
const deploy = fileURLToPath(new URL("../../deploy/", import.meta.url));
const accessKinds = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
const rootName = "warren-ca-root";
const eventually = { timeout: 60_000, interval: 50 };

const draft = (object: object) => object as unknown as DraftObject;
const pod = (name: string, home: string, serviceAccountName: string, ip: string) =>
  draft(
    podObject({
      name,
      namespace: home,
      ips: [ip],
      spec: { serviceAccountName, nodeName: "w1", containers: [{ name: "main", image: "any" }] },
    }),
  );

/** A token of an account of Warren's namespace, as the kubelet or a person asks for it. */
async function tokenOf(cluster: Cluster, account: string, spec: object = {}): Promise<string> {
  const admin = new ApiCalls(cluster.url, cluster.root, cluster.adminToken);
  const { code, body } = await admin.call("POST", `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`, {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    spec: { expirationSeconds: 3600, ...spec },
  });
  expect(code).toBe(201);
  return (body["status"] as { token: string }).token;
}

/** The manifests' accounts and rights, one node with an enrolled pod and the agent's, and a policy that cannot be enforced. */
async function fill(cluster: Cluster): Promise<void> {
  await cluster.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
  for (const path of ["control.yaml", "operators.yaml", "daemonset.yaml"]) {
    const access = objectsIn(await readFile(`${deploy}${path}`, "utf8")).filter(({ kind }) =>
      accessKinds.includes(kind),
    );
    await cluster.apply(...access.map(draft));
  }
  await cluster.apply(
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop", labels: { "warren.dev/mode": "ambient" } } },
    { apiVersion: "v1", kind: "Node", metadata: { name: "w1" } },
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "api", namespace: "shop" } },
    pod("api", "shop", "api", "10.0.0.1"),
    pod("agent", namespace, "warren-node", "10.0.0.250"),
    draft(
      policyObject("AuthorizationPolicy", "odd", {
        targetRefs: [{ group: "", kind: "Service", name: "missing" }],
        rules: [{}],
      }),
    ),
  );
}

async function startControl(cluster: Cluster): Promise<{ readonly port: number; readonly said: readonly string[] }> {
  const token = await tokenOf(cluster, "warren-control");
  const { value: config } = await loadConfig(controlConfigSchema, {
    args: [
      `--kubernetes-config=${await kubeconfig(cluster, { token })}`,
      "--listen=127.0.0.1:0",
      "--admin=127.0.0.1:0",
      "--drain-deadline=100ms",
    ],
    environment: {},
  });
  const said: string[] = [];
  const sink = { write: (line: string) => void said.push(line), dropped: 0, close: () => Promise.resolve() };
  const log = createLog(sink, { level: "debug", format: "json" });
  const control = new Control(await controlParts(config, log), config);
  onTestFinished(() => control.stop());
  const { port } = await control.start(AbortSignal.timeout(60_000));
  return { port, said };
}

async function publishedRoot(cluster: Cluster): Promise<string> {
  const { data } = ((await cluster.get("v1", "ConfigMap", namespace, rootName)) ?? {}) as {
    data?: { "root-cert.pem"?: string };
  };
  return data?.["root-cert.pem"] ?? "";
}

/** What an agent does: it trusts the published root, shows its pod's token, and asks for certificates. */
async function startAgent(cluster: Cluster, port: number) {
  const root = () => publishedRoot(cluster);
  await expect.poll(root, eventually).toContain("BEGIN CERTIFICATE");
  const folder = await temporaryFolder();
  const [rootFile, tokenFile] = [join(folder, "root.pem"), join(folder, "token")];
  await writeFile(rootFile, await root());
  const uid = (await cluster.get("v1", "Pod", namespace, "agent"))?.metadata.uid;
  const boundObjectRef = { apiVersion: "v1", kind: "Pod", name: "agent", uid };
  await writeFile(tokenFile, await tokenOf(cluster, "warren-node", { audiences: ["warren-control"], boundObjectRef }));
  const client = new CaClient({
    address: `127.0.0.1:${port}`,
    rootFile,
    tokenFile,
    serverName: "",
    cluster: "Kubernetes",
    timeoutMs: 30_000,
  });
  onTestFinished(() => client.stop());
  return async (serviceAccount: string) => {
    const identity = formatIdentity({ trustDomain: "cluster.local", namespace: "shop", serviceAccount });
    const request = await createCertificateRequest(identity, await createWorkloadKey());
    return client.createCertificate({ identity, lifetimeMs: 0, request }, AbortSignal.timeout(60_000));
  };
}

/** Everything that control does for a mesh, seen in the cluster. */
async function work(cluster: Cluster): Promise<readonly string[]> {
  const admin = new ApiCalls(cluster.url, cluster.root, cluster.adminToken);
  await fill(cluster);
  const { port, said } = await startControl(cluster);
  const ask = await startAgent(cluster, port);
  // Leaf, intermediate, root: the agent was known by its token, and the pod by control's watches.
  expect(await ask("api")).toHaveLength(3);
  await expect(ask("ghost")).rejects.toMatchObject({ code: "MESH_CA_REFUSED" });
  expect(await cluster.get("v1", "Secret", namespace, "warren-ca")).toBeDefined();
  const status = async () =>
    (await cluster.get("security.istio.io/v1", "AuthorizationPolicy", "shop", "odd"))?.["status"];
  await expect
    .poll(status, eventually)
    .toMatchObject({ conditions: [{ type: "Accepted", status: "False", reason: "WP114" }] });
  const events = async () => (await admin.call("GET", "/apis/events.k8s.io/v1/namespaces/shop/events")).body["items"];
  await expect.poll(events, eventually).toMatchObject([{ reason: "WP114", regarding: { name: "odd" } }]);
  expect(await revoke(cluster, port)).toEqual([]);
  // What somebody breaks in what was published is mended.
  const lost = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: rootName, namespace },
    data: { "root-cert.pem": "" },
  };
  await admin.call(
    "PATCH",
    `/api/v1/namespaces/${namespace}/configmaps/${rootName}`,
    lost,
    "application/merge-patch+json",
  );
  await expect.poll(() => publishedRoot(cluster), eventually).toContain("BEGIN CERTIFICATE");
  return said;
}

/** As an operator whose token is meant for control; the nodes that did not confirm. */
async function revoke(cluster: Cluster, port: number): Promise<readonly string[]> {
  const token = await tokenOf(cluster, "warren-operator", { audiences: [operatorAudience] });
  const target = { address: `127.0.0.1:${port}`, token, root: await publishedRoot(cluster), serverName: "" };
  const mesh = new MeshClient({
    targets: [target],
    namespace: "shop",
    origin: "the test",
    ground: { kind: "control" },
    close: () => Promise.resolve(),
  });
  onTestFinished(() => mesh.close());
  const identity = formatIdentity({ trustDomain: "cluster.local", namespace: "shop", serviceAccount: "gone" });
  return (await new AuthorityClient(mesh).revoke([], [identity], AbortSignal.timeout(60_000))).unaskedNodes;
}

describe.each(clusterKinds)("on $name, control with the rights of the manifests", clusterTimeout, ({ start }) => {
  it("keeps its authority, knows agents, issues, publishes, and writes status and Events", async () => {
    const said = await work(await start());
    expect(said.filter((line) => /forbidden|may not/i.test(line))).toEqual([]);
    expect(said.join("\n")).not.toContain("PRIVATE KEY");
  });
});

it("control uses each right that it has on the double, and is refused nothing", clusterTimeout, async () => {
  const server = await startApiServer();
  const cluster = new ApiCalls(server.url, server.root, server.adminToken);
  await work(cluster);
  // What the CRD would have refused, and a kind of policy of its own.
  await cluster.apply(draft(policyObject("PeerAuthentication", "bad", { mtls: { mode: "x" } })));
  // With certificates that somebody brought, which have an account of their own to be read by.
  const brought = await startApiServer();
  const house = new ApiCalls(brought.url, brought.root, brought.adminToken);
  const { files } = await plugInFiles();
  await house.apply(
    { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } },
    plugInSecret(namespace, files),
  );
  await fill(house);
  await startControl(house);

  const rights = await rightsOfControl();
  expect(rights.length).toBeGreaterThan(30);
  const asked = () => [...server.requests, ...brought.requests].filter(({ user }) => user.endsWith(":warren-control"));
  const used = () =>
    new Set(
      asked().flatMap(({ verb, plural, subresource, name, query }) => {
        const resource = subresource === "" ? plural : `${plural}/${subresource}`;
        const chosen = /^metadata\.name=(.+)$/.exec(query["fieldSelector"] ?? "")?.[1] ?? name;
        return [`${verb} ${resource}`, `${verb} ${resource} ${chosen}`];
      }),
    );
  await expect.poll(() => rights.filter((right) => !used().has(right)), eventually).toEqual([]);
  expect(asked().filter(({ code }) => code === 401 || code === 403)).toEqual([]);
});

/** `verb resource`, with the name behind it where one is named. */
async function rightsOfControl(): Promise<readonly string[]> {
  const roles = objectsIn(await readFile(`${deploy}control.yaml`, "utf8")).filter(({ kind }) => kind.endsWith("Role"));
  const rules = roles.flatMap((role) => (role as unknown as { rules: Rule[] }).rules);
  return rules.flatMap(({ verbs, resources, resourceNames }) =>
    verbs.flatMap((verb) =>
      resources.flatMap((resource) =>
        resourceNames === undefined
          ? [`${verb} ${resource}`]
          : resourceNames.map((name) => `${verb} ${resource} ${name}`),
      ),
    ),
  );
}

interface Rule {
  readonly verbs: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
}
