import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { operatorAudience } from "../../../src/control/kubernetes/operator-review.ts";
import { openOperatorTunnel } from "../../../src/control/kubernetes/operator-tunnel.ts";
import { podObject } from "../../manifests/objects.ts";
import { kubeconfig, startApiServer } from "../../support/kubernetes-api/cluster.ts";
import type { DraftObject } from "../../support/kubernetes-api/objects.ts";

const namespace = "warren-system";
const soon = () => AbortSignal.timeout(30_000);

const controlPod = (name: string, ready = true) =>
  podObject({
    name,
    namespace,
    labels: { "app.kubernetes.io/name": "warren-control" },
    ready,
  }) as unknown as DraftObject;

/** A control that answers every line with its name and the line. */
async function echo(name: string): Promise<number> {
  const server = createServer((socket) => {
    socket.on("error", () => {}).on("data", (data) => socket.write(`${name}: ${data.toString()}`));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

async function cluster() {
  const server = await startApiServer();
  server.apply(
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "warren-operator", namespace } },
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "warren-ca-root", namespace },
      data: { "root-cert.pem": "the root" },
    },
    controlPod("control-0"),
    controlPod("control-1"),
    controlPod("control-2", false),
  );
  for (const pod of ["control-0", "control-1"]) server.portForwards.listen(namespace, pod, 15012, await echo(pod));
  return server;
}

/** What comes back first, or how it ended. */
function ask(address: string, text: string): Promise<string> {
  const [host = "", port = ""] = address.split(":");
  const socket = connect(Number(port), host);
  onTestFinished(() => void socket.destroy());
  return new Promise((resolve) => {
    socket.on("data", (data) => resolve(data.toString()));
    // An end and a reset are both an end here.
    socket.on("error", () => resolve("closed")).on("close", () => resolve("closed"));
    socket.write(text);
  });
}

const withRole = (server: Awaited<ReturnType<typeof cluster>>, rules: object[]) => {
  server.apply(
    { apiVersion: "rbac.authorization.k8s.io/v1", kind: "Role", metadata: { name: "r", namespace }, rules },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "RoleBinding",
      metadata: { name: "r", namespace },
      roleRef: { kind: "Role", name: "r" },
      subjects: [{ kind: "User", name: "jane" }],
    },
  );
};

const looking = [
  { apiGroups: [""], resources: ["pods", "configmaps"], verbs: ["get", "list"] },
  { apiGroups: [""], resources: ["pods/portforward"], verbs: ["create"] },
];

test("leads to every ready pod of control, with its roots and a token made for it alone", async () => {
  const server = await cluster();
  const file = await kubeconfig(server, { token: server.adminToken });
  const tunnel = await openOperatorTunnel({ kubeconfig: file, context: "test" }, soon());
  onTestFinished(() => tunnel.close());
  expect(tunnel).toMatchObject({ namespace: "default", origin: "context test" });
  expect(tunnel.targets.map(({ root, serverName }) => ({ root, serverName }))).toEqual([
    { root: "the root", serverName: "" },
    { root: "the root", serverName: "" },
  ]);
  const answers = await Promise.all(tunnel.targets.map(({ address }) => ask(address, "hello")));
  expect(answers.sort()).toEqual(["control-0: hello", "control-1: hello"]);
  // One port, any number of connections.
  expect(await ask(tunnel.targets[0]?.address ?? "", "again")).toMatch(/^control-\d: again$/);
  const [{ token } = { token: "" }] = tunnel.targets;
  expect(server.tokens.review(token, [operatorAudience])).toMatchObject({
    user: { username: "system:serviceaccount:warren-system:warren-operator" },
  });
  expect(server.tokens.review(token)).toMatchObject({ authenticated: false });
});

test("shows the user's own token where it may have no other, and says what is missing where there is none", async () => {
  const server = await cluster();
  withRole(server, looking);
  const jane = server.tokens.issue({ username: "jane", groups: [] });
  const tunnel = await openOperatorTunnel({ kubeconfig: await kubeconfig(server, { token: jane }) }, soon());
  expect(tunnel.targets[0]?.token).toBe(jane);
  expect(await ask(tunnel.targets[0]?.address ?? "", "hello")).toMatch(/hello$/);
  await tunnel.close();
  await tunnel.close();
});

test("a large answer comes whole through the tunnel, and a closed tunnel leads nowhere", async () => {
  const server = await cluster();
  const size = 3 * 1024 * 1024;
  const big = createServer((socket) => void socket.on("error", () => {}).end(Buffer.alloc(size, "x")));
  big.listen(0, "127.0.0.1");
  await once(big, "listening");
  onTestFinished(() => void big.close());
  server.portForwards.listen(namespace, "control-0", 15012, (big.address() as AddressInfo).port);
  server.delete("v1", "Pod", namespace, "control-1");
  const file = await kubeconfig(server, { token: server.adminToken });
  const tunnel = await openOperatorTunnel({ kubeconfig: file }, soon());
  const [host = "", port = ""] = (tunnel.targets[0]?.address ?? "").split(":");
  const socket = connect(Number(port), host);
  let got = 0;
  socket.on("data", (data) => (got += data.length));
  await once(socket, "close");
  expect(got).toBe(size);
  await tunnel.close();
  const refused = connect(Number(port), host);
  await expect(once(refused, "connect")).rejects.toMatchObject({ code: "ECONNREFUSED" });
});

test.each<[string, object[], RegExp]>([
  ["who may list no pods", [], /control's pods cannot be listed in context test, namespace warren-system:.*forbidden/],
  [
    "who may read no roots",
    looking.map((rule) => ({ ...rule, resources: ["pods", "pods/portforward"] })),
    /roots \(ConfigMap warren-ca-root\) cannot be read/,
  ],
])("%s is told so", async (_name, rules, message) => {
  const server = await cluster();
  withRole(server, rules);
  const file = await kubeconfig(server, { token: server.tokens.issue({ username: "jane", groups: [] }) });
  const error = await openOperatorTunnel({ kubeconfig: file }, soon()).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "MESH_UNREACHABLE_CLUSTER", message: expect.stringMatching(message) as string });
});

test("a cluster without Warren, and a port-forward that is refused, end a connection and not the program", async () => {
  const server = await cluster();
  const file = await kubeconfig(server, { token: server.adminToken });
  const tunnel = await openOperatorTunnel({ kubeconfig: file }, soon());
  onTestFinished(() => tunnel.close());
  for (const pod of ["control-0", "control-1"]) server.delete("v1", "Pod", namespace, pod);
  expect(await ask(tunnel.targets[0]?.address ?? "", "hello")).toBe("closed");
  await expect(openOperatorTunnel({ kubeconfig: file }, soon())).rejects.toThrow(/no pod of control .* is ready/);
});

test("a context or a kubeconfig that is not there is a matter of configuration", async () => {
  const server = await startApiServer();
  const file = await kubeconfig(server, { token: server.adminToken });
  await expect(openOperatorTunnel({ kubeconfig: file, context: "prod" }, soon())).rejects.toMatchObject({
    code: "MESH_CONFIG_KUBERNETES",
    message: "there is no context prod; there are test",
  });
  await expect(openOperatorTunnel({ kubeconfig: "/nowhere/config" }, soon())).rejects.toMatchObject({
    code: "MESH_CONFIG_KUBERNETES",
  });
});
