import { describe, expect, it } from "vitest";
import type { FlowLabel } from "../../src/model/flow-label.ts";
import type { LocalPod } from "../../src/model/workload.ts";
import { type AccessEntry, AccessLog, type AccessLogOptions, accessFields } from "../../src/telemetry/access-log.ts";
import type { FlowRecord } from "../../src/telemetry/flow-record.ts";
import { label, localPod, record, webIdentity, workload } from "./fixtures.ts";

function lines(options: AccessLogOptions, ...flows: [FlowRecord, FlowLabel, LocalPod | undefined][]): string[] {
  const written: string[] = [];
  const sink = { write: (line: string) => written.push(line), dropped: 0, close: async () => {} };
  const log = new AccessLog({ sink, now: () => 1_700_000_000_031, random: () => 0.5 }, options);
  for (const flow of flows) log.flowClosed(...flow);
  return written;
}

const text: AccessLogOptions = { mode: "all", namespaces: new Map(), sample: 1, format: "text" };
const outbound: [FlowRecord, FlowLabel, LocalPod] = [record(), label(), localPod("web")];

const refused: [FlowRecord, FlowLabel, LocalPod] = [
  record({
    role: "inbound-plaintext",
    destination: { address: "fd00::8", port: 8080 },
    source: { address: "fd00::9", port: 41010 },
    target: undefined,
    peer: "",
    tunnel: 0,
    reason: "strict-plaintext",
    bytesSent: 0,
    bytesReceived: 0,
    connectedMs: -1,
    durationMs: 0.2,
  }),
  label({ source: undefined, destination: undefined, service: undefined, policy: "production/default" }),
  localPod("api"),
];

describe("the access log", () => {
  it("writes an outbound tunnelled connection from the client's point of view", () => {
    expect(lines(text, outbound)).toEqual([
      "2023-11-14T22:13:20.031Z info  access connection complete src.addr=10.244.1.5:38472 src.workload=web-1 " +
        "src.namespace=production src.identity=spiffe://cluster.local/ns/production/sa/web dst.addr=10.244.2.8:15008 " +
        "dst.original_addr=10.96.0.10:80 dst.service=api.production.svc.cluster.local dst.workload=api-1 " +
        "dst.namespace=production dst.identity=spiffe://cluster.local/ns/production/sa/api direction=outbound " +
        "bytes_sent=120 bytes_recv=4500 connect=2ms duration=32ms security=mutual_tls flow=7 tunnel=3 reason=ok\n",
    ]);
  });

  it("writes an inbound tunnelled connection from the server's point of view", () => {
    const flow = record({
      role: "inbound-hbone",
      peer: webIdentity,
      destination: { address: "10.244.2.8", port: 8080 },
      target: { address: "10.244.2.8", port: 8080 },
    });
    expect(lines(text, [flow, label(), localPod("api")])).toEqual([
      "2023-11-14T22:13:20.031Z info  access connection complete src.addr=10.244.1.5:38472 src.workload=web-1 " +
        "src.namespace=production src.identity=spiffe://cluster.local/ns/production/sa/web dst.addr=10.244.2.8:8080 " +
        "dst.hbone_addr=10.244.2.8:8080 dst.service=api.production.svc.cluster.local dst.workload=api-1 " +
        "dst.namespace=production dst.identity=spiffe://cluster.local/ns/production/sa/api direction=inbound " +
        "bytes_sent=4500 bytes_recv=120 connect=2ms duration=32ms security=mutual_tls flow=7 tunnel=3 reason=ok\n",
    ]);
  });

  it("names reason, policy and what to check when a connection was refused, and no identity for plaintext", () => {
    expect(lines(text, refused)).toEqual([
      "2023-11-14T22:13:20.031Z warn  access connection failed src.addr=[fd00::9]:41010 dst.addr=[fd00::8]:8080 " +
        "dst.workload=api-1 dst.namespace=production direction=inbound bytes_sent=0 bytes_recv=0 duration=0ms " +
        "security=none flow=7 reason=strict-plaintext policy=production/default " +
        'error="plaintext refused: PeerAuthentication is STRICT here; enrol the client\'s namespace, or add a portLevelMtls exception"\n',
    ]);
  });

  it("writes the same fields as JSON", () => {
    const [line = ""] = lines({ ...text, format: "json" }, refused);
    expect(line.endsWith("}\n")).toBe(true);
    expect(JSON.parse(line)).toEqual({
      level: "warn",
      time: "2023-11-14T22:13:20.031Z",
      scope: "access",
      message: "connection failed",
      "src.addr": "[fd00::9]:41010",
      "dst.addr": "[fd00::8]:8080",
      "dst.workload": "api-1",
      "dst.namespace": "production",
      direction: "inbound",
      bytes_sent: 0,
      bytes_recv: 0,
      duration: "0ms",
      security: "none",
      flow: 7,
      reason: "strict-plaintext",
      policy: "production/default",
      error: expect.stringContaining("PeerAuthentication is STRICT"),
    });
  });

  it("keeps a peer's words from forging a field or a line", () => {
    const flow = record({ reason: "tls-failed", detail: 'x reason=ok\n2023 info "done"' });
    const [line = "", ...more] = lines(text, [flow, label(), undefined]);
    expect(more).toEqual([]);
    expect(line.indexOf("\n")).toBe(line.length - 1);
    expect(line).toContain(String.raw`detail="x reason=ok\n2023 info \"done\""`);
  });

  it("names the trace of a connection that has one, whether it is sampled or not", () => {
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    for (const flags of ["00", "01"]) {
      const traced: typeof outbound = [
        record({ traceparent: `00-${traceId}-b7ad6b7169203331-${flags}` }),
        label(),
        localPod("web"),
      ];
      expect(lines(text, traced)).toEqual([expect.stringContaining(` trace=${traceId} reason=ok`)]);
    }
    expect(lines(text, outbound)).toEqual([expect.not.stringContaining("trace=")]);
  });

  it("records AUDIT and dry-run matches", () => {
    const shadow = [{ policy: "production/try", action: "DENY" as const }];
    expect(lines(text, [record(), label({ shadow }), undefined])[0]).toContain(" shadow=production/try:DENY");
  });

  it.each([
    ["all", 2],
    ["failures", 1],
    ["off", 0],
  ] as const)("in mode %s writes %d of a good and a refused connection", (mode, count) => {
    expect(lines({ ...text, mode }, outbound, refused)).toHaveLength(count);
  });

  it("goes by the namespace of the agent's pod, and samples only what succeeded", () => {
    const quiet = { ...text, namespaces: new Map([["production", "failures"]] as const) };
    expect(lines(quiet, outbound, refused)).toEqual([expect.stringContaining("connection failed")]);
    expect(lines({ ...text, sample: 0.4 }, outbound, refused)).toEqual([expect.stringContaining("connection failed")]);
    expect(lines({ ...text, sample: 0.6 }, outbound, refused)).toHaveLength(2);
  });

  it("tells what it writes, and nothing else, to where it is exported", () => {
    const exported: AccessEntry[] = [];
    const log = new AccessLog(
      {
        sink: { write: () => {}, dropped: 0, close: async () => {} },
        exported: { accessEnded: (entry) => exported.push(entry) },
        now: () => 5,
        random: () => 0.5,
      },
      { ...text, mode: "failures" },
    );
    log.flowClosed(...outbound);
    log.flowClosed(...refused);
    expect(exported).toEqual([
      { time: 5, level: "warn", message: "connection failed", fields: accessFields(...refused) },
    ]);
  });

  it.each([
    ["strict-plaintext", "warn"],
    ["certificate-revoked", "warn"],
    ["connect-timeout", "error"],
    ["reset-by-source", "info"],
  ] as const)("writes %s at level %s", (reason, level) => {
    expect(lines(text, [record({ reason }), label({ source: workload("web") }), undefined])[0]).toContain(` ${level}`);
  });
});
