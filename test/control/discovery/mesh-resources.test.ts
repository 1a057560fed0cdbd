import { expect, it, vi } from "vitest";
import { MeshResources } from "../../../src/control/discovery/mesh-resources.ts";
import { ResourceStore, type StoreChange } from "../../../src/control/discovery/resource-store.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import type { MeshDelta } from "../../../src/mesh/mesh-index.ts";
import { authorizationPolicy, localPod, mesh, peerAuthentication, rule, service, workload } from "../../mesh/build.ts";

const authority = { addTo: <T>(settings: T) => settings, onChange: () => () => undefined };

it("encodes a large mesh in slices, tells of it once, and hands a moved pod from node to node", async () => {
  const pods = Array.from({ length: 6000 }, (_, at) =>
    workload(`w${at}`, `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`, { node: `n${at % 300}` }),
  );
  const services = Array.from({ length: 200 }, (_, at) => {
    const members = pods.slice(at * 30, at * 30 + 30);
    const endpoints = members.map(({ uid, addresses: [address = ""] }) => ({ workload: uid, address, targetPort: 80 }));
    return service(`s${at}`, [`10.96.0.${at}`], { 80: endpoints }, members);
  });
  const localPods = pods.map((pod) => ({ node: pod.node, pod: localPod(pod) }));
  const view = mesh({ workloads: pods, services, localPods, networkPolicies: [] });
  const store = new ResourceStore();
  const told: StoreChange[] = [];
  store.onChange((change) => told.push(change));
  const source = { view, onChange: (listener: Parameters<typeof view.onChange>[0]) => view.onChange(listener) };
  const resources = new MeshResources({ source, store, authority, clock: systemClock }, { debounceMs: 1 });
  let turns = 0;
  const counting = setInterval(() => turns++, 1);
  const start = resources.start();
  // A change in the middle of it is not lost.
  setImmediate(() => view.apply({ workloads: [workload("late", "10.9.9.9")] }));
  await start;
  clearInterval(counting);
  expect(turns).toBeGreaterThan(3);
  expect(told.length).toBe(1);
  expect(store.all("address").size).toBeGreaterThanOrEqual(6200);
  await expect.poll(() => store.all("address").size).toBe(6201);
  expect(store.get("localPod", "uid-w7")?.node).toBe("n7");
  const moved = { ...localPod(workload("w7", "10.0.0.7")) };
  view.apply({ localPods: [{ node: "n8", pod: moved }] });
  await expect.poll(() => store.get("localPod", "uid-w7")?.node).toBe("n8");
  view.apply({ removedLocalPods: ["uid-w7"] });
  await expect.poll(() => store.get("localPod", "uid-w7")).toBeUndefined();
  expect(store.all("localPod").size).toBe(5999);
  resources.stop();
});

it("does for a changed policy what those need whom it selected or selects now, and no more", async () => {
  const pods = Array.from({ length: 600 }, (_, at) =>
    workload(`w${at}`, `10.0.${at >> 8}.${at & 255}`, { namespace: `ns-${at % 30}` }),
  );
  const policies = pods.map(({ namespace, name, labels }) =>
    authorizationPolicy("ALLOW", [], { namespace, name, matchLabels: labels }),
  );
  const front = service(
    "front",
    [],
    { 80: [] },
    [0, 30, 60].flatMap((at) => pods[at] ?? []),
  );
  const hostname = "front.ns-0.svc.cluster.local";
  const view = mesh({
    workloads: pods,
    services: [{ ...front, service: { ...front.service, namespace: "ns-0", hostname } }],
    authorizationPolicies: policies,
    peerAuthentications: pods.map(({ namespace, name, labels }) =>
      peerAuthentication({ namespace, name, matchLabels: labels, mode: "PERMISSIVE" }),
    ),
    networkPolicies: [],
  });
  const store = new ResourceStore();
  const source = { view, onChange: (listener: Parameters<typeof view.onChange>[0]) => view.onChange(listener) };
  const resources = new MeshResources({ source, store, authority, clock: systemClock }, { debounceMs: 1 });
  await resources.start();

  const scans = (["workloads", "authorizationPolicies", "peerAuthentications"] as const).map((all) =>
    vi.spyOn(view, all),
  );
  const looks = vi.spyOn(view, "authorizationFor");
  const encodings = vi.spyOn(store, "set");
  const told: StoreChange[] = [];
  store.onChange((change) => told.push(change));
  const labelsOf = (name: string) => new Map([["app", name]]);
  const policy = authorizationPolicy("ALLOW", [], { namespace: "ns-0", name: "w0", matchLabels: labelsOf("w0") });
  const rules = [rule({ to: [{ ports: ["8080"] }] })];
  const refusing = peerAuthentication({ namespace: "ns-0", name: "w0", matchLabels: labelsOf("w0"), mode: "STRICT" });
  const all = [...view.workloadsIn("ns-1")].map(({ name }) => name);
  const cases: readonly (readonly [what: string, delta: MeshDelta, lookedAt: string[], encoded: number])[] = [
    ["other rules", { authorizationPolicies: [{ ...policy, rules }] }, [], 2],
    ["another selector", { authorizationPolicies: [{ ...policy, matchLabels: labelsOf("w30") }] }, ["w0", "w30"], 4],
    ["a Service", { authorizationPolicies: [{ ...policy, targetServices: ["front"] }] }, ["w0", "w30", "w60"], 5],
    ["none any more", { removedAuthorizationPolicies: ["ns-0/w0"] }, ["w0", "w30", "w60"], 3],
    // One of them is the refusal itself.
    ["another mode", { peerAuthentications: [refusing] }, ["w0"], 3],
    ["a mode for a namespace", { peerAuthentications: [peerAuthentication({ namespace: "ns-1" })] }, all, 1 + 20],
  ];
  for (const [what, delta, lookedAt, encoded] of cases) {
    told.length = 0;
    looks.mockClear();
    encodings.mockClear();
    view.apply(delta);
    await expect.poll(() => told.length, { message: what }).toBe(1);
    expect(new Set(looks.mock.calls.map(([{ name }]) => name)), what).toEqual(new Set(lookedAt));
    expect(encodings.mock.calls.length, what).toBe(encoded);
  }
  told.length = 0;
  const selecting = { namespace: "ns-1", name: "n", matchLabels: new Map<string, string>() };
  view.apply({ networkPolicies: [selecting], authorizationPolicies: [policy] });
  await expect.poll(() => told.length).toBe(1);
  for (const scan of scans) expect(scan).not.toHaveBeenCalled();
  resources.stop();
});
