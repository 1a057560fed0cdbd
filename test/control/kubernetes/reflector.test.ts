import { afterEach, describe, expect, test } from "vitest";
import { ApiClient, apiClientDefaults } from "../../../src/control/kubernetes/api-client.ts";
import { Reflector, type ReflectorOptions, reflectorDefaults } from "../../../src/control/kubernetes/reflector.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import type { ApiServer } from "../../support/kubernetes-api/api-server.ts";
import {
  type Cluster,
  clusterKinds,
  clusterTimeout,
  kubeconfig,
  startApiServer,
} from "../../support/kubernetes-api/cluster.ts";
import type { Fault } from "../../support/kubernetes-api/faults.ts";
import { RecordedLog } from "../../support/recorded-log.ts";

const until = { timeout: 30_000, interval: 10 };

const configMap = (name: string, value = "1", namespace = "default") => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, namespace },
  data: { value },
});

class Log extends RecordedLog {
  readonly debug = (): void => {};
}

let running: Reflector[] = [];
afterEach(async () => {
  await Promise.all(running.map((reflector) => reflector.stop()));
  running = [];
});

/** What a reflector has told, as a map of name to value, and everything that it said on the way. */
async function reflect(
  cluster: { readonly url: string; readonly root: string; readonly adminToken: string },
  options: Partial<ReflectorOptions> = {},
  watchSilenceMs = 60_000,
) {
  const file = await kubeconfig(cluster, { token: cluster.adminToken });
  const log = new Log();
  const objects = new Map<string, string>();
  const told: string[] = [];
  const sink = {
    set: (namespace: string, name: string, object: { readonly [field: string]: unknown }) => {
      const { value = "" } = (object["data"] ?? {}) as { value?: string };
      objects.set(`${namespace}/${name}`, value);
      told.push(`${name}=${value}`);
    },
    delete: (namespace: string, name: string) => {
      objects.delete(`${namespace}/${name}`);
      told.push(`-${name}`);
    },
    settle: () => {},
  };
  const reflector = new Reflector(
    {
      api: new ApiClient({ ...apiClientDefaults, kubeconfig: file, watchSilenceMs }),
      sink,
      clock: systemClock,
      random: Math.random,
      log,
    },
    {
      ...reflectorDefaults,
      kind: "ConfigMap",
      path: "/api/v1/namespaces/default/configmaps",
      optional: false,
      backoff: { firstMs: 5, factor: 2, longestMs: 50, jitter: 0.5 },
      missingRetryMs: 20,
      ...options,
    },
  );
  running.push(reflector);
  reflector.start();
  return { reflector, objects, told, log };
}

const names = (objects: ReadonlyMap<string, string>) =>
  [...objects.keys()].map((key) => key.slice(key.indexOf("/") + 1)).sort();

describe.each(clusterKinds)("against $name, a reflector", clusterTimeout, ({ start }) => {
  test("hands on what there is, page by page, and then what changes", async () => {
    const cluster: Cluster = await start();
    await cluster.apply(...["a", "b", "c", "d", "e"].map((name) => configMap(name)));
    const { reflector, objects } = await reflect(cluster, { pageSize: 2 });
    await reflector.synced;
    expect(names(objects)).toEqual(expect.arrayContaining(["a", "b", "c", "d", "e"]));
    await cluster.apply(configMap("f"), configMap("a", "2"));
    await cluster.delete("v1", "ConfigMap", "default", "b");
    await expect.poll(() => objects.get("default/a"), until).toBe("2");
    await expect.poll(() => names(objects), until).toEqual(expect.arrayContaining(["a", "c", "d", "e", "f"]));
    await expect.poll(() => objects.has("default/b"), until).toBe(false);
    await expect.poll(() => reflector.state, until).toMatchObject({ kind: "watching" });
  });

  test("sees one version after another of an object, none out of order", async () => {
    const cluster = await start();
    const { reflector, told } = await reflect(cluster);
    await reflector.synced;
    const values = Array.from({ length: 20 }, (_, index) => String(index));
    for (const value of values) await cluster.apply(configMap("a", value));
    await expect.poll(() => told.at(-1), until).toBe("a=19");
    const order = told.filter((line) => line.startsWith("a=")).map((line) => Number(line.slice(2)));
    expect(order).toEqual([...order].sort((one, other) => one - other));
  });

  test("is silent after stop, which may be called twice", async () => {
    const cluster = await start();
    await cluster.apply(configMap("a"));
    const { reflector, told, objects } = await reflect(cluster);
    await reflector.synced;
    await reflector.stop();
    await reflector.stop();
    const before = told.length;
    await cluster.apply(configMap("b"));
    await cluster.delete("v1", "ConfigMap", "default", "a");
    const other = await reflect(cluster);
    await other.reflector.synced;
    expect(told).toHaveLength(before);
    expect(objects.has("default/a")).toBe(true);
  });
});

/** Asks of one kind so far. */
const asked = (api: ApiServer, verb: string) =>
  api.requests.filter((request) => request.verb === verb && request.plural === "configmaps");

describe("whatever a server does to a watch, nothing is lost, and nothing is listed again without need", () => {
  test.each<[string, Fault]>([
    ["a reset before an answer", { kind: "reset" }],
    ["a reset after some events", { kind: "watch-reset", after: 2 }],
    ["an orderly end after some events", { kind: "watch-close", after: 2 }],
    ["an end after nothing", { kind: "watch-close", after: 0 }],
    ["half of an event", { kind: "watch-half-line", after: 1 }],
    ["a line that is no JSON", { kind: "watch-garbage", after: 1 }],
    ["each event twice", { kind: "watch-duplicate" }],
    ["a trickle that cuts lines and letters", { kind: "watch-slow", bytes: 3 }],
    ["a silence", { kind: "watch-stall", after: 1 }],
    ["429", { kind: "status", code: 429, reason: "TooManyRequests" }],
    ["500", { kind: "status", code: 500, reason: "InternalError" }],
    ["503", { kind: "status", code: 503, reason: "ServiceUnavailable" }],
    ["an error that is not 410", { kind: "watch-error", after: 1, code: 500, reason: "InternalError" }],
  ])("%s", async (_name, fault) => {
    const api = await startApiServer();
    api.apply(configMap("a"), configMap("b"));
    api.faults.add({ verb: "watch", plural: "configmaps", times: 3 }, fault);
    const { reflector, objects } = await reflect(api, {}, 300);
    await reflector.synced;
    for (let round = 1; round <= 6; round += 1) {
      api.apply(configMap("a", `ründe ${round} 中`), configMap(`new-${round}`));
      await expect.poll(() => objects.get("default/a"), until).toBe(`ründe ${round} 中`);
    }
    api.delete("v1", "ConfigMap", "default", "b");
    await expect.poll(() => names(objects), until).toEqual(["a", ...[1, 2, 3, 4, 5, 6].map((n) => `new-${n}`)]);
    expect(asked(api, "list")).toHaveLength(1);
  });

  test.each<[string, Fault]>([
    ["410 as a status", { kind: "status", code: 410, reason: "Expired" }],
    ["410 as an event", { kind: "watch-error", after: 0, code: 410, reason: "Expired" }],
  ])("but %s is answered by a list, in which what vanished is missed", async (_name, fault) => {
    const api = await startApiServer();
    api.apply(configMap("a"), configMap("b"));
    const { reflector, objects, told } = await reflect(api);
    await reflector.synced;
    await expect.poll(() => api.watches("configmaps").length, until).toBe(1);
    api.faults.add({ verb: "watch", plural: "configmaps" }, fault);
    await api.restart(() => {
      api.delete("v1", "ConfigMap", "default", "b");
      api.apply(configMap("c"));
      api.store.compact();
    });
    await expect.poll(() => names(objects), until).toEqual(["a", "c"]);
    expect(told.filter((line) => line === "-b")).toHaveLength(1);
    expect(asked(api, "list").length).toBeGreaterThanOrEqual(2);
  });
});

test("bookmarks move a quiet watch on, so that a compacted history costs no list", async () => {
  const api = await startApiServer();
  api.apply(configMap("a"));
  const { reflector, objects } = await reflect(api);
  await reflector.synced;
  await expect.poll(() => api.watches("configmaps").length, until).toBe(1);
  // Others write; this kind is quiet.
  api.apply(
    ...Array.from({ length: 5 }, (_, index) => ({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: `n${index}` },
    })),
  );
  const { version } = api.store;
  api.bookmarks();
  api.store.compact();
  api.faults.add({ verb: "watch", plural: "configmaps" }, { kind: "watch-close", after: 0 });
  for (const watch of api.watches("configmaps")) watch.close();
  api.apply(configMap("b"));
  await expect.poll(() => names(objects), until).toEqual(["a", "b"]);
  expect(asked(api, "list")).toHaveLength(1);
  expect(asked(api, "watch").map(({ query }) => query["resourceVersion"])).toContain(String(version));
});

test("a list whose pages expire half-way begins anew, and stays consistent", async () => {
  const api = await startApiServer();
  api.apply(...Array.from({ length: 7 }, (_, index) => configMap(`m${index}`)));
  api.faults.add({ verb: "list", plural: "configmaps" }, { kind: "slow", bytes: 50, delayMs: 1 });
  const { reflector, objects } = await reflect(api, { pageSize: 3 });
  await expect.poll(() => asked(api, "list").length, until).toBeGreaterThanOrEqual(1);
  api.store.compact();
  api.delete("v1", "ConfigMap", "default", "m0");
  await reflector.synced;
  await expect.poll(() => names(objects), until).toEqual(["m1", "m2", "m3", "m4", "m5", "m6"]);
});

test.each<[string, Fault]>([
  ["a reset", { kind: "reset" }],
  ["a slow answer", { kind: "slow", bytes: 20, delayMs: 1 }],
  ["429 with Retry-After", { kind: "status", code: 429, reason: "TooManyRequests", retryAfter: 0 }],
  ["500", { kind: "status", code: 500, reason: "InternalError" }],
])("a first list that meets %s is asked for again", async (_name, fault) => {
  const api = await startApiServer();
  api.apply(configMap("a"));
  api.faults.add({ verb: "list", plural: "configmaps", times: 2 }, fault);
  const { reflector, objects } = await reflect(api);
  await reflector.synced;
  expect(names(objects)).toEqual(["a"]);
});

test("a server that goes away and comes back finds us where we were", async () => {
  const api = await startApiServer();
  api.apply(configMap("a"));
  const { reflector, objects, log } = await reflect(api);
  await reflector.synced;
  await api.restart(async () => {
    await expect.poll(() => reflector.state.kind, until).toBe("failing");
    await expect
      .poll(() => log.messages("warn").join(), until)
      .toMatch(/ConfigMap cannot be read; last good state holds/);
    expect(names(objects)).toEqual(["a"]);
    api.apply(configMap("b"));
  });
  await expect.poll(() => names(objects), until).toEqual(["a", "b"]);
  await expect.poll(() => reflector.state.kind, until).toBe("watching");
});

test("who may not list is told so, and asks on", async () => {
  const api = await startApiServer();
  const adminToken = api.tokens.issue({ username: "nobody", groups: [] });
  const { reflector, log } = await reflect({ url: api.url, root: api.root, adminToken });
  await expect.poll(() => log.lines.length, until).toBeGreaterThan(0);
  // Between two asks: while it asks, it is listing.
  await expect.poll(() => reflector.state.kind, until).toBe("failing");
  expect(JSON.stringify(log.lines)).toMatch(/cannot list resource \\"configmaps\\"/);
  expect(JSON.stringify(log.lines)).not.toContain(adminToken);
});

test("a kind whose CRD is missing is synced with nothing, and comes when the CRD does", async () => {
  const api = await startApiServer({ without: ["security.istio.io"] });
  const { reflector, objects, log } = await reflect(api, {
    kind: "PeerAuthentication",
    path: "/apis/security.istio.io/v1/peerauthentications",
    optional: true,
  });
  await reflector.synced;
  expect(reflector.state).toEqual({ kind: "missing" });
  api.apply({ apiVersion: "security.istio.io/v1", kind: "PeerAuthentication", metadata: { name: "p" }, spec: {} });
  expect(objects.size).toBe(0);
  api.install("security.istio.io");
  await expect.poll(() => names(objects), until).toEqual(["p"]);
  expect(log.messages("warn")).toEqual([expect.stringContaining("install its CRD")]);
});

test("a server that ends every watch at once is not asked in a loop", async () => {
  const api = await startApiServer();
  api.faults.add({ verb: "watch", plural: "configmaps", times: 1000 }, { kind: "watch-close", after: 0 });
  const { reflector } = await reflect(api, { backoff: { firstMs: 20, factor: 2, longestMs: 60_000, jitter: 0 } });
  await reflector.synced;
  const began = performance.now();
  await expect.poll(() => asked(api, "watch").length, until).toBeGreaterThanOrEqual(4);
  // Waits of 20, 40 and 80 ms lie between four of them: less than that can't have passed.
  expect(performance.now() - began).toBeGreaterThan(100);
});

test("stop does not wait for a server that keeps it hanging", async () => {
  const api = await startApiServer();
  api.faults.add({ verb: "list", plural: "configmaps" }, { kind: "stall" });
  const first = await reflect(api);
  await expect.poll(() => asked(api, "list").length, until).toBe(1);
  await first.reflector.stop();
  api.faults.add({ verb: "watch", plural: "configmaps" }, { kind: "stall" });
  const second = await reflect(api);
  await expect.poll(() => asked(api, "watch").length, until).toBe(1);
  await second.reflector.stop();
  expect(second.told).toEqual([]);
});
