import { expect, test, vi } from "vitest";
import { ApiClient, type ApiClientOptions, apiClientDefaults } from "../../../src/control/kubernetes/api-client.ts";
import { kubeconfig, startApiServer } from "../../support/kubernetes-api/cluster.ts";
import { until } from "./support.ts";

const pods = "/api/v1/pods";

async function client(options: Partial<ApiClientOptions> = {}) {
  const server = await startApiServer();
  const file = await kubeconfig(server, { token: server.adminToken });
  return { server, api: new ApiClient({ ...apiClientDefaults, ...options, kubeconfig: file }) };
}

test.each([
  [
    "a status",
    { kind: "status", code: 429, reason: "TooManyRequests", retryAfter: 7 },
    { status: 429, reason: "TooManyRequests", retryAfterMs: 7000 },
  ],
  ["nothing", { kind: "reset" }, { status: 0, code: "MESH_KUBERNETES_UNREACHABLE" }],
] as const)("a call that gets %s is an error that says so", async (_name, fault, expected) => {
  const { server, api } = await client();
  server.faults.add({ verb: "list", plural: "pods" }, fault);
  await expect(api.call({ method: "GET", path: pods }, AbortSignal.timeout(30_000))).rejects.toMatchObject(expected);
});

test("calls share a connection, one after the other, and one that is gone when it is wanted again is replaced", async () => {
  const { server, api } = await client();
  const list = () => api.call({ method: "GET", path: pods }, AbortSignal.timeout(30_000));
  for (let at = 0; at < 10; at += 1) await list();
  await Promise.all([list(), list()]);
  for (let at = 0; at < 10; at += 1) await list();
  expect(server.connections).toBe(2);
  // The server closes it in the moment of the call: as if it had been gone before.
  server.faults.add({ verb: "list", plural: "pods", times: 1 }, { kind: "reset" });
  expect(await list()).toMatchObject({ kind: "PodList" });
  await server.restart();
  expect(await list()).toMatchObject({ kind: "PodList" });
  // Not for ever: what goes on failing is told.
  server.faults.add({ verb: "list", plural: "pods", times: 2 }, { kind: "reset" });
  await expect(list()).rejects.toMatchObject({ code: "MESH_KUBERNETES_UNREACHABLE" });
});

test("a call that is never answered ends with its time, and at once with its signal", async () => {
  const { server, api } = await client({ callTimeoutMs: 100 });
  server.faults.add({ verb: "list", plural: "pods", times: 2 }, { kind: "stall" });
  await expect(api.call({ method: "GET", path: pods }, AbortSignal.timeout(30_000))).rejects.toMatchObject({
    message: expect.stringContaining("no answer within 100 ms") as string,
  });
  const patient = await client();
  patient.server.faults.add({ verb: "list", plural: "pods" }, { kind: "stall" });
  const stop = new AbortController();
  const asked = patient.api.call({ method: "GET", path: pods }, stop.signal);
  await expect.poll(() => patient.server.requests.length, until).toBe(1);
  stop.abort(new Error("enough"));
  await expect(asked).rejects.toThrow("enough");
});

test("an API server that proves itself by another root is not talked to", async () => {
  const [server, other] = [await startApiServer(), await startApiServer()];
  const file = await kubeconfig({ url: server.url, root: other.root }, { token: server.adminToken });
  const api = new ApiClient({ ...apiClientDefaults, kubeconfig: file });
  await expect(api.call({ method: "GET", path: pods }, AbortSignal.timeout(30_000))).rejects.toMatchObject({
    status: 0,
  });
  await expect(api.watch(pods, {}, () => {}, AbortSignal.timeout(30_000))).rejects.toMatchObject({ status: 0 });
  expect(server.requests).toEqual([]);
});

test("what a listener of events throws ends the watch, and nothing is told after it", async () => {
  const { server, api } = await client();
  const namespace = (name: string) => ({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
  server.apply(namespace("a"), namespace("b"));
  let heard = 0;
  const watched = api.watch(
    "/api/v1/namespaces",
    {},
    () => {
      heard += 1;
      throw new Error("not this one");
    },
    AbortSignal.timeout(30_000),
  );
  await expect(watched).rejects.toThrow("not this one");
  await expect.poll(() => server.watches("namespaces").length, until).toBe(0);
  expect(heard).toBe(1);
});

test("in-cluster means a pod, not whatever kubeconfig a person has", () => {
  vi.stubEnv("KUBERNETES_SERVICE_HOST", undefined);
  try {
    expect(() => new ApiClient({ ...apiClientDefaults, kubeconfig: "in-cluster" })).toThrow(
      expect.objectContaining({
        code: "MESH_CONFIG_KUBERNETES",
        message: expect.stringContaining("KUBERNETES_SERVICE_HOST") as string,
      }) as Error,
    );
  } finally {
    vi.unstubAllEnvs();
  }
});
