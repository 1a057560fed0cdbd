import { describe, expect, onTestFinished, test } from "vitest";
import { KubernetesSource } from "../../../src/control/kubernetes/kubernetes-source.ts";
import type { MeshView } from "../../../src/model/mesh.ts";
import { podObject, policyObject, serviceObject, sliceObject } from "../../manifests/objects.ts";
import { settings } from "../../mesh/build.ts";
import { clusterKinds, clusterTimeout, startApiServer } from "../../support/kubernetes-api/cluster.ts";
import type { DraftObject } from "../../support/kubernetes-api/objects.ts";
import { clientOf, quick, stopLater, until } from "./support.ts";

const object = (value: Record<string, unknown>) => value as unknown as DraftObject;
const shop = (labels: Record<string, string> = { "warren.dev/mode": "ambient" }) =>
  object({ apiVersion: "v1", kind: "Namespace", metadata: { name: "shop", labels } });
/** Whole enough for an API server that checks: an image, and both ways to say the address. */
const pod = (input: Parameters<typeof podObject>[0]) => {
  const { name, ips = ["10.0.0.1"], spec } = input;
  const made = podObject({
    ...input,
    spec: {
      serviceAccountName: name,
      nodeName: "n1",
      containers: [{ name: "main", image: "example.org/none" }],
      ...spec,
    },
  });
  return object({ ...made, status: { ...(made["status"] as object), podIP: ips[0] } });
};
const strict = object(policyObject("PeerAuthentication", "default", { mtls: { mode: "STRICT" } }));

async function sourceOf(cluster: { readonly url: string; readonly root: string; readonly adminToken: string }) {
  const deps = await clientOf(cluster);
  const source = stopLater(new KubernetesSource(deps, { settings, reflector: quick }));
  return { source, log: deps.log };
}

const names = (view: MeshView) => [...view.workloads()].map(({ name }) => name).sort();

describe.each(clusterKinds)("against $name, the mesh follows a cluster:", clusterTimeout, ({ start }) => {
  test("pods with their namespace, Services with their slices, policies", async () => {
    const cluster = await start();
    await cluster.apply(
      shop(),
      pod({ name: "web", ips: ["10.0.0.1"] }),
      pod({ name: "api", ips: ["10.0.0.2"] }),
      object(serviceObject("api", { clusterIP: "10.96.0.10", ports: [{ port: 80, targetPort: 8080 }] })),
      object(
        sliceObject("api-1", "api", {
          ports: [{ name: "", port: 8080, protocol: "TCP" }],
          endpoints: [
            { addresses: ["10.0.0.2"], conditions: { ready: true }, targetRef: { kind: "Pod", name: "api" } },
          ],
        }),
      ),
      strict,
    );
    const { source } = await sourceOf(cluster);
    await source.start(AbortSignal.timeout(30_000));
    expect(names(source.view)).toEqual(["api", "web"]);
    const api = source.view.workloadByAddress("10.0.0.2");
    expect(api).toMatchObject({ name: "api", tunnel: "hbone" });
    const service = source.view.serviceByAddress("10.96.0.10");
    expect(service && source.view.endpoints(service, 80)).toMatchObject([{ address: "10.0.0.2", targetPort: 8080 }]);
    expect(api && source.view.inboundMode(api, 8080)).toEqual({ mode: "STRICT", policy: "shop/default" });
    await cluster.apply(shop({ "warren.dev/mode": "none" }));
    await expect.poll(() => source.view.workloadByAddress("10.0.0.2")?.tunnel, until).toBe("none");
    await cluster.delete("v1", "Pod", "shop", "web");
    await expect.poll(() => names(source.view), until).toEqual(["api"]);
  });
});

test("a large mesh is applied in slices that let others have their turn, and is not ready before the last of them", async () => {
  const api = await startApiServer();
  const pods = Array.from({ length: 320 }, (_, index) =>
    pod({ name: `p${index}`, ips: [`10.0.${index >> 8}.${index & 255}`] }),
  );
  api.apply(shop(), strict, ...pods);
  const { source } = await sourceOf(api);
  let turn = 0;
  const count = () => {
    turn += 1;
    counting = setImmediate(count);
  };
  let counting = setImmediate(count);
  onTestFinished(() => clearImmediate(counting));
  let ready = false;
  const slices: { readonly turn: number; readonly workloads: number; readonly ready: boolean }[] = [];
  source.onChange(() => {
    slices.push({ turn, workloads: names(source.view).length, ready });
    // Longer than a slice may take: each of these fills one.
    const began = performance.now();
    while (performance.now() - began < 6);
  });
  await source.start(AbortSignal.timeout(30_000)).then(() => (ready = true));
  expect(slices.length).toBeGreaterThanOrEqual(10);
  expect(new Set(slices.map((slice) => slice.turn)).size).toBe(slices.length);
  expect(slices.some((slice) => slice.ready)).toBe(false);
  expect(slices.at(-1)?.workloads).toBe(320);
  expect([...source.view.workloads()].every(({ tunnel }) => tunnel === "hbone")).toBe(true);
});

test("a pod that takes the address of another is the one that is meant, in whatever order they are told", async () => {
  const api = await startApiServer();
  api.apply(shop(), pod({ name: "old", ips: ["10.0.0.7"], metadata: { uid: "u1" } }));
  const { source } = await sourceOf(api);
  await source.start(AbortSignal.timeout(30_000));
  api.apply(pod({ name: "new", ips: ["10.0.0.7"], metadata: { uid: "u2" } }));
  await expect.poll(() => source.view.workloadByAddress("10.0.0.7")?.name, until).toBe("new");
  // The last words of one that is going do not take it back.
  const going = { uid: "u1", deletionTimestamp: "2026-01-01T00:00:00Z" };
  api.apply(pod({ name: "old", ips: ["10.0.0.7"], ready: false, labels: { going: "yes" }, metadata: going }));
  const old = () => [...source.view.workloads()].find(({ name }) => name === "old");
  await expect.poll(() => old()?.labels.get("going"), until).toBe("yes");
  expect(source.view.workloadByAddress("10.0.0.7")?.name).toBe("new");
  api.apply(pod({ name: "old", ips: ["10.0.0.7"], phase: "Succeeded", metadata: { uid: "u1" } }));
  await expect.poll(() => names(source.view), until).toEqual(["new"]);
  expect(source.view.workloadByAddress("10.0.0.7")?.name).toBe("new");
});

test("a pod that is deleted and made anew under its name has its new identity and address, and nothing of the old", async () => {
  const api = await startApiServer();
  api.apply(shop(), pod({ name: "web-0", ips: ["10.0.0.1"], metadata: { uid: "first" } }));
  const { source } = await sourceOf(api);
  await source.start(AbortSignal.timeout(30_000));
  await api.restart(() => {
    api.delete("v1", "Pod", "shop", "web-0");
    const spec = { serviceAccountName: "other", nodeName: "n2" };
    api.apply(pod({ name: "web-0", ips: ["10.0.0.2"], metadata: { uid: "second" }, spec }));
    api.store.compact();
  });
  await expect.poll(() => source.view.workloadByAddress("10.0.0.2")?.serviceAccount, until).toBe("other");
  expect(source.view.workloadByAddress("10.0.0.1")).toBeUndefined();
  expect([...source.view.localPods("n1")]).toEqual([]);
  expect([...source.view.localPods("n2")].map(({ uid }) => uid)).toEqual(["second"]);
});

test("what vanished while nobody watched is gone after the next list, of every kind", async () => {
  const api = await startApiServer();
  api.apply(
    shop(),
    pod({ name: "web" }),
    object(serviceObject("api", { clusterIP: "10.96.0.10", ports: [{ port: 80 }] })),
    strict,
    object(policyObject("AuthorizationPolicy", "deny", {})),
    object({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "np", namespace: "shop" },
      spec: { podSelector: {} },
    }),
    object({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "web", namespace: "shop" } }),
  );
  const { source } = await sourceOf(api);
  await source.start(AbortSignal.timeout(30_000));
  expect(source.hasServiceAccount("shop", "web")).toBe(true);
  await api.restart(() => {
    for (const [version, kind, name] of [
      ["v1", "Pod", "web"],
      ["v1", "Service", "api"],
      ["v1", "ServiceAccount", "web"],
      ["security.istio.io/v1", "PeerAuthentication", "default"],
      ["security.istio.io/v1", "AuthorizationPolicy", "deny"],
      ["networking.k8s.io/v1", "NetworkPolicy", "np"],
    ] as const) {
      api.delete(version, kind, "shop", name);
    }
    api.store.compact();
  });
  await expect.poll(() => names(source.view), until).toEqual([]);
  await expect.poll(() => [...source.view.services()], until).toEqual([]);
  await expect.poll(() => [...source.view.peerAuthentications()], until).toEqual([]);
  await expect.poll(() => [...source.view.authorizationPolicies()], until).toEqual([]);
  await expect.poll(() => source.hasServiceAccount("shop", "web"), until).toBe(false);
});

test("an object that cannot be read leaves its last good version in force, and is told until it is repaired", async () => {
  const api = await startApiServer();
  api.apply(shop(), pod({ name: "web" }), strict);
  const { source } = await sourceOf(api);
  const told: string[] = [];
  source.onProblems((problems) => told.push(...problems.map(({ object: of, field }) => `${of} ${field}`)));
  await source.start(AbortSignal.timeout(30_000));
  const bad = object(policyObject("PeerAuthentication", "default", { mtls: { mode: "STRICTEST" } }));
  api.apply(bad);
  await expect.poll(() => told, until).toEqual(["PeerAuthentication shop/default spec.mtls.mode"]);
  expect([...source.view.peerAuthentications()]).toMatchObject([{ mode: "STRICT" }]);
  api.apply(object({ ...bad, metadata: { name: "default", namespace: "shop", labels: { touched: "yes" } } }));
  api.apply(pod({ name: "late", ips: ["10.0.0.9"] }));
  await expect.poll(() => names(source.view), until).toContain("late");
  expect(told).toHaveLength(1);
  expect(source.problems()).toHaveLength(1);
  api.apply(strict);
  await expect.poll(() => source.problems(), until).toEqual([]);
});

test("the safe reading of an object that was never good is STRICT, and gives way to the first good one", async () => {
  const api = await startApiServer();
  api.apply(shop(), object(policyObject("PeerAuthentication", "default", { mtls: { mode: "x" } })));
  const { source } = await sourceOf(api);
  await source.start(AbortSignal.timeout(30_000));
  expect([...source.view.peerAuthentications()]).toMatchObject([{ mode: "STRICT" }]);
  api.apply(object(policyObject("PeerAuthentication", "default", { mtls: { mode: "PERMISSIVE" } })));
  await expect.poll(() => [...source.view.peerAuthentications()], until).toMatchObject([{ mode: "PERMISSIVE" }]);
});

test("without the CRDs everything else is in force, and policies are when they come", async () => {
  const api = await startApiServer({ without: ["security.istio.io"] });
  api.apply(shop(), pod({ name: "web" }), strict);
  const { source, log } = await sourceOf(api);
  await source.start(AbortSignal.timeout(30_000));
  expect(names(source.view)).toEqual(["web"]);
  expect(source.kinds().get("PeerAuthentication")).toEqual({ kind: "missing" });
  expect(log.messages("warn").join()).toMatch(/no PeerAuthentication: install its CRD/);
  api.install("security.istio.io");
  await expect.poll(() => [...source.view.peerAuthentications()], until).toMatchObject([{ mode: "STRICT" }]);
});

test("a right that is missing holds the start up, by name, and no longer than it is missing", async () => {
  const api = await startApiServer();
  api.apply(shop(), pod({ name: "web" }));
  api.faults.add({ verb: "list", plural: "nodes", times: 3 }, { kind: "status", code: 403, reason: "Forbidden" });
  const { source, log } = await sourceOf(api);
  await source.start(AbortSignal.timeout(30_000));
  expect(log.messages("warn").join()).toMatch(/Node cannot be read/);
  expect(names(source.view)).toEqual(["web"]);
});

test("start gives up with its signal, and nothing is heard after stop", async () => {
  const api = await startApiServer();
  api.faults.add({ verb: "list", plural: "pods", times: 1000 }, { kind: "stall" });
  const first = await sourceOf(api);
  const giveUp = new AbortController();
  const started = first.source.start(giveUp.signal);
  await expect.poll(() => api.requests.some(({ plural }) => plural === "pods"), until).toBe(true);
  giveUp.abort(new Error("enough"));
  await expect(started).rejects.toThrow("enough");
  api.faults.clear();
  const { source } = await sourceOf(api);
  await source.start(AbortSignal.timeout(30_000));
  let heard = 0;
  source.onChange(() => (heard += 1));
  await source.stop();
  await source.stop();
  api.apply(shop(), pod({ name: "web" }));
  const other = await sourceOf(api);
  await other.source.start(AbortSignal.timeout(30_000));
  expect(heard).toBe(0);
});

test("nodes tell where their pods are, and a node that is labelled later tells then", async () => {
  const api = await startApiServer();
  const node = (zone?: string) =>
    object({
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "n1", labels: zone === undefined ? {} : { "topology.kubernetes.io/zone": zone } },
    });
  api.apply(shop(), node(), pod({ name: "web" }));
  const { source } = await sourceOf(api);
  await source.start(AbortSignal.timeout(30_000));
  expect(source.view.workloadByAddress("10.0.0.1")?.locality).toBeUndefined();
  api.apply(node("a"));
  await expect
    .poll(() => source.view.workloadByAddress("10.0.0.1")?.locality, until)
    .toEqual({ region: "", zone: "a" });
});
