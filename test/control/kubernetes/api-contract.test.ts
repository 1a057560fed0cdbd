import { describe, expect, test } from "vitest";
import type { WatchEvent } from "../../../src/control/kubernetes/api.ts";
import { ApiClient, apiClientDefaults } from "../../../src/control/kubernetes/api-client.ts";
import { ApiCalls } from "../../support/kubernetes-api/calls.ts";
import {
  type Cluster,
  clusterKinds,
  clusterTimeout,
  kubeconfig,
  startApiServer,
} from "../../support/kubernetes-api/cluster.ts";
import { until } from "./support.ts";

/** What control rests on, said of the double and where there is one of a real API server. */
const configMap = (name: string, value = "1", labels: Record<string, string> = {}) => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, namespace: "default", labels },
  data: { value },
});
const configMaps = "/api/v1/namespaces/default/configmaps";
const mergePatch = "application/merge-patch+json";

const calls = (cluster: Cluster, token = cluster.adminToken) => new ApiCalls(cluster.url, cluster.root, token);

interface ListBody {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly { readonly metadata: { readonly name: string } }[];
}
const namesIn = ({ items }: ListBody) => items.map(({ metadata }) => metadata.name);
const versionOf = (body: Record<string, unknown>) => (body["metadata"] as { resourceVersion: string }).resourceVersion;

describe.each(clusterKinds)("$name", clusterTimeout, ({ start }) => {
  test("creates once, and replaces only what was read", async () => {
    const api = calls(await start());
    const created = await api.call("POST", configMaps, configMap("a"));
    expect(created.code).toBe(201);
    expect(await api.call("POST", configMaps, configMap("a"))).toMatchObject({
      code: 409,
      body: { reason: "AlreadyExists" },
    });
    const version = versionOf(created.body);
    const patch = (value: string, resourceVersion: string) =>
      api.call("PATCH", `${configMaps}/a`, { metadata: { resourceVersion }, data: { value } }, mergePatch);
    const [one, other] = await Promise.all([patch("one", version), patch("other", version)]);
    expect([one, other].filter(({ code }) => code === 200)).toHaveLength(1);
    const lost = [one, other].find(({ code }) => code === 409);
    expect(lost?.body).toMatchObject({ reason: "Conflict", status: "Failure" });
    const put = { ...configMap("a", "put"), metadata: { name: "a", namespace: "default", resourceVersion: version } };
    expect((await api.call("PUT", `${configMaps}/a`, put)).code).toBe(409);
    expect((await api.call("GET", `${configMaps}/none`)).body).toMatchObject({ reason: "NotFound", code: 404 });
  });

  test("makes up a name behind a prefix that a name can begin with, and refuses another", async () => {
    const api = calls(await start());
    const prefixed = (generateName: string) => {
      const { metadata, ...rest } = configMap("");
      return api.call("POST", configMaps, { ...rest, metadata: { namespace: metadata.namespace, generateName } });
    };
    const made = await prefixed("a.b-");
    expect((made.body["metadata"] as { name: string }).name).toMatch(/^a\.b-[a-z0-9]+$/);
    for (const wrong of ["a.", "A-", "a.-"]) expect((await prefixed(wrong)).code).toBe(422);
  });

  test("refuses in plain text what it does not serve, as a kind whose CRD is missing", async () => {
    const api = calls(await start());
    const answer = await api.call("GET", "/apis/none.example/v1/things");
    expect(answer).toEqual({ code: 404, body: { message: "404 page not found" } });
  });

  test("takes a write that changes nothing for none", async () => {
    const api = calls(await start());
    const { body } = await api.call("POST", configMaps, configMap("a"));
    const again = await api.call("PATCH", `${configMaps}/a`, { data: { value: "1" } }, mergePatch);
    expect(versionOf(again.body)).toBe(versionOf(body));
  });

  test("lists in pages of one moment, by labels and by name", async () => {
    const api = calls(await start());
    const label = { suite: "pages" };
    for (const name of ["a", "b", "c", "d", "e"]) await api.call("POST", configMaps, configMap(name, "1", label));
    const selected = `${configMaps}?labelSelector=suite%3Dpages&limit=2`;
    const first = (await api.call("GET", selected)).body as unknown as ListBody;
    await api.call("DELETE", `${configMaps}/d`);
    await api.call("POST", configMaps, configMap("aa", "1", label));
    const next = async (page: ListBody) =>
      (await api.call("GET", `${selected}&continue=${encodeURIComponent(page.metadata.continue ?? "")}`))
        .body as unknown as ListBody;
    const second = await next(first);
    const third = await next(second);
    expect([first, second, third].map(namesIn)).toEqual([["a", "b"], ["c", "d"], ["e"]]);
    expect(new Set([first, second, third].map(({ metadata }) => metadata.resourceVersion)).size).toBe(1);
    expect(third.metadata.continue ?? "").toBe("");
    const one = (await api.call("GET", `${configMaps}?fieldSelector=metadata.name%3Dc`)).body as unknown as ListBody;
    expect(namesIn(one)).toEqual(["c"]);
  });

  test("keeps status and spec apart, and counts the texts of the spec", async () => {
    const api = calls(await start());
    const path = "/apis/security.istio.io/v1/namespaces/default/peerauthentications";
    const object = (mode: string) => ({
      apiVersion: "security.istio.io/v1",
      kind: "PeerAuthentication",
      metadata: { name: "p", namespace: "default" },
      spec: { mtls: { mode } },
    });
    await api.call("POST", path, object("STRICT"));
    const condition = { type: "Accepted", status: "True", reason: "Accepted", message: "", observedGeneration: 1 };
    const dated = { ...condition, lastTransitionTime: "2026-01-01T00:00:00Z" };
    const status = await api.call(
      "PATCH",
      `${path}/p/status`,
      { status: { conditions: [dated] }, spec: { mtls: {} } },
      mergePatch,
    );
    expect(status.body).toMatchObject({
      metadata: { generation: 1 },
      spec: { mtls: { mode: "STRICT" } },
      status: { conditions: [dated] },
    });
    const spec = await api.call(
      "PATCH",
      `${path}/p`,
      { spec: { mtls: { mode: "PERMISSIVE" } }, status: { conditions: [] } },
      mergePatch,
    );
    expect(spec.body).toMatchObject({ metadata: { generation: 2 }, status: { conditions: [dated] } });
  });

  test("tells a watch every change after its version, in order, and who leaves its selection as deleted", async () => {
    const cluster = await start();
    const api = calls(cluster);
    await api.call("POST", configMaps, configMap("a", "1", { suite: "watch" }));
    const selector = "labelSelector=suite%3Dwatch";
    const list = (await api.call("GET", `${configMaps}?${selector}`)).body as unknown as ListBody;
    await api.call("PATCH", `${configMaps}/a`, { data: { value: "2" } }, mergePatch);
    const client = new ApiClient({
      ...apiClientDefaults,
      kubeconfig: await kubeconfig(cluster, { token: cluster.adminToken }),
    });
    const events: WatchEvent[] = [];
    const stop = new AbortController();
    const query = { labelSelector: "suite=watch", resourceVersion: list.metadata.resourceVersion };
    const over = client.watch(configMaps, query, (event) => events.push(event), stop.signal).catch(() => {});
    await expect.poll(() => events.length, until).toBe(1);
    await api.call("POST", configMaps, configMap("b", "1", { suite: "watch" }));
    await api.call("POST", configMaps, configMap("unseen"));
    await api.call("PATCH", `${configMaps}/a`, { metadata: { labels: { suite: null } } }, mergePatch);
    await api.call("DELETE", `${configMaps}/b`);
    await expect.poll(() => events.length, until).toBe(4);
    stop.abort();
    await over;
    expect(events.map(({ type, object }) => `${type} ${(object["metadata"] as { name: string }).name}`)).toEqual([
      "MODIFIED a",
      "ADDED b",
      "DELETED a",
      "DELETED b",
    ]);
  });

  test("knows a token by its audience and its pod, and for as long as the pod lives", async () => {
    const cluster = await start();
    const api = calls(cluster);
    const accounts = "/api/v1/namespaces/default/serviceaccounts";
    await api.call("POST", accounts, { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "agent" } });
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "agent", namespace: "default" },
      spec: { serviceAccountName: "agent", nodeName: "w1", containers: [{ name: "main", image: "x" }] },
    };
    const { body: podBody } = await api.call("POST", "/api/v1/namespaces/default/pods", pod);
    const { uid } = podBody["metadata"] as { uid: string };
    const spec = {
      audiences: ["warren-control"],
      expirationSeconds: 600,
      boundObjectRef: { apiVersion: "v1", kind: "Pod", name: "agent", uid },
    };
    const request = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec };
    const { token } = (await api.call("POST", `${accounts}/agent/token`, request)).body["status"] as { token: string };
    const review = async (audiences: string[]) => {
      const body = { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token, audiences } };
      return (await api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)).body["status"];
    };
    expect(await review(["warren-control", "other"])).toMatchObject({
      authenticated: true,
      audiences: ["warren-control"],
      user: {
        username: "system:serviceaccount:default:agent",
        extra: {
          "authentication.kubernetes.io/pod-name": ["agent"],
          "authentication.kubernetes.io/pod-uid": [uid],
          "authentication.kubernetes.io/node-name": ["w1"],
        },
      },
    });
    expect((await review(["other"])) as object).not.toMatchObject({ authenticated: true });
    await api.call("DELETE", "/api/v1/namespaces/default/pods/agent?gracePeriodSeconds=0");
    await expect.poll(() => review(["warren-control"]), until).not.toMatchObject({ authenticated: true });
  });

  test("allows what roles grant, to one name if they say so, and names what it refuses", async () => {
    const cluster = await start();
    const api = calls(cluster);
    const accounts = "/api/v1/namespaces/default/serviceaccounts";
    await api.call("POST", accounts, { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "reader" } });
    const rbac = "rbac.authorization.k8s.io";
    const rules = [
      { apiGroups: [""], resources: ["configmaps"], resourceNames: ["mine"], verbs: ["get", "list", "watch"] },
      { apiGroups: ["warren.dev"], resources: ["agents"], verbs: ["get"] },
    ];
    await cluster.apply(
      { apiVersion: `${rbac}/v1`, kind: "Role", metadata: { name: "reader", namespace: "default" }, rules },
      {
        apiVersion: `${rbac}/v1`,
        kind: "RoleBinding",
        metadata: { name: "reader", namespace: "default" },
        roleRef: { apiGroup: rbac, kind: "Role", name: "reader" },
        subjects: [{ kind: "ServiceAccount", name: "reader", namespace: "default" }],
      },
    );
    const request = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { expirationSeconds: 600 } };
    const { token } = (await api.call("POST", `${accounts}/reader/token`, request)).body["status"] as { token: string };
    const own = calls(cluster, token);
    await expect.poll(async () => (await own.call("GET", `${configMaps}/mine`)).code, until).toBe(404);
    expect((await own.call("GET", `${configMaps}?fieldSelector=metadata.name%3Dmine`)).code).toBe(200);
    for (const path of [configMaps, `${configMaps}?fieldSelector=metadata.name%3Dother`, `${configMaps}/other`]) {
      const { code, body } = await own.call("GET", path);
      expect([path, code]).toEqual([path, 403]);
      expect(body["message"]).toMatch(
        /User "system:serviceaccount:default:reader" cannot (get|list) resource "configmaps"/,
      );
    }
    const access = async (resource: string, verb: string) => {
      const resourceAttributes = { group: "warren.dev", resource, verb, namespace: "default" };
      const spec = { user: "system:serviceaccount:default:reader", resourceAttributes };
      const body = { apiVersion: "authorization.k8s.io/v1", kind: "SubjectAccessReview", spec };
      const answer = await api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body);
      return (answer.body["status"] as { allowed: boolean }).allowed;
    };
    // Of a kind that no API serves: that is how operators' rights are kept.
    expect([await access("agents", "get"), await access("agents", "update")]).toEqual([true, false]);
    expect((await calls(cluster, "nonsense").call("GET", configMaps)).code).toBe(401);
  });
});

const expired = { type: "ERROR", object: { kind: "Status", status: "Failure", code: 410, reason: "Expired" } };

test("a watch that lies further behind than the history goes is told 410", async () => {
  const server = await startApiServer({ historyLimit: 3 });
  const client = new ApiClient({
    ...apiClientDefaults,
    kubeconfig: await kubeconfig(server, { token: server.adminToken }),
  });
  const resourceVersion = String(server.store.version);
  server.apply(...["a", "b", "c", "d"].map((name) => configMap(name)));
  const events: WatchEvent[] = [];
  await client.watch(configMaps, { resourceVersion }, (event) => events.push(event), AbortSignal.timeout(30_000));
  expect(events).toMatchObject([expired]);
});

test.each(clusterKinds.slice(1))("$name tells it in the same words", clusterTimeout, async ({ start }) => {
  const cluster = await start();
  const client = new ApiClient({
    ...apiClientDefaults,
    kubeconfig: await kubeconfig(cluster, { token: cluster.adminToken }),
  });
  const events: WatchEvent[] = [];
  // Its kind is younger than that.
  const [path, query] = ["/apis/security.istio.io/v1/peerauthentications", { resourceVersion: "1" }];
  await client.watch(path, query, (event) => events.push(event), AbortSignal.timeout(30_000));
  expect(events).toMatchObject([expired]);
});
