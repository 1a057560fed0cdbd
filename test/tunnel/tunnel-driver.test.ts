import { PassThrough } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { MeshIndex } from "../../src/mesh/mesh-index.ts";
import type { FlowLabel } from "../../src/model/flow-label.ts";
import type { MeshSource } from "../../src/model/mesh.ts";
import type { LocalPod } from "../../src/model/workload.ts";
import type { DriverDeps, HandedFlow, PodSockets, RequestJudge } from "../../src/tunnel/driver.ts";
import type { CredentialSpec, Decision, FlowClosed, FlowId, PodHandle } from "../../src/tunnel/engine.ts";
import { TunnelDriver } from "../../src/tunnel/tunnel-driver.ts";
import { authorizationPolicy, localPod, peerAuthentication, service, settings, workload } from "../mesh/build.ts";
import { FakeEngine } from "./fake-engine.ts";

const web = workload("web", "10.0.0.1");
const api = workload("api", "10.0.1.1");
const sockets: PodSockets = {
  netns: { fd: 99 },
  listeners: [],
  originalDestination: { kind: "conntrack" },
  marks: { leave: 1, deliver: 2 },
};

/** A driver with a fake engine below and a mesh index above, and what telemetry heard. */
class Bench {
  readonly index = new MeshIndex(settings);
  readonly closed: { reason: string; label: FlowLabel; pod: LocalPod | undefined }[] = [];
  readonly errors: unknown[] = [];
  readonly driver: TunnelDriver;
  #engine: FakeEngine | undefined;

  constructor(requests?: DriverDeps["requests"]) {
    const index = this.index;
    const mesh: MeshSource = {
      view: index,
      onChange: (listener) => index.onChange(listener),
      start: async () => undefined,
      stop: async () => undefined,
    };
    this.driver = new TunnelDriver(
      {
        engine: (events) => {
          this.#engine = new FakeEngine(events);
          return this.#engine;
        },
        mesh,
        telemetry: {
          flowClosed: ({ reason }: FlowClosed, label, pod) => this.closed.push({ reason, label, pod }),
          tunnelUp: () => undefined,
          tunnelDown: () => undefined,
          internalError: (error) => this.errors.push(error),
        },
        ...(requests === undefined ? {} : { requests }),
      },
      { unknownSourceHold: 5000 },
    );
    this.driver.start();
  }

  get engine(): FakeEngine {
    if (this.#engine === undefined) throw new Error("the driver made no engine");
    return this.#engine;
  }

  /** Captures a pod; returns its handle. */
  capture(local: LocalPod): PodHandle {
    this.driver.addPod(local, sockets);
    const handle = [...this.engine.pods].findLast(([, { uid }]) => uid === local.uid)?.[0];
    if (handle === undefined) throw new Error("the engine has no such pod");
    return handle;
  }

  out(pod: PodHandle, address: string, port: number) {
    const source = { address: "10.0.0.1", port: 40000 };
    return this.engine.arrive({ pod, role: "outbound", source, destination: { address, port }, peer: "" });
  }

  tunnelled(pod: PodHandle, port = 80) {
    const source = { address: "10.0.0.1", port: 40000 };
    const destination = { address: "10.0.1.1", port };
    return this.engine.arrive({ pod, role: "inbound-hbone", source, destination, peer: web.identity });
  }

  plain(pod: PodHandle, port = 80) {
    const source = { address: "10.0.0.1", port: 40000 };
    const destination = { address: "10.0.1.1", port };
    return this.engine.arrive({ pod, role: "inbound-plaintext", source, destination, peer: "" });
  }
}

function targetsOf(decision: Decision | undefined): string {
  if (decision?.kind !== "carry") return decision?.kind ?? "nothing";
  return decision.targets.map(({ group, authority }) => `${group} ${authority}`).join(", ");
}

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(async () => {
  await bench.driver.stop();
  expect(bench.errors).toEqual([]);
  vi.useRealTimers();
});

describe("decisions", () => {
  beforeEach(() => {
    bench.index.apply({
      workloads: [web, api],
      services: [service("api", ["10.96.0.1"], { 80: [{ workload: api.uid, address: "10.0.1.1", targetPort: 8080 }] })],
    });
  });

  test("an outbound flow is carried in the pod's group to the peer, remembered for its destination in this epoch", () => {
    const pod = bench.capture(localPod(web));
    const { decision } = bench.out(pod, "10.96.0.1", 80);
    const [[group, spec] = []] = [...bench.engine.groups];
    expect(spec).toEqual({ pod, peer: { address: "10.0.1.1", port: 15008 }, expectedIdentities: [api.identity] });
    expect(decision).toEqual({
      kind: "carry",
      targets: [{ group, authority: "10.0.1.1:8080", weight: 1 }],
      label: 1,
      baggage:
        "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.deployment.name=web,service.name=web,service.version=latest",
      forwardedHost: "api.shop.svc.cluster.local",
      remember: { fields: ["destination"], epoch: bench.engine.epochs.at(-1)?.epoch },
    });
  });

  test("an inbound flow is delivered from the pod itself with the client's address", () => {
    const pod = bench.capture(localPod(api));
    expect(bench.tunnelled(pod, 8080).decision).toMatchObject({
      kind: "dial",
      targets: [{ destination: { address: "10.0.1.1", port: 8080 }, weight: 1 }],
      from: pod,
      purpose: "deliver",
      sourceAddress: "10.0.0.1",
      remember: { fields: ["source-address", "peer-identity", "authority"] },
    });
  });

  test("a flow of a handle that the driver does not know is refused", () => {
    expect(bench.out(12345 as PodHandle, "10.96.0.1", 80).decision).toMatchObject({
      kind: "refuse",
      reason: "pod-removed",
    });
  });

  test("the closing record is told with the label of its decision, also after the mesh moved on", () => {
    const pod = bench.capture(localPod(web));
    const { flow } = bench.out(pod, "10.96.0.1", 80);
    bench.index.apply({ removedWorkloads: [api.uid] });
    bench.engine.end(flow, "ok", { address: "10.0.1.1", port: 15008 });
    expect(bench.closed).toMatchObject([
      {
        reason: "ok",
        label: { source: web, destination: api, service: { name: "api" }, policy: "" },
        pod: { name: "web" },
      },
    ]);
  });
});

describe("a change of the mesh", () => {
  test("outdates all remembered decisions before it returns", () => {
    const before = bench.engine.epochs.length;
    bench.index.apply({ workloads: [web] });
    expect(bench.engine.epochs.length).toBe(before + 1);
    const [last, previous] = [bench.engine.epochs.at(-1), bench.engine.epochs.at(-2)];
    expect(last?.epoch).toBeGreaterThan(previous?.epoch ?? Number.POSITIVE_INFINITY);
  });

  test("keeps the pools of peers that stay and lets go of those that changed", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(web));
    const first = targetsOf(bench.out(pod, "10.0.1.1", 80).decision);
    bench.index.apply({ workloads: [workload("other", "10.0.2.2")] });
    expect(targetsOf(bench.out(pod, "10.0.1.1", 80).decision)).toBe(first);
    bench.index.apply({ workloads: [workload("api", "10.0.1.1", { serviceAccount: "other" })] });
    expect(bench.engine.groups.size).toBe(0);
    expect(targetsOf(bench.out(pod, "10.0.1.1", 80).decision)).not.toBe(first);
  });

  test("to STRICT closes plaintext flows and leaves tunnelled ones alone", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(api));
    const plain = bench.plain(pod);
    const tunnelled = bench.tunnelled(pod);
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "STRICT" })] });
    expect(bench.engine.closed).toEqual([{ flow: plain.flow, reason: "policy-changed" }]);
    expect(bench.engine.rows.has(tunnelled.flow)).toBe(true);
    expect(bench.closed).toMatchObject([{ reason: "policy-changed", label: { policy: "shop/default" } }]);
    expect(bench.driver.stats()).toMatchObject({ rejudgedTotal: 2, policyClosedTotal: 1 });
  });

  test("to DISABLE closes tunnelled flows and leaves plaintext ones alone", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(api));
    bench.plain(pod);
    const { flow } = bench.tunnelled(pod);
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "DISABLE" })] });
    expect(bench.engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
  });

  test("that attaches a selector policy by a pod's new label closes what it forbids", () => {
    const denied = authorizationPolicy("DENY", [{ to: [{ ports: ["80"] }] }], {
      matchLabels: new Map([["tier", "gold"]]),
    });
    bench.index.apply({ workloads: [web, api], authorizationPolicies: [denied] });
    const pod = bench.capture(localPod(api));
    const { flow } = bench.tunnelled(pod, 80);
    bench.tunnelled(pod, 81);
    expect(bench.engine.closed).toEqual([]);
    bench.index.apply({ workloads: [workload("api", "10.0.1.1", { labels: { tier: "gold" } })] });
    expect(bench.engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
    expect(bench.closed).toMatchObject([{ label: { policy: "shop/deny" } }]);
  });

  test("that denies an identity closes its flows", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(api));
    const { flow } = bench.tunnelled(pod);
    bench.plain(pod);
    bench.index.apply({ settings: { ...settings, deniedIdentities: [web.identity] } });
    expect(bench.engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
  });

  test("that only moves routes closes nothing and judges nothing", () => {
    bench.index.apply({ workloads: [web, api], services: [service("api", ["10.96.0.1"], { 80: [] })] });
    const pod = bench.capture(localPod(api));
    bench.tunnelled(pod);
    bench.index.apply({ services: [service("api", ["10.96.0.1"], { 80: [{ address: "10.0.9.9", targetPort: 1 }] })] });
    expect(bench.driver.stats()).toMatchObject({ rejudgedTotal: 0, policyClosedTotal: 0 });
  });

  test("is enforced on ten thousand open flows, in slices", async () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(api));
    for (let index = 0; index < 5000; index += 1) {
      bench.plain(pod, 1000 + index);
      bench.tunnelled(pod, 1000 + index);
    }
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "STRICT" })] });
    await bench.driver.settled();
    expect(bench.engine.closed.length).toBe(5000);
    expect([...bench.engine.rows.values()].every(({ role }) => role === "inbound-hbone")).toBe(true);
  });

  test("that comes in the middle of judging is what counts in the end", async () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(api));
    for (let index = 0; index < 5000; index += 1) bench.plain(pod, 1000 + index);
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "STRICT" })] });
    bench.index.apply({ removedPeerAuthentications: ["shop/default"] });
    const already = bench.engine.closed.length;
    await bench.driver.settled();
    expect(bench.engine.closed.length).toBe(already);
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "STRICT" })] });
    await bench.driver.settled();
    expect(bench.engine.rows.size).toBe(0);
  });
});

describe("a pod that the mesh does not know yet", () => {
  test("has its flows held until it is known", () => {
    const pod = bench.capture(localPod(web));
    const { flow, decision } = bench.out(pod, "10.0.1.1", 80);
    expect(decision).toBeUndefined();
    expect(bench.driver.stats().heldFlows).toBe(1);
    bench.index.apply({ workloads: [api] });
    expect(bench.engine.decisions.get(flow)).toBeUndefined();
    bench.index.apply({ workloads: [web] });
    expect(bench.engine.decisions.get(flow)).toMatchObject({ kind: "carry" });
    expect(bench.driver.stats().heldFlows).toBe(0);
  });

  test("has its flows refused when it stays unknown", () => {
    vi.useFakeTimers();
    const pod = bench.capture(localPod(web));
    const { flow } = bench.out(pod, "10.0.1.1", 80);
    vi.advanceTimersByTime(5000);
    expect(bench.engine.decisions.get(flow)).toMatchObject({ kind: "refuse", reason: "unknown-source" });
  });

  test("has nothing held for flows that ended meanwhile, or when it leaves", () => {
    const pod = bench.capture(localPod(web));
    bench.engine.end(bench.out(pod, "10.0.1.1", 80).flow, "reset-by-source");
    expect(bench.driver.stats().heldFlows).toBe(0);
    const { flow } = bench.out(pod, "10.0.1.1", 80);
    void bench.driver.removePod("uid-web");
    expect(bench.engine.decisions.get(flow)).toMatchObject({ kind: "refuse", reason: "pod-removed" });
  });
});

describe("requests", () => {
  const gets = authorizationPolicy("ALLOW", [{ from: [{ namespaces: ["shop"] }], to: [{ methods: ["GET"] }] }]);
  const get = { method: "GET", host: "api", path: "/", header: () => [] };
  const post = { ...get, method: "POST" };
  let judge: RequestJudge | undefined;
  let handed: HandedFlow[] = [];
  let rejudged: FlowId[] = [];

  beforeEach(() => {
    handed = [];
    rejudged = [];
    bench = new Bench((offered) => {
      judge = offered;
      return {
        enforce: (flow) => handed.push(flow),
        rejudge: (concerns) => rejudged.push(...handed.filter(concerns).map(({ flow }) => flow)),
        drain: () => undefined,
      };
    });
    bench.index.apply({ workloads: [web, api], authorizationPolicies: [gets] });
  });

  const outcome = (flow: HandedFlow | undefined, request: typeof get): string | undefined =>
    flow && judge?.authorize(flow, request).outcome;

  test("on a port with HTTP rules are judged one by one, by the policies of their time", () => {
    const pod = bench.capture(localPod(api));
    const { flow, decision } = bench.tunnelled(pod);
    expect(decision).toEqual({ kind: "hand-over", label: 1, baggage: expect.stringContaining("service.name=api") });
    bench.engine.events.flowHandedOver(flow, new PassThrough());
    const destination = { address: "10.0.1.1", port: 80 };
    expect(handed).toEqual([
      { flow, pod, peer: web.identity, source: { address: "10.0.0.1", port: 40000 }, destination },
    ]);
    expect([outcome(handed[0], get), outcome(handed[0], post)]).toEqual(["allow", "deny"]);
    bench.index.apply({ authorizationPolicies: [authorizationPolicy("DENY", [{ to: [{ methods: ["GET"] }] }])] });
    expect(bench.engine.closed).toEqual([]);
    expect(outcome(handed[0], get)).toBe("deny");
    expect(rejudged).toEqual([flow]);
    bench.index.apply({ workloads: [workload("other", "10.0.9.9")] });
    expect(rejudged).toEqual([flow]);
    bench.engine.end(flow, "ok");
    expect(bench.driver.stats().handedOverFlows).toBe(0);
  });

  test("are refused with the connection's reason once it is forbidden, and after the pod has left", () => {
    const pod = bench.capture(localPod(api));
    const { flow } = bench.plain(pod);
    bench.engine.events.flowHandedOver(flow, new PassThrough());
    bench.index.apply({ peerAuthentications: [peerAuthentication({ mode: "STRICT" })] });
    expect(bench.engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
    expect(handed[0] && judge?.authorize(handed[0], get)).toMatchObject({
      outcome: "deny",
      reason: "strict-plaintext",
    });
    expect(judge?.podSockets(pod)).toBe(sockets);
    bench.index.apply({ removedWorkloads: [api.uid] });
    expect(handed[0] && judge?.authorize(handed[0], get)).toMatchObject({ outcome: "deny", reason: "pod-removed" });
  });

  test("that begin to matter end the flows that pass unread, and only those", () => {
    bench.index.apply({ removedAuthorizationPolicies: ["shop/allow"] });
    const pod = bench.capture(localPod(api));
    const { flow } = bench.tunnelled(pod);
    bench.index.apply({ authorizationPolicies: [gets] });
    expect(bench.engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
    bench.tunnelled(pod);
    bench.index.apply({ authorizationPolicies: [{ ...gets, createdAt: 2 }] });
    expect(bench.engine.closed).toHaveLength(1);
  });

  test("that nobody was to read are not passed", () => {
    const plaintext = new PassThrough();
    bench.engine.events.flowHandedOver(4242 as FlowId, plaintext);
    expect(plaintext.destroyed).toBe(true);
    expect(handed).toEqual([]);
  });
});

describe("pods and credentials", () => {
  const spec = (identity: CredentialSpec["identity"]): CredentialSpec => ({
    identity,
    chain: "chain",
    privateKey: "key",
    trustBundle: "bundle",
    trustDomains: ["cluster.local"],
    crl: "",
    deniedIdentities: [],
  });

  test("pods of one service account share a credential; it goes with the last of them", async () => {
    const twin = workload("web-2", "10.0.0.2", { serviceAccount: "web" });
    bench.capture(localPod(web));
    bench.capture(localPod(twin));
    expect([...bench.engine.credentials.values()]).toEqual([{ identity: web.identity }]);
    const first = bench.driver.removePod("uid-web");
    bench.engine.removals[0]?.done();
    await first;
    expect(bench.engine.credentials.size).toBe(1);
    const second = bench.driver.removePod("uid-web-2");
    bench.engine.removals[1]?.done();
    await second;
    expect(bench.engine.credentials.size).toBe(0);
  });

  test("a certificate may come before its pod and stays until it is forgotten", async () => {
    bench.driver.setCredential(web.identity, spec(web.identity));
    const pod = bench.capture(localPod(web));
    const credential = bench.engine.pods.get(pod)?.credential;
    expect(credential && bench.engine.credentials.get(credential)?.spec?.chain).toBe("chain");
    const removed = bench.driver.removePod("uid-web");
    bench.engine.removals[0]?.done();
    await removed;
    expect(bench.engine.credentials.size).toBe(1);
    bench.driver.forgetCredential(web.identity);
    expect(bench.engine.credentials.size).toBe(0);
  });

  test("a pod that the engine refuses leaves nothing behind", () => {
    bench.engine.refusePods = true;
    expect(() => bench.driver.addPod(localPod(web), sockets)).toThrow("listener is not usable");
    expect(bench.driver.stats()).toMatchObject({ pods: 0, credentials: 0 });
  });

  test("a pod captured again gets a new handle; flows of the old one may finish until the pod leaves", () => {
    bench.index.apply({ workloads: [web, api] });
    const before = bench.capture(localPod(web));
    const { flow } = bench.out(before, "10.0.1.1", 80);
    const after = bench.capture(localPod(web));
    expect(after).not.toBe(before);
    expect(bench.engine.removals).toMatchObject([{ pod: before, graceMs: 2 ** 31 - 1 }]);
    expect(bench.engine.closed).toEqual([]);
    void bench.driver.removePod("uid-web", { graceMs: 1000 });
    expect(bench.engine.closed).toEqual([{ flow, reason: "pod-removed" }]);
    expect(bench.engine.removals.at(-1)).toMatchObject({ pod: after, graceMs: 1000, reason: "pod-removed" });
  });

  test("a pod that comes back and leaves again leaves flows of its first stay their own time", async () => {
    bench.index.apply({ workloads: [web, api] });
    bench.out(bench.capture(localPod(web)), "10.0.1.1", 80);
    let left = 0;
    const first = bench.driver.removePod("uid-web", { graceMs: 1000 }).then(() => left++);
    bench.capture(localPod(web));
    const second = bench.driver.removePod("uid-web", { graceMs: 1000 }).then(() => left++);
    expect(bench.engine.closed).toEqual([]);
    bench.engine.removals[1]?.done();
    await nextTurn();
    expect(left).toBe(0);
    bench.engine.removals[0]?.done();
    await Promise.all([first, second]);
    await bench.driver.removePod("uid-web");
    expect(bench.driver.stats()).toMatchObject({ pods: 0, credentials: 0 });
  });

  test("a second removal waits for the first", async () => {
    bench.capture(localPod(web));
    const ended: string[] = [];
    const first = bench.driver.removePod("uid-web", { graceMs: 1000 }).then(() => ended.push("first"));
    const second = bench.driver.removePod("uid-web").then(() => ended.push("second"));
    await nextTurn();
    expect(ended).toEqual([]);
    bench.engine.removals[0]?.done();
    await Promise.all([first, second]);
    expect(ended).toEqual(["first", "second"]);
  });

  test("new addresses and a new identity reach the engine, and outdate the pod's decisions", () => {
    const pod = bench.capture(localPod(web));
    const moved = workload("web", "10.0.0.8", { serviceAccount: "other" });
    bench.driver.updatePod(localPod(moved));
    expect(bench.engine.pods.get(pod)?.addresses).toEqual(["10.0.0.8"]);
    expect([...bench.engine.credentials.values()].map(({ identity }) => identity)).toEqual([moved.identity]);
    expect(bench.engine.epochs.at(-1)?.pod).toBe(pod);
  });

  test("a pod's groups go with it", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(web));
    bench.out(pod, "10.0.1.1", 80);
    expect(bench.engine.groups.size).toBe(1);
    void bench.driver.removePod("uid-web");
    expect(bench.engine.groups.size).toBe(0);
  });

  test("labels that no flow has any more are swept, those of open flows stay", () => {
    vi.useFakeTimers();
    bench = new Bench();
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(web));
    const { flow } = bench.out(pod, "10.0.1.1", 80);
    for (let index = 0; index < 300; index += 1) {
      const passing = workload(`p${index}`, `10.3.0.${index % 250}`);
      bench.index.apply({ workloads: [passing] });
      bench.engine.end(bench.out(pod, passing.addresses[0] ?? "", 80).flow, "ok");
    }
    expect(bench.driver.stats().labels).toBe(301);
    vi.advanceTimersByTime(30_000);
    expect(bench.driver.stats().labels).toBeLessThan(5);
    bench.engine.end(flow, "ok", { address: "10.0.1.1", port: 15008 });
    expect(bench.closed.at(-1)?.label).toMatchObject({ source: web, destination: api });
  });

  test("listings tell pod and judgement", () => {
    bench.index.apply({ workloads: [web, api] });
    const pod = bench.capture(localPod(web));
    const { flow } = bench.out(pod, "10.0.1.1", 80);
    expect(bench.driver.flows()).toMatchObject([
      { flow, judged: { source: web, destination: api }, localPod: { name: "web" } },
    ]);
  });

  test("stop may be called twice and nothing is heard after it", async () => {
    await bench.driver.stop();
    const { length } = bench.engine.epochs;
    bench.index.apply({ workloads: [web] });
    expect(bench.engine.epochs.length).toBe(length);
    await bench.driver.stop();
  });
});
