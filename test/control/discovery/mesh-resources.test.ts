import { fromBinary } from "@bufbuild/protobuf";
import { expect, it, onTestFinished, vi } from "vitest";
import { MeshResources } from "../../../src/control/discovery/mesh-resources.ts";
import { ResourceEncoder } from "../../../src/control/discovery/resource-encoder.ts";
import { ResourceStore, type StoreChange } from "../../../src/control/discovery/resource-store.ts";
import { encodeResponse } from "../../../src/control/discovery/response-codec.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import type { MeshDelta } from "../../../src/mesh/mesh-index.ts";
import { DeltaDiscoveryResponseSchema } from "../../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { Action, AuthorizationSchema, Scope } from "../../../src/xds/gen/istio/security/authorization_pb.ts";
import { encodeAuthorization } from "../../../src/xds/resources/authorization.ts";
import { decodePolicy } from "../../../src/xds/resources/policy.ts";
import type { ResourceType } from "../../../src/xds/resources/resource-types.ts";
import {
  authorizationPolicy,
  localPod,
  mesh,
  peerAuthentication,
  rule,
  service,
  settings,
  workload,
} from "../../mesh/build.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const log = { warn: () => undefined, error: () => undefined };
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
  const resources = new MeshResources({ source, store, authority, clock: systemClock, log }, { debounceMs: 1 });
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
  const resources = new MeshResources({ source, store, authority, clock: systemClock, log }, { debounceMs: 1 });
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
    await expect.poll(() => encodings.mock.calls.length, { message: what }).toBeGreaterThanOrEqual(encoded);
    expect(new Set(looks.mock.calls.map(([{ name }]) => name)), what).toEqual(new Set(lookedAt));
    expect(encodings.mock.calls.length, what).toBe(encoded);
  }
  told.length = 0;
  const selecting = { namespace: "ns-1", name: "n", matchLabels: new Map<string, string>() };
  view.apply({ networkPolicies: [selecting], authorizationPolicies: [policy] });
  await expect.poll(() => told.length).toBeGreaterThan(0);
  for (const scan of scans) expect(scan).not.toHaveBeenCalled();
  resources.stop();
});

/** A view whose changes are told, and the store that is kept equal to it. */
function kept(delta: MeshDelta, words: string[] = []) {
  const view = mesh({ networkPolicies: [], ...delta });
  const store = new ResourceStore();
  const source = { view, onChange: (listener: Parameters<typeof view.onChange>[0]) => view.onChange(listener) };
  const telling = {
    warn: (_: object, text: string) => words.push(text),
    error: (_: object, text: string) => words.push(text),
  };
  const deps = { source, store, authority, clock: systemClock, log: telling };
  const resources = new MeshResources(deps, { debounceMs: 1 });
  onTestFinished(() => resources.stop());
  return { view, store, resources, words };
}

it("rejects alone what cannot be encoded, says so once, and goes on with all the rest", async () => {
  const { view, store, resources, words } = kept({ workloads: [workload("a", "10.0.0.1")] });
  await resources.start();
  const bad = authorizationPolicy("ALLOW", [], { name: "bad", namespace: "n", createdAt: Number.NaN });
  const good = authorizationPolicy("ALLOW", [], { name: "good", namespace: "n" });
  const worse = peerAuthentication({ name: "worse", namespace: "n", createdAt: Number.NaN });
  view.apply({
    authorizationPolicies: [bad, good],
    peerAuthentications: [worse],
    workloads: [workload("b", "10.0.0.2"), workload("odd", "nowhere"), workload("a", "nowhere at all")],
  });
  await expect.poll(() => store.get("address", workload("b", "").uid)).toBeDefined();
  expect(store.get("policy", "AuthorizationPolicy/n/good")).toBeDefined();
  const untold = ["policy AuthorizationPolicy/n/bad", "policy PeerAuthentication/n/worse"];
  untold.push(...["odd", "a"].map((name) => `address ${workload(name, "").uid}`));
  expect(resources.untold.map(({ object }) => object).sort()).toEqual(untold.sort());
  for (const object of untold) expect(words.filter((text) => text.includes(object))).toHaveLength(1);
  // Policies refuse until they can be told; a workload's last good version stays.
  const sent = (name: string) => {
    const { bytes } = heldIn(store, "policy", name);
    return decodePolicy(name, bytes);
  };
  expect(sent("AuthorizationPolicy/n/bad")).toMatchObject({
    policy: { action: "DENY", problems: [expect.any(String)] },
  });
  expect(sent("PeerAuthentication/n/worse")).toMatchObject({ policy: { mode: "STRICT" } });
  expect(store.get("address", workload("odd", "").uid)).toBeUndefined();
  expect([...store.named("address", "/10.0.0.1")]).toEqual([workload("a", "").uid]);

  // Repaired, or gone, it is as if nothing had been.
  view.apply({
    authorizationPolicies: [{ ...bad, createdAt: 1 }],
    removedPeerAuthentications: ["n/worse"],
    workloads: [workload("a", "10.0.0.3")],
    removedWorkloads: [workload("odd", "").uid],
  });
  await expect.poll(() => resources.untold).toEqual([]);
  expect(sent("AuthorizationPolicy/n/bad")).toMatchObject({ policy: { action: "ALLOW" } });
  // The last good version of a policy stays when a later one cannot be told.
  view.apply({ authorizationPolicies: [{ ...bad, matchLabels: new Map([["app", "x"]]) }] });
  await expect.poll(() => resources.untold.length).toBe(1);
  expect(sent("AuthorizationPolicy/n/bad")).toMatchObject({ policy: { action: "ALLOW" } });
});

it("refuses to Istio's clients where a policy cannot be said in their words, whatever was said before", () => {
  const store = new ResourceStore();
  const encoder = new ResourceEncoder({ store, log });
  const policy = authorizationPolicy("ALLOW", [], { name: "p", namespace: "n" });
  expect(encoder.putAuthorization("n/p", () => encodeAuthorization(policy, settings), settings)).toBe(true);
  const fail = () => {
    throw new Error("cannot be said");
  };
  expect(encoder.putAuthorization("n/p", fail, settings)).toBe(false);
  expect(encoder.untold).toEqual([{ object: "authorization n/p", message: "cannot be said" }]);
  const { action, rules, scope } = fromBinary(AuthorizationSchema, heldIn(store, "authorization", "n/p").bytes);
  expect([action, rules.length, scope]).toEqual([Action.DENY, 1, Scope.NAMESPACE]);
  expect(encoder.putAuthorization("n/p", () => undefined, settings)).toBe(false);
  expect([encoder.untold, store.get("authorization", "n/p")]).toEqual([[], undefined]);
});

it("tells what a policy says while workloads are still being looked at", async () => {
  const pods = Array.from({ length: 3000 }, (_, at) => workload(`w${at}`, `10.0.${at >> 8}.${at & 255}`));
  const { view, store, resources } = kept({});
  await resources.start();
  const told: (readonly string[])[] = [];
  store.onChange((change) => told.push([...change.keys()]));
  const authorizationFor = view.authorizationFor.bind(view);
  let looked = 0;
  vi.spyOn(view, "authorizationFor").mockImplementation((pod) => {
    // Slow enough for many slices; the policy comes in the middle.
    const until = performance.now() + 0.1;
    while (performance.now() < until);
    looked += 1;
    if (looked === 1000) setImmediate(() => view.apply({ authorizationPolicies: [authorizationPolicy("DENY", [])] }));
    return authorizationFor(pod);
  });
  view.apply({ workloads: pods });
  await expect.poll(() => told.flat()).toContain("address");
  expect(told[0]).toEqual(["policy", "authorization"]);
  expect(store.all("address").size).toBe(3000);
});

it("looks at all of the mesh again after an update that failed for no object's sake", async () => {
  const policy = authorizationPolicy("DENY", [], { namespace: "n", name: "gone" });
  const { view, store, resources, words } = kept({ authorizationPolicies: [policy] });
  await resources.start();
  vi.spyOn(view, "serviceByHostname").mockImplementationOnce(() => {
    throw new Error("a fault of ours");
  });
  view.apply({
    services: [service("s", ["10.96.0.1"], { 80: [] })],
    removedAuthorizationPolicies: ["n/gone"],
    workloads: [workload("late", "10.0.0.9")],
  });
  await expect.poll(() => store.get("address", workload("late", "").uid)).toBeDefined();
  expect(words.join()).toContain("a fault of ours");
  expect(store.all("policy").size).toBe(0);
  expect([...store.named("address", "/10.0.0.9")].length).toBe(1);
});

function heldIn(store: ResourceStore, type: ResourceType, name: string): { readonly bytes: Uint8Array } {
  const head = { typeUrl: "", nonce: "", version: "", more: false, removed: [] };
  const frame = store.get(type, name)?.frame ?? new Uint8Array();
  const { resources } = fromBinary(DeltaDiscoveryResponseSchema, encodeResponse({ ...head, frames: [frame] }));
  return { bytes: resources[0]?.resource?.value ?? new Uint8Array() };
}

it("tells changes that come within a moment of each other as one", async () => {
  const clock = new FakeClock();
  const view = mesh({ workloads: [workload("web", "10.0.0.1")] });
  const store = new ResourceStore();
  const told: StoreChange[] = [];
  store.onChange((change) => told.push(change));
  const source = { view, onChange: (listener: Parameters<typeof view.onChange>[0]) => view.onChange(listener) };
  const resources = new MeshResources({ source, store, authority, clock, log }, { debounceMs: 5 });
  onTestFinished(() => resources.stop());
  await resources.start();
  expect(told.length).toBe(1);
  for (let at = 2; at < 10; at++) view.apply({ workloads: [workload(`w${at}`, `10.0.0.${at}`)] });
  clock.advance(4);
  view.apply({ workloads: [workload("web", "10.0.0.100")] });
  expect(told.length).toBe(1);
  clock.advance(1);
  await expect.poll(() => told.length).toBe(2);
  expect(told[1]?.get("address")?.size).toBe(9);
  // What never stops changing is told all the same: the moment is counted from the first change.
  view.apply({ workloads: [workload("web", "10.0.0.101")] });
  clock.advance(5);
  await expect.poll(() => told.length).toBe(3);
});
