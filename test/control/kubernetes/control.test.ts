import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { MeshClient } from "../../../src/cli/query/mesh-client.ts";
import { controlConfigSchema } from "../../../src/control/config.ts";
import { Control } from "../../../src/control/control.ts";
import { openOperatorTunnel } from "../../../src/control/kubernetes/operator-tunnel.ts";
import { controlParts } from "../../../src/control/parts.ts";
import { CaClient } from "../../../src/identity/ca-client.ts";
import { createCertificateRequest } from "../../../src/identity/certificate-request.ts";
import { createWorkloadKey } from "../../../src/identity/key.ts";
import { formatIdentity } from "../../../src/identity/spiffe.ts";
import { loadConfig } from "../../../src/lib/config.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { podObject, policyObject } from "../../manifests/objects.ts";
import type { ApiServer } from "../../support/kubernetes-api/api-server.ts";
import { ApiCalls } from "../../support/kubernetes-api/calls.ts";
import { kubeconfig, startApiServer } from "../../support/kubernetes-api/cluster.ts";
import type { DraftObject } from "../../support/kubernetes-api/objects.ts";
import { plugInFiles, plugInSecret } from "../../support/kubernetes-api/plug-in-secret.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { until } from "./support.ts";

const namespace = "warren-system";
const pod = (input: Parameters<typeof podObject>[0]) => podObject(input) as unknown as DraftObject;

/** A cluster of one node with one enrolled pod, the agent's pod and its account. */
async function cluster() {
  const server = await startApiServer();
  const account = (name: string) => ({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name, namespace } });
  server.apply(
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop", labels: { "warren.dev/mode": "ambient" } } },
    account("warren-node"),
    pod({ name: "api", spec: { serviceAccountName: "api", nodeName: "w1" } }),
    pod({ name: "agent", namespace, spec: { serviceAccountName: "warren-node", nodeName: "w1" }, ips: ["10.0.0.250"] }),
  );
  return server;
}

async function controlOn(
  server: ApiServer & { readonly adminToken: string },
  flags: readonly string[] = [],
  token = server.adminToken,
) {
  const folder = await temporaryFolder();
  const { value: config } = await loadConfig(controlConfigSchema, {
    args: [
      `--kubernetes-config=${await kubeconfig(server, { token })}`,
      "--listen=127.0.0.1:0",
      "--admin=127.0.0.1:0",
      "--drain-deadline=100ms",
      ...flags,
    ],
    environment: {},
  });
  const lines: { readonly message: string; readonly [field: string]: unknown }[] = [];
  const sink = {
    write: (line: string) => void lines.push(JSON.parse(line) as { message: string }),
    dropped: 0,
    close: () => Promise.resolve(),
  };
  const log = createLog(sink, { level: "debug", format: "json" });
  const control = new Control(await controlParts(config, log), config);
  onTestFinished(() => control.stop());
  const { port, adminPort } = await control.start(AbortSignal.timeout(30_000));
  return { control, port, adminPort, lines, folder };
}

/** The status that one call with this token gets. */
async function codeOf(server: ApiServer, token: string, method: string, path: string): Promise<number> {
  const calls = new ApiCalls(server.url, server.root, token);
  return (await calls.call(method, path, method === "POST" ? {} : undefined)).code;
}

const publishedRoot = (server: ApiServer) =>
  (
    server.object("v1", "ConfigMap", namespace, "warren-ca-root")?.["data"] as { "root-cert.pem"?: string } | undefined
  )?.["root-cert.pem"];

async function agentOn(server: ApiServer, folder: string, port: number) {
  await mkdir(folder, { recursive: true });
  const [rootFile, tokenFile] = [join(folder, "root.pem"), join(folder, "token")];
  await expect.poll(() => publishedRoot(server), until).toContain("BEGIN CERTIFICATE");
  await writeFile(rootFile, publishedRoot(server) ?? "");
  const token = server.tokens.forServiceAccount(namespace, "warren-node", {
    audiences: ["warren-control"],
    pod: "agent",
  });
  await writeFile(tokenFile, token);
  const client = new CaClient({
    address: `127.0.0.1:${port}`,
    rootFile,
    tokenFile,
    serverName: "",
    cluster: "Kubernetes",
    timeoutMs: 10_000,
  });
  onTestFinished(() => client.stop());
  const ask = async (serviceAccount: string) => {
    const identity = formatIdentity({ trustDomain: "cluster.local", namespace: "shop", serviceAccount });
    const request = await createCertificateRequest(identity, await createWorkloadKey());
    return await client.createCertificate({ identity, lifetimeMs: 0, request }, AbortSignal.timeout(30_000));
  };
  return { ask, token };
}

test("on a cluster, control keeps its authority in a Secret, publishes its root and gives an agent what its node's pods may have", async () => {
  const server = await cluster();
  const { port, adminPort, lines, folder } = await controlOn(server);
  const { ask, token } = await agentOn(server, folder, port);
  const [, , root] = await ask("api");
  expect(root?.trim()).toBe(publishedRoot(server)?.trim());
  await expect(ask("ghost")).rejects.toMatchObject({ code: "MESH_CA_REFUSED" });
  expect(server.object("v1", "Secret", namespace, "warren-ca")).toBeDefined();
  server.delete("v1", "ConfigMap", namespace, "warren-ca-root");
  await expect.poll(() => publishedRoot(server)?.trim(), until).toBe(root?.trim());
  server.apply(policyObject("PeerAuthentication", "bad", { mtls: { mode: "x" } }) as unknown as DraftObject);
  const status = () => server.object("security.istio.io/v1", "PeerAuthentication", "shop", "bad")?.["status"];
  await expect.poll(status, until).toMatchObject({ conditions: [{ type: "Accepted", status: "False" }] });
  const described = await (await fetch(`http://127.0.0.1:${adminPort}/platform`)).json();
  expect(described).toMatchObject({
    kind: "kubernetes",
    leading: true,
    watches: { Pod: { kind: "watching", objects: 2 }, PeerAuthentication: { kind: "watching", objects: 1 } },
    problems: [{ object: "PeerAuthentication shop/bad", field: "spec.mtls.mode" }],
  });
  const metrics = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  for (const line of [
    'warren_kubernetes_watch_up{kind="AuthorizationPolicy"} 1',
    'warren_kubernetes_watch_objects{kind="Pod"} 2',
    "warren_kubernetes_object_problems 1",
    "warren_control_leading 1",
  ]) {
    expect(metrics).toContain(line);
  }
  expect(JSON.stringify(lines)).not.toContain(token);
  expect(JSON.stringify(lines)).not.toContain("PRIVATE KEY");
});

test("the rights that deploy/control.yaml gives are enough for all of it, and not one call is refused", async () => {
  const server = await cluster();
  server.applyYaml(await readFile(new URL("../../../deploy/control.yaml", import.meta.url), "utf8"));
  const own = server.tokens.forServiceAccount(namespace, "warren-control");
  const { port, folder } = await controlOn(server, [], own);
  const { ask } = await agentOn(server, folder, port);
  expect(await ask("api")).toHaveLength(3);
  // From an API server that does not tell the node, too.
  const old = server.tokens.forServiceAccount(namespace, "warren-node", {
    audiences: ["warren-control"],
    pod: "agent",
    tellsNode: false,
  });
  await writeFile(join(folder, "token"), old);
  expect(await ask("api")).toHaveLength(3);
  server.apply(policyObject("PeerAuthentication", "bad", { mtls: { mode: "x" } }) as unknown as DraftObject);
  const status = () => server.object("security.istio.io/v1", "PeerAuthentication", "shop", "bad")?.["status"];
  await expect.poll(status, until).toMatchObject({ conditions: [{ type: "Accepted", status: "False" }] });
  await expect.poll(() => server.requests.filter(({ plural }) => plural === "events").length, until).toBe(1);
  const root = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "warren-ca-root", namespace }, data: {} };
  server.apply(root);
  await expect.poll(() => publishedRoot(server), until).toContain("BEGIN CERTIFICATE");
  const controls = server.requests.filter(({ user }) => user.endsWith(":warren-control"));
  expect(controls.length).toBeGreaterThan(20);
  expect(controls.filter(({ code }) => code === 401 || code === 403)).toEqual([]);
  // Whoever has the same rights gets no further: no other Secret, no write to what it only reads.
  for (const [method, path] of [
    ["GET", "/api/v1/namespaces/warren-system/secrets"],
    ["GET", "/api/v1/secrets"],
    ["GET", "/api/v1/namespaces/shop/secrets/any"],
    ["DELETE", "/api/v1/namespaces/shop/pods/api"],
    ["DELETE", "/api/v1/namespaces/warren-system/secrets/warren-ca"],
    ["POST", "/api/v1/namespaces/warren-system/serviceaccounts/warren-node/token"],
    ["DELETE", "/apis/security.istio.io/v1/namespaces/shop/peerauthentications/bad"],
  ] as const) {
    expect([method, path, await codeOf(server, own, method, path)]).toEqual([method, path, 403]);
  }
});

test("a person reaches both replicas through the cluster's API, and may what the roles of deploy/operators.yaml say", async () => {
  const server = await cluster();
  const [first, second] = await Promise.all([controlOn(server), controlOn(server)]);
  for (const [name, { port }] of Object.entries({ "control-0": first, "control-1": second })) {
    server.apply(pod({ name, namespace, labels: { "app.kubernetes.io/name": "warren-control" } }));
    server.portForwards.listen(namespace, name, 15012, port);
  }
  await expect.poll(() => publishedRoot(server), until).toContain("BEGIN CERTIFICATE");
  server.apply({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "warren-operator", namespace } });
  const file = await kubeconfig(server, { token: server.adminToken });
  const meshOf = async () => {
    const tunnel = await openOperatorTunnel({ kubeconfig: file }, AbortSignal.timeout(30_000));
    const mesh = new MeshClient({
      ...tunnel,
      ground: { kind: "kubernetes", context: undefined, meshNamespace: namespace },
      close: () => tunnel.close(),
    });
    onTestFinished(() => mesh.close());
    return mesh;
  };
  // Known, and without a role.
  const refused = await (await meshOf()).controls(AbortSignal.timeout(30_000)).catch((error: unknown) => error);
  expect(String(refused)).not.toBe("");
  expect(refused).toBeInstanceOf(Error);
  const why = [...first.lines, ...second.lines].map((line) => JSON.stringify(line)).join("\n");
  expect(why).toMatch(/warren-operator may not get agents\.warren\.dev/);
  server.applyYaml(await readFile(new URL("../../../deploy/operators.yaml", import.meta.url), "utf8"));
  const mesh = await meshOf();
  const controls = await mesh.controls(AbortSignal.timeout(30_000));
  expect(controls).toHaveLength(2);
  const view = await mesh.mesh(AbortSignal.timeout(30_000));
  expect([...view.workloads()].map(({ name }) => name).sort()).toContain("api");
});

test("two replicas have one authority, one of them writes, and either may go", async () => {
  const server = await cluster();
  const [first, second] = await Promise.all([controlOn(server), controlOn(server)]);
  const [one, other] = [
    await agentOn(server, join(first.folder, "one"), first.port),
    await agentOn(server, join(first.folder, "other"), second.port),
  ];
  expect((await one.ask("api"))[2]).toBe((await other.ask("api"))[2]);
  await first.control.stop();
  expect(await other.ask("api")).toHaveLength(3);
  server.delete("v1", "ConfigMap", namespace, "warren-ca-root");
  await expect.poll(() => publishedRoot(server), until).toContain("BEGIN CERTIFICATE");
});

test("control waits for an API that is away, and says so", async () => {
  const server = await cluster();
  server.faults.add({ verb: "get", plural: "secrets", times: 2 }, { kind: "reset" });
  const { lines } = await controlOn(server);
  expect(lines.map(({ message }) => message).join("\n")).toMatch(/waiting for the Kubernetes API/);
});

test("certificates in a Secret cacerts are signed with, and their root is published", async () => {
  const server = await cluster();
  const { rootPem, files } = await plugInFiles();
  server.apply(plugInSecret(namespace, files));
  const { port, folder } = await controlOn(server);
  const { ask } = await agentOn(server, folder, port);
  expect((await ask("api")).at(-1)?.trim()).toBe(rootPem.trim());
  expect(publishedRoot(server)?.trim()).toBe(rootPem.trim());
});

test("a Secret cacerts that is not whole stops the start by name: nothing signs in its place", async () => {
  const server = await cluster();
  const { files } = await plugInFiles();
  const { "ca-key.pem": _left, ...rest } = files;
  server.apply(plugInSecret(namespace, rest));
  await expect(controlOn(server)).rejects.toMatchObject({
    code: "MESH_PLUG_IN_UNUSABLE",
    message: expect.stringMatching(/Secret warren-system\/cacerts .*ca-key\.pem/) as string,
  });
  expect(server.object("v1", "Secret", namespace, "warren-ca")).toBeUndefined();
  expect(publishedRoot(server)).toBeUndefined();
});

test("an account that agents are said to have and that does not exist is told", async () => {
  const server = await cluster();
  const { lines } = await controlOn(server, ["--kubernetes-trusted-accounts=warren-system/waren-node"]);
  expect(lines.find(({ message }) => /does not exist: agents will be refused/.test(message))).toMatchObject({
    account: "warren-system/waren-node",
  });
});

test.each([
  [
    ["--manifests=/m", "--state=/s", "--node-tokens=/t", "--kubernetes-config=in-cluster"],
    ["manifests", "state", "nodeTokens"],
  ],
  [[], ["manifests", "state", "nodeTokens"]],
  [["--manifests=/m"], ["state", "nodeTokens"]],
  [["--kubernetes-config=in-cluster", "--state=/s"], ["state"]],
  [["--kubernetes-config=in-cluster", "--kubernetes-trusted-accounts=warren-node"], ["kubernetes.trustedAccounts"]],
])("%j is refused, naming %j", async (args, keys) => {
  const failed = await loadConfig(controlConfigSchema, { args, environment: {} }).catch((error: unknown) => error);
  const { problems } = failed as { problems: { key: string }[] };
  expect([...new Set(problems.map(({ key }) => key.replace(/\.\d+$/, "")))].sort()).toEqual([...keys].sort());
});

test("control's own image of the client is the only one: no other file imports it", async () => {
  const { execFileSync } = await import("node:child_process");
  const source = new URL("../../../src", import.meta.url).pathname;
  const found = execFileSync(
    "grep",
    ["-rlE", 'from "@kubernetes/client-node|import\\("@kubernetes/client-node', source],
    { encoding: "utf8" },
  );
  expect(
    found
      .trim()
      .split("\n")
      .map((file) => file.slice(source.length)),
  ).toEqual(["/control/kubernetes/api-client.ts"]);
  expect(await readFile(join(source, "control/kubernetes/api-client.ts"), "utf8")).toContain("@kubernetes/client-node");
});
