import { expect, test } from "vitest";
import { LabelTable, unlabelled } from "../../src/tunnel/label-table.ts";
import type { VerdictBase } from "../../src/tunnel/verdict.ts";
import { service, workload } from "../mesh/build.ts";

const web = workload("web", "10.0.0.1");
const one = workload("one", "10.0.1.1", { addresses: ["10.0.1.1", "fd00::1"] });
const two = workload("two", "10.0.1.2");

function verdict(overrides: Partial<VerdictBase> = {}): VerdictBase {
  return {
    source: web,
    destinations: new Map([["10.0.1.1", one]]),
    service: undefined,
    policy: "",
    shadow: [],
    dependsOn: ["destination"],
    ...overrides,
  };
}

test("equal verdicts of one epoch share a number, different ones don't", () => {
  const labels = new LabelTable(100);
  const first = labels.intern(verdict());
  expect(labels.intern(verdict())).toBe(first);
  const others = [
    verdict({ source: undefined }),
    verdict({ destinations: new Map([["10.0.1.2", two]]) }),
    verdict({ service: service("api", [], {}).service }),
    verdict({ policy: "shop/p" }),
    verdict({ shadow: [{ policy: "shop/p", action: "AUDIT" }] }),
  ];
  expect(new Set([first, ...others.map((other) => labels.intern(other))]).size).toBe(6);
  labels.advance(2);
  expect(labels.intern(verdict())).not.toBe(first);
});

test("a label of several endpoints is told by where the flow went", () => {
  const labels = new LabelTable(100);
  const label = labels.intern(
    verdict({
      destinations: new Map([
        ["10.0.1.1", one],
        ["10.0.1.2", two],
      ]),
    }),
  );
  expect(labels.resolve(label, { address: "10.0.1.2", port: 15008 }).destination).toBe(two);
  expect(labels.resolve(label, undefined).destination).toBeUndefined();
  expect(labels.resolve(label, { address: "10.0.1.2", port: 15008 })).toBe(
    labels.resolve(label, { address: "10.0.1.2", port: 1 }),
  );
});

test("one workload under several addresses is one destination", () => {
  const labels = new LabelTable(100);
  const label = labels.intern(
    verdict({
      destinations: new Map([
        ["10.0.1.1", one],
        ["fd00::1", one],
      ]),
    }),
  );
  expect(labels.resolve(label, undefined).destination).toBe(one);
});

test("a full table goes on without labels", () => {
  const labels = new LabelTable(1);
  expect(labels.intern(verdict())).toBe(1);
  expect(labels.intern(verdict({ policy: "other" }))).toBe(0);
  expect(labels.intern(verdict())).toBe(1);
  expect(labels.resolve(0, undefined)).toBe(unlabelled);
});

test("a label goes when two sweeps of a later epoch don't find it, and its number is not used again", () => {
  const labels = new LabelTable(100);
  const label = labels.intern(verdict());
  labels.sweep(new Set());
  labels.sweep(new Set());
  expect(labels.resolve(label, undefined).source).toBe(web);
  labels.advance(2);
  labels.sweep(new Set());
  labels.sweep(new Set([label]));
  labels.sweep(new Set());
  expect(labels.resolve(label, undefined).source).toBe(web);
  labels.sweep(new Set());
  expect(labels.resolve(label, undefined)).toBe(unlabelled);
  expect(labels.size).toBe(0);
  expect(labels.intern(verdict())).toBeGreaterThan(label);
});

test("a sweep is wanted once old labels outnumber the current ones", () => {
  const labels = new LabelTable(10_000);
  for (let index = 0; index < 100; index += 1) labels.intern(verdict({ policy: `p${index}` }));
  expect(labels.wantsSweep).toBe(false);
  labels.advance(2);
  expect(labels.wantsSweep).toBe(true);
});
