import { describe, expect, it } from "vitest";
import type { FlowRecord } from "../../../src/telemetry/flow-record.ts";
import { connectionSpan, spanPlace } from "../../../src/telemetry/otlp/connection-span.ts";
import { apiIdentity, label, localPod, record, webIdentity } from "../fixtures.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const spanId = "b7ad6b7169203331";
const sampled = `00-${traceId}-${spanId}-01`;
const unsampled = `00-${traceId}-${spanId}-00`;
const never = () => false;
const always = () => true;
const nobody = () => {
  throw new Error("who began the trace has decided");
};

const place = { span: { traceId, spanId, traceFlags: 1 }, parent: undefined };

function span(over: Partial<FlowRecord> = {}, labelled = label(), pod = localPod("web")) {
  return connectionSpan(place, { record: record(over), label: labelled, pod }, {} as never);
}

describe("a connection's place in a trace", () => {
  it("is the span that its CONNECT named, at the source", () => {
    expect(spanPlace({ traceparent: sampled, role: "outbound" }, nobody)).toEqual(place);
  });

  it("is a new span under that one, at the destination", () => {
    const found = spanPlace({ traceparent: sampled, role: "inbound-hbone" }, nobody);
    expect(found?.parent).toEqual({ traceId, spanId, traceFlags: 1, isRemote: true });
    expect(found?.span).toMatchObject({ traceId, traceFlags: 1, spanId: expect.stringMatching(/^[0-9a-f]{16}$/) });
    expect(found?.span.spanId).not.toBe(spanId);
  });

  it.each(["outbound", "inbound-hbone"] as const)("is none where the trace is not sampled, %s", (role) => {
    expect(spanPlace({ traceparent: unsampled, role }, nobody)).toBeUndefined();
  });

  it.each(["", "rubbish"])("is the beginning of a new trace where %o came, by the own share", (traceparent) => {
    const found = spanPlace({ traceparent, role: "inbound-plaintext" }, always);
    expect(found?.span.traceId).toMatch(/^[0-9a-f]{32}$/);
    expect(found?.parent).toBeUndefined();
    expect(spanPlace({ traceparent, role: "inbound-plaintext" }, never)).toBeUndefined();
  });
});

describe("a connection's span", () => {
  it("tells a connection that went well, from its source", () => {
    const { spanContext, attributes, ...rest } = span();
    expect(spanContext()).toEqual(place.span);
    expect(rest).toMatchObject({
      name: "outbound connection",
      kind: 2,
      status: { code: 0 },
      startTime: [1_700_000_000, 0],
      endTime: [1_700_000_000, 31_700_000],
      duration: [0, 31_700_000],
      events: [{ name: "connected", time: [1_700_000_000, 2_400_000] }],
    });
    expect(attributes).toEqual({
      "network.transport": "tcp",
      "network.type": "ipv4",
      "network.peer.address": "10.244.2.8",
      "network.peer.port": 15008,
      "source.address": "10.244.1.5",
      "source.port": 38472,
      "destination.address": "10.96.0.10",
      "destination.port": 80,
      "server.address": "api.production.svc.cluster.local",
      "server.port": 80,
      "k8s.namespace.name": "production",
      "k8s.pod.name": "web-1",
      "k8s.pod.uid": "uid-web",
      "warren.reason": "ok",
      "warren.security": "mutual_tls",
      "warren.flow": 7,
      "warren.bytes.sent": 120,
      "warren.bytes.received": 4500,
      "warren.source.identity": webIdentity,
      "warren.source.workload": "web-1",
      "warren.source.namespace": "production",
      "warren.destination.identity": apiIdentity,
      "warren.destination.workload": "api-1",
      "warren.destination.namespace": "production",
    });
  });

  it("is an error with the reason and the policy where the connection was refused, at the destination", () => {
    const refused = { role: "inbound-hbone", reason: "policy-denied", connectedMs: -1, peer: webIdentity } as const;
    const { kind, name, status, events, attributes } = span(
      refused,
      label({ policy: "production/api" }),
      localPod("api"),
    );
    expect({ kind, name, events }).toEqual({ kind: 1, name: "inbound connection", events: [] });
    expect(status).toMatchObject({ code: 2, message: expect.stringMatching(/./) });
    expect(attributes).toMatchObject({
      "error.type": "policy-denied",
      "warren.reason": "policy-denied",
      "warren.policy": "production/api",
      "network.peer.address": "10.244.1.5",
      "warren.source.identity": webIdentity,
      "warren.destination.identity": apiIdentity,
    });
  });

  it("hides what looks like a key in the detail", () => {
    const { status } = span({ reason: "tls-failed", detail: "authorization: Bearer abcdefghijklmnop" });
    expect(status.message).toContain("Bearer [redacted]");
  });

  it("says ipv6 and plaintext where that is what went", () => {
    const source = { address: "fd00::5", port: 4 };
    const plain = { role: "inbound-plaintext", peer: "", tunnel: 0, source } as const;
    expect(span(plain).attributes).toMatchObject({ "network.type": "ipv6", "warren.security": "none" });
    expect(span(plain).attributes).not.toHaveProperty("warren.source.identity");
  });
});
