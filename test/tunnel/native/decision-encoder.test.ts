/** Decisions as records: the addon that reads them is the judge of what the encoder wrote. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { reasonInfo, reasons } from "../../../src/model/reason.ts";
import type { Decision, FlowId, GroupHandle, PodHandle } from "../../../src/tunnel/engine.ts";
import { loadEngineAddon, type NativeEngine } from "../../../src/tunnel/native/addon.ts";
import { DecisionEncoder } from "../../../src/tunnel/native/decision-encoder.ts";
import { engineOptions } from "../../conformance/support/options.ts";

const flow = 32 as FlowId;
const group = 5 as GroupHandle;
const from = 4 as PodHandle;

const decisions: readonly [string, Decision][] = [
  ["a refusal", { kind: "refuse", label: 3, reason: "policy-denied" }],
  [
    "a carry over two groups, remembered",
    {
      kind: "carry",
      label: 1,
      targets: [
        { group, authority: "10.0.0.1:80", weight: 1 },
        { group, authority: "[fd00::1]:80", weight: 2.5 },
      ],
      baggage: "a=b",
      forwardedHost: "web.test.svc",
      remember: { fields: ["destination", "source-address"], epoch: 7 },
    },
  ],
  ["a carry to nobody", { kind: "carry", label: 1, targets: [], baggage: "", forwardedHost: "" }],
  [
    "a delivery with the source kept, over IPv6",
    {
      kind: "dial",
      label: 2,
      targets: [{ destination: { address: "fd00::1", port: 80 }, weight: 1 }],
      from,
      purpose: "deliver",
      sourceAddress: "fd00::2",
      baggage: "x=y",
      remember: { fields: [], epoch: 0 },
    },
  ],
  [
    "a delivery to 500 addresses",
    {
      kind: "dial",
      label: 2 ** 32 - 1,
      targets: Array.from({ length: 500 }, (_, i) => ({
        destination: { address: `10.1.${i >> 8}.${i & 255}`, port: 65_535 },
        weight: i,
      })),
      from,
      purpose: "leave",
      baggage: "",
    },
  ],
  ["a hand-over", { kind: "hand-over", label: 9, baggage: "k=v" }],
  ["baggage that is too long for a header, dropped", { kind: "hand-over", label: 9, baggage: "b".repeat(70_000) }],
];

let native: NativeEngine;
beforeAll(() => {
  const table = reasons.map((code) => ({ code, status: reasonInfo(code).status }));
  native = new (loadEngineAddon().Engine)({ ...engineOptions(), reasons: table }, () => {});
});
afterAll(() => native.stop());

describe("the encoder of decisions", () => {
  it.each(decisions)("writes %s so that the addon reads it to its end", (_title, decision) => {
    const encoder = new DecisionEncoder();
    encoder.add(flow, decision);
    const { bytes, length } = encoder.take();
    expect(native.decide(bytes, length)).toBe(true);
    expect(encoder.empty).toBe(true);
    for (const cut of [1, 8, Math.floor(length / 2), length - 1])
      expect(native.decide(bytes, length - cut)).toBe(false);
  });

  it("writes a batch that outgrows its buffer", () => {
    const encoder = new DecisionEncoder();
    for (let i = 0; i < 200; i += 1) for (const [, decision] of decisions) encoder.add(flow, decision);
    const { bytes, length } = encoder.take();
    expect(length).toBeGreaterThan(1_000_000);
    expect(native.decide(bytes, length)).toBe(true);
  });

  it("throws for an address that is none, and keeps what was added before", () => {
    const encoder = new DecisionEncoder();
    encoder.add(flow, { kind: "refuse", label: 3, reason: "policy-denied" });
    const targets = [{ destination: { address: "web", port: 80 }, weight: 1 }];
    const wrong: Decision = { kind: "dial", label: 1, targets, from, purpose: "leave", baggage: "" };
    expect(() => encoder.add(flow, wrong)).toThrow(/"web" is not an IP address/);
    const { bytes, length } = encoder.take();
    expect(native.decide(bytes, length)).toBe(true);
  });
});
