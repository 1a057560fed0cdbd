/** Local flows through the driver: how they are decided, told, and cut. */
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { MeshIndex } from "../../src/mesh/mesh-index.ts";
import type { FlowLabel } from "../../src/model/flow-label.ts";
import type { LocalPod } from "../../src/model/workload.ts";
import { securityOf } from "../../src/telemetry/flow-record.ts";
import type { PodSockets } from "../../src/tunnel/driver.ts";
import type { CredentialSpec, FlowClosed, FlowId, PodHandle } from "../../src/tunnel/engine.ts";
import { TunnelDriver } from "../../src/tunnel/tunnel-driver.ts";
import { authorizationPolicy, localPod, settings, workload } from "../mesh/build.ts";
import { makeCrl, makeParty, type Party } from "../support/pki.ts";
import { FakeEngine } from "./fake-engine.ts";

const web = workload("web", "10.0.0.1");
const api = workload("api", "10.0.1.1");
const sockets: PodSockets = {
  netns: { fd: 99 },
  listeners: [],
  originalDestination: { kind: "conntrack" },
  marks: { leave: 1, deliver: 2 },
};

interface Told {
  readonly record: FlowClosed;
  readonly label: FlowLabel;
  readonly pod: LocalPod | undefined;
}

let index: MeshIndex;
let engine: FakeEngine;
let driver: TunnelDriver;
let told: Told[];
let webHandle: PodHandle;
let apiHandle: PodHandle;

let root: Party;
/** The one certificate of both: which of them a list names is what tests are about. */
let leaf: Party;
beforeAll(async () => {
  root = await makeParty({ subject: "CN=root", authority: true });
  leaf = await makeParty({ subject: "CN=leaf", serial: "2a" }, root);
});

function credential(of: typeof web, crl = ""): CredentialSpec {
  const { identity } = of;
  const papers = { chain: leaf.pem, privateKey: leaf.key, trustBundle: root.pem };
  return { identity, ...papers, trustDomains: [], crl, deniedIdentities: [] };
}

function handleOf(uid: string): PodHandle {
  const found = [...engine.pods].find(([, pod]) => pod.uid === uid);
  if (found === undefined) throw new Error(`the engine has no pod ${uid}`);
  return found[0];
}

beforeEach(() => {
  index = new MeshIndex({ ...settings, localTraffic: "auto" });
  index.apply({ workloads: [web, api], networkPolicies: [] });
  told = [];
  let made: FakeEngine | undefined;
  driver = new TunnelDriver(
    {
      engine: (events) => {
        made = new FakeEngine(events);
        return made;
      },
      mesh: {
        view: index,
        onChange: (listener) => index.onChange(listener),
        start: async () => undefined,
        stop: async () => undefined,
      },
      telemetry: {
        flowClosed: (record, label, pod) => told.push({ record: { ...record }, label, pod }),
        tunnelUp: () => undefined,
        tunnelDown: () => undefined,
        internalError: (error) => {
          throw error;
        },
      },
    },
    { unknownSourceHold: 5000 },
  );
  if (made === undefined) throw new Error("the driver made no engine");
  engine = made;
  driver.start();
  for (const of of [web, api]) {
    driver.addPod(localPod(of), sockets);
    driver.setCredential(of.identity, credential(of));
  }
  webHandle = handleOf("uid-web");
  apiHandle = handleOf("uid-api");
});

function connect() {
  const source = { address: "127.0.0.1", port: 40_000 };
  const destination = { address: "10.0.1.1", port: 8080 };
  const arrived = engine.arrive({ pod: webHandle, role: "outbound", source, destination, peer: "" });
  const row = engine.rows.get(arrived.flow);
  if (row !== undefined && arrived.decision?.kind === "dial") row.target = destination;
  return arrived;
}

function isOpen(flow: FlowId): boolean {
  return engine.rows.has(flow);
}

describe("a local flow", () => {
  test("is dialled from the server's netns with the client's address, and remembered", () => {
    expect(connect().decision).toMatchObject({
      kind: "dial",
      from: apiHandle,
      purpose: "deliver",
      sourceAddress: "10.0.0.1",
      targets: [{ destination: { address: "10.0.1.1", port: 8080 } }],
      remember: { fields: ["destination"] },
    });
  });

  test("is told by both ends, each with the other's identity, and as no mutual TLS", () => {
    const { flow } = connect();
    engine.end(flow, "ok", { address: "10.0.1.1", port: 8080 });
    expect(
      told.map(({ record, label, pod }) => ({
        role: record.role,
        peer: record.peer,
        from: record.source.address,
        pod: pod?.name,
        security: securityOf(record, label),
      })),
    ).toEqual([
      { role: "outbound", peer: api.identity, from: "127.0.0.1", pod: "web", security: "local" },
      { role: "inbound-plaintext", peer: web.identity, from: "10.0.0.1", pod: "api", security: "local" },
    ]);
  });

  test("is listed with the other end's identity", () => {
    connect();
    expect(driver.flows()).toMatchObject([{ peer: api.identity, judged: { local: true } }]);
  });

  test.each<[string, () => void]>([
    ["a policy", () => index.apply({ authorizationPolicies: [authorizationPolicy("DENY", [{}])] })],
    [
      "a label that a policy selects by",
      () => {
        const policy = authorizationPolicy("DENY", [{}], { matchLabels: new Map([["tier", "closed"]]) });
        index.apply({ authorizationPolicies: [policy] });
        index.apply({ workloads: [{ ...api, labels: new Map([...api.labels, ["tier", "closed"]]) }] });
      },
    ],
    ["a denied identity", () => index.apply({ settings: { ...index.settings, deniedIdentities: [web.identity] } })],
    [
      "a NetworkPolicy on the server",
      () =>
        index.apply({ networkPolicies: [{ name: "np", namespace: "shop", matchLabels: new Map([["app", "api"]]) }] }),
    ],
    [
      "a NetworkPolicy on the client",
      () =>
        index.apply({ networkPolicies: [{ name: "np", namespace: "shop", matchLabels: new Map([["app", "web"]]) }] }),
    ],
    [
      "requests that begin to matter",
      () => index.apply({ authorizationPolicies: [authorizationPolicy("ALLOW", [{ to: [{ methods: ["GET"] }] }])] }),
    ],
    ["the end of the client's certificate", () => driver.forgetCredential(web.identity)],
  ])("is cut by %s, and none is made after it", (_what, change) => {
    const { flow } = connect();
    expect(isOpen(flow)).toBe(true);
    change();
    expect(engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
    expect(connect().decision?.kind).not.toBe("dial");
  });

  test.each([
    ["the client", web],
    ["the server", api],
  ])("is cut when the certificate of %s is revoked, and made again with another certificate", async (_who, revoked) => {
    const { flow } = connect();
    driver.setCredential(revoked.identity, credential(revoked, await makeCrl(root, ["2a"])));
    expect(engine.closed).toEqual([{ flow, reason: "policy-changed" }]);
    expect(connect().decision?.kind).toBe("carry");
    // The agent renews what is revoked: the list names nothing of its any more.
    driver.setCredential(revoked.identity, credential(revoked, await makeCrl(root, ["2b"])));
    expect(connect().decision?.kind).toBe("dial");
  });

  test("goes on when certificates of others are revoked", async () => {
    const { flow } = connect();
    const crl = await makeCrl(root, ["2b"]);
    for (const of of [web, api]) driver.setCredential(of.identity, credential(of, crl));
    expect(engine.closed).toEqual([]);
    expect(isOpen(flow)).toBe(true);
    expect(connect().decision?.kind).toBe("dial");
  });

  test("names the policy that cut it", () => {
    connect();
    index.apply({ authorizationPolicies: [authorizationPolicy("DENY", [{}])] });
    expect(told.map(({ record, label }) => [record.reason, label.policy])).toEqual([
      ["policy-changed", "shop/deny"],
      ["policy-changed", "shop/deny"],
    ]);
  });

  test("goes on when something else changes", () => {
    const { flow } = connect();
    index.apply({ workloads: [workload("other", "10.0.9.9")] });
    index.apply({ authorizationPolicies: [authorizationPolicy("DENY", [{ from: [{ namespaces: ["x"] }] }])] });
    expect(isOpen(flow)).toBe(true);
  });

  test("ends with the pod that it was joined to, and others use the tunnel from then on", () => {
    const { flow } = connect();
    const removed = driver.removePod("uid-api", { reason: "pod-removed" });
    expect(engine.closed).toEqual([{ flow, reason: "pod-removed" }]);
    expect(connect().decision?.kind).toBe("carry");
    for (const { done } of engine.removals) done();
    return removed;
  });

  test("is not remembered past the capture of another pod", () => {
    const before = engine.epochs.length;
    driver.addPod(localPod(workload("third", "10.0.1.3")), sockets);
    expect(engine.epochs.length).toBeGreaterThan(before);
  });
});
