import { describe, expect, it } from "vitest";
import { edgeRows, securedText } from "../../../src/cli/traffic/edge-rows.ts";
import { keyOfRow, type SeenRow } from "../../../src/cli/traffic/gather.ts";
import { type CauseFacts, likelyCauses, type SideFacts } from "../../../src/cli/traffic/likely-causes.ts";
import { addedSince, remembered, topRows } from "../../../src/cli/traffic/rates.ts";
import { type TlsCheckInput, tlsCheckRows, watchedAdvice } from "../../../src/cli/traffic/tls-check-rows.ts";
import { peerAuthentication, service } from "../../mesh/build.ts";
import { api, exporter, meshOf, peerOf, row, sockets, start, stranger, web } from "./support.ts";

const mtls = { security: "mutual_tls" } as const;
const identified = { ...peerOf(web), identity: web.identity };

describe("tls-check", () => {
  const apiService = service(
    "api",
    ["10.9.0.1"],
    { 80: [{ workload: api.uid, address: "10.0.2.1", targetPort: 8080 }] },
    [api],
  );
  const check = (change: Partial<TlsCheckInput> = {}) =>
    tlsCheckRows({
      view: meshOf({ services: [apiService] }),
      workloads: [api],
      rows: [],
      sockets: [],
      since: new Map([["n2", start]]),
      ...change,
    });

  it.each([
    ["nobody", [], "QUIET"],
    ["mutual TLS", [row(identified, mtls)], "READY"],
    ["plaintext", [row(peerOf(stranger))], "PLAINTEXT"],
    ["both", [row(identified, mtls), row(peerOf(stranger))], "MIXED"],
    ["plaintext before the window", [row(identified, mtls), row(peerOf(stranger), { connections: 0 })], "READY"],
  ])("calls a PERMISSIVE port to which %s came as it is", (_name, rows, status) => {
    expect(check({ rows })).toMatchObject([
      { status, mode: "PERMISSIVE", policy: "", hostPort: "api.shop.svc.cluster.local:80", port: 8080 },
    ]);
  });

  it.each([
    ["STRICT", "OK"],
    ["DISABLE", "DISABLED"],
  ] as const)("names the policy that made a port %s", (mode, status) => {
    const view = meshOf({ services: [apiService], peerAuthentications: [peerAuthentication({ mode })] });
    expect(check({ view })).toMatchObject([{ status, mode, policy: "shop/default" }]);
  });

  it("remembers who last came in clear, from before the window too, and whether that was refused", () => {
    const rows = [
      row(peerOf(stranger), { connections: 0, lastSeen: start + 5 }),
      row(peerOf("203.0.113.9"), { connections: 0, refused: 1, lastSeen: start + 9 }),
    ];
    expect(check({ rows })[0]?.lastPlaintext).toEqual({
      at: new Date(start + 9).toISOString(),
      from: "203.0.113.9",
      refused: true,
    });
    expect(check({ rows: [] })[0]).toMatchObject({
      lastPlaintext: undefined,
      observedSince: new Date(start).toISOString(),
    });
  });

  it("finds ports that no Service sends to: by their sockets, their mode, and who connected", () => {
    const listening = [
      { port: 9100, protocol: "tcp" },
      { port: 53, protocol: "udp" },
    ] as const;
    const policy = peerAuthentication({
      name: "api",
      matchLabels: new Map([["app", "api"]]),
      portModes: new Map([[7000, "STRICT"]]),
    });
    const view = meshOf({ peerAuthentications: [policy] });
    const rows = check({ view, sockets: [sockets({ listening })], rows: [row(peerOf(stranger), { port: 6000 })] });
    expect(rows.map(({ port, protocol, status, hostPort }) => [port, protocol, status, hostPort])).toEqual([
      [53, "udp", "UNCOVERED", "api.shop:53"],
      [6000, "tcp", "PLAINTEXT", "api.shop:6000"],
      [7000, "tcp", "OK", "api.shop:7000"],
      [9100, "tcp", "QUIET", "api.shop:9100"],
    ]);
  });

  it("calls uncovered what the mesh does not see", () => {
    expect(check({ workloads: [exporter, stranger] }).map(({ status, note }) => [status, note])).toEqual([
      ["UNCOVERED", "host-network pods are not captured"],
      ["UNCOVERED", "not enrolled"],
    ]);
    expect(check({ since: new Map() })).toMatchObject([
      { status: "UNCOVERED", note: "its node's agent does not answer" },
    ]);
  });
});

describe("the window of tls-check", () => {
  const now = 10_000_000;
  const hour = 3_600_000;

  it.each([
    ["every agent has watched for all of it", { a: now - hour, b: now - 2 * hour }, ""],
    ["nobody has answered", {}, ""],
    [
      "one agent has started since",
      { a: now - 2 * hour, b: now - 90_000 },
      "agents have watched for 1m30s only, since the last of them started; CLIENTS counts from then",
    ],
  ])("is told as it is when %s", (_when, since, advice) => {
    expect(watchedAdvice(new Map(Object.entries(since)), hour, now)).toBe(advice);
  });
});

describe("edges", () => {
  it("makes one edge of both ends' rows, with the destination's counts and port", () => {
    const entry = service("api", ["10.9.0.1"], { 80: [{ workload: api.uid, address: "10.0.2.1", targetPort: 8080 }] }, [
      api,
    ]);
    const out = row(peerOf(api), {
      ...mtls,
      direction: "outbound",
      pod: "web",
      workload: web.uid,
      node: "n1",
      port: 80,
      service: "shop/api.shop.svc.cluster.local",
      connections: 4,
    });
    expect(edgeRows(meshOf({ services: [entry] }), [row(identified, mtls), out])).toMatchObject([
      {
        source: { owner: "Deployment/web", identity: web.identity },
        destination: { owner: "Deployment/api", identity: api.identity },
        port: 8080,
        connections: 3,
        reporters: ["source", "destination"],
      },
    ]);
  });

  it("counts requests that were refused on its connections, proven and not apart", () => {
    const last = {
      method: "POST",
      host: "api",
      path: "/",
      status: 403,
      reason: "policy-denied",
      policy: "",
      detail: "",
    };
    const place = { namespace: "shop", pod: "api", workload: api.uid, port: 8080, lastSeen: start, last };
    const found = edgeRows(
      meshOf(),
      [row(identified, mtls), row(peerOf(web)), row(identified, { ...mtls, port: 9090 })],
      [
        { ...place, peer: identified, requests: 4 },
        { ...place, peer: peerOf(stranger), requests: 2 },
      ],
    );
    expect(found.map((one) => `${one.security} ${one.port} ${one.requestsRefused}`).sort()).toEqual([
      "mutual_tls 8080 4",
      "mutual_tls 9090 0",
      "none 8080 0",
    ]);
  });

  it("says whether an edge is secured, and why not", () => {
    const view = meshOf();
    const texts = [
      row(identified, mtls),
      row(peerOf(stranger)),
      row(peerOf(web), { connections: 0, refused: 1, lastReason: "policy-denied" }),
    ]
      .flatMap((one) => edgeRows(view, [one]))
      .map(securedText);
    expect(texts).toEqual(["√", "no: plaintext", "refused: policy-denied"]);
  });
});

describe("top", () => {
  const counts = (connectionsTotal: number, bytesSent: number): SeenRow =>
    row(identified, { ...mtls, connectionsTotal, bytesSent, bytesReceived: 0 });
  const before = (one: SeenRow) => remembered(new Map(), [one]);

  it("counts what was added, and begins anew with an agent that did", () => {
    expect(addedSince(before(counts(10, 1000)), [counts(12, 1500)])).toMatchObject([
      { connections: 2, bytesSent: 500 },
    ]);
    expect(addedSince(before(counts(10, 1000)), [counts(1, 100)])).toMatchObject([{ connections: 1, bytesSent: 100 }]);
    expect(addedSince(new Map(), [counts(1, 100)])).toMatchObject([{ connections: 1, bytesSent: 100 }]);
  });

  it("remembers what a node said last while it is silent", () => {
    const kept = remembered(before(counts(10, 1000)), []);
    expect([...kept.keys()]).toEqual([keyOfRow(counts(10, 1000))]);
  });

  it("shows rates of what moves and leaves out what does not", () => {
    expect(topRows(meshOf(), before(counts(10, 1000)), [counts(14, 3000)], 2)).toMatchObject([
      { connections: 2, bytesSent: 1000 },
    ]);
    expect(topRows(meshOf(), before(counts(10, 1000)), [counts(10, 1000)], 2)).toEqual([]);
  });
});

describe("likely causes", () => {
  const side = (change: Partial<SideFacts> = {}): SideFacts => ({
    name: "shop/web",
    node: "n1",
    enrolled: true,
    notEnrolledBecause: "",
    answered: true,
    captureState: "captured",
    captureError: "",
    certificate: "ready",
    certificateError: "",
    clockAheadMs: 0,
    clockUncertainMs: 0,
    ...change,
  });
  const facts = (change: Partial<CauseFacts> = {}): CauseFacts => ({
    source: side(),
    destination: { ...side({ name: "shop/api", node: "n2" }), listening: true, port: 8080 },
    verdict: { allowed: true, reason: "ok", policy: "", mode: "PERMISSIVE", arrives: "mtls", request: "" },
    refusals: [],
    uncarried: 0,
    blocked: [],
    ...change,
  });
  const denied = (reason: string, policy: string, arrives: "mtls" | "plaintext" = "mtls") => ({
    verdict: { allowed: false, reason, policy, mode: "STRICT", arrives, request: "" },
  });
  const refusal = (reason: string, detail = "") => ({
    refusals: [{ side: "source" as const, reason, policy: "", detail, count: 1, lastSeen: start }],
  });

  it("finds nothing where nothing is wrong", () => {
    expect(likelyCauses(facts())).toEqual([]);
  });

  it.each<[string, Partial<CauseFacts>, string, string]>([
    [
      "a client that is not enrolled",
      { source: side({ enrolled: false }), ...denied("strict-plaintext", "shop/default", "plaintext") },
      "client-not-enrolled",
      "sure",
    ],
    ["a policy, by name", denied("policy-denied", "shop/deny"), "policy-denied", "sure"],
    [
      "a certificate that is not there yet",
      { source: side({ certificate: "pending", certificateError: "no way to control" }) },
      "certificate-missing",
      "sure",
    ],
    [
      "a clock",
      { destination: { ...side({ clockAheadMs: 120_000 }), listening: true, port: 1 } },
      "clock-skew",
      "likely",
    ],
    [
      "a clock that a handshake broke on",
      { source: side({ clockAheadMs: -120_000 }), ...refusal("tls-failed", "certificate is not yet valid") },
      "clock-skew",
      "sure",
    ],
    ["port 15008 that does not answer", refusal("connect-timeout"), "hbone-port-blocked", "likely"],
    [
      "a NetworkPolicy that is in the way",
      { blocked: [{ side: "destination", by: "NetworkPolicy web-only lets no tunnel pass" }] },
      "hbone-port-blocked",
      "likely",
    ],
    [
      "a NetworkPolicy that holds",
      { blocked: [{ side: "source", by: "NetworkPolicy tight lets no tunnel pass" }], ...refusal("connect-timeout") },
      "hbone-port-blocked",
      "sure",
    ],
    [
      "a port that nobody listens on",
      { destination: { ...side(), listening: false, port: 1 }, ...refusal("connect-failed") },
      "nothing-listens",
      "sure",
    ],
    [
      "capture that is not in place",
      { source: side({ captureState: "failed", captureError: "no netns" }) },
      "not-captured",
      "likely",
    ],
    [
      "an agent that is silent",
      { destination: { ...side({ answered: false }), listening: undefined, port: 1 } },
      "agent-silent",
      "likely",
    ],
    ["connections from before", { uncarried: 2 }, "open-before-enrolment", "sure"],
  ])("names %s", (_name, change, code, certainty) => {
    expect(likelyCauses(facts(change))[0]).toMatchObject({
      code,
      certainty,
      fix: expect.stringMatching(/./) as string,
    });
  });

  it("tells what is sure before what was only seen", () => {
    const all = likelyCauses(facts({ ...denied("policy-denied", "shop/deny"), ...refusal("policy-denied") }));
    expect(all.map(({ certainty }) => certainty)).toEqual(["sure", "seen"]);
  });

  it("tells of requests that were refused on connections that were let in, and how to ask again", () => {
    const request = { method: "POST", host: "api", path: "/orders", status: 403 };
    const refused = { side: "destination", reason: "policy-denied", policy: "shop/api-authz", detail: "" } as const;
    expect(likelyCauses(facts({ refusals: [{ ...refused, count: 2, lastSeen: start, request }] }))).toEqual([
      {
        code: "policy-denied",
        certainty: "seen",
        text: "the agent of n2 refused 2 requests on connections that were let in, the last POST /orders, answered 403 by shop/api-authz (policy-denied)",
        fix: "ask again: warren why pod/web.shop pod/api.shop:8080 --method POST --path /orders",
      },
    ]);
    const verdict = { allowed: false, reason: "policy-denied", policy: "shop/api-authz", mode: "STRICT" };
    const [sure] = likelyCauses(facts({ verdict: { ...verdict, arrives: "mtls", request: "POST /orders" } }));
    expect(sure?.text).toMatch(/^shop\/api-authz refuses POST \/orders \(policy-denied/);
  });

  it("does not call a clock wrong that may be right", () => {
    expect(likelyCauses(facts({ source: side({ clockAheadMs: 40_000, clockUncertainMs: 20_000 }) }))).toEqual([]);
  });
});
