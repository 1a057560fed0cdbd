import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Identity } from "../../src/model/identity.ts";
import { CredentialSuccession } from "../../src/tunnel/credential-succession.ts";
import { CredentialTable } from "../../src/tunnel/credential-table.ts";
import type { CredentialSpec, PodHandle } from "../../src/tunnel/engine.ts";
import { FakeEngine } from "./fake-engine.ts";

const before = "spiffe://cluster.local/ns/shop/sa/web" as Identity;
const after = "spiffe://new.example/ns/shop/sa/web" as Identity;
const third = "spiffe://third.example/ns/shop/sa/web" as Identity;

const spec = (identity: Identity): CredentialSpec => ({
  identity,
  chain: "chain",
  privateKey: "key",
  trustBundle: "bundle",
  trustDomains: ["cluster.local"],
  crl: "",
  deniedIdentities: [],
});

let engine: FakeEngine;
let credentials: CredentialTable;
let succession: CredentialSuccession;
let pod: PodHandle;

beforeEach(() => {
  vi.useFakeTimers();
  engine = new FakeEngine({
    flowArrived: () => undefined,
    connectArrived: () => undefined,
    flowHandedOver: () => undefined,
    flowClosed: () => undefined,
    tunnelUp: () => undefined,
    tunnelDown: () => undefined,
    batchEnd: () => undefined,
  });
  credentials = new CredentialTable(engine);
  succession = new CredentialSuccession({ engine, credentials }, { patience: 1000 });
  credentials.set(before, spec(before));
  pod = capture(before);
});
afterEach(() => {
  succession.stop();
  vi.useRealTimers();
});

function capture(identity: Identity): PodHandle {
  return engine.addPod({
    uid: "uid-web",
    netns: 99,
    addresses: [],
    listeners: [],
    originalDestination: { kind: "conntrack" },
    marks: { leave: 1, deliver: 2 },
    credential: credentials.acquire(identity),
  });
}

/** What the pod's TLS ends prove. */
function proven(handle = pod): Identity | undefined {
  const credential = engine.pods.get(handle)?.credential;
  return credential === undefined ? undefined : engine.credentials.get(credential)?.identity;
}

const known = () => [...engine.credentials.values()].map(({ identity }) => identity);

describe("a pod whose identity changes", () => {
  test("goes on to hear whom the mesh shuts out while it proves the one that it had", () => {
    succession.change(pod, before, after);
    credentials.forget(before);
    const newer = { ...spec(before), crl: "a list", deniedIdentities: [third] };
    expect(credentials.revise(before, newer)).toBe(true);
    const handle = engine.pods.get(pod)?.credential;
    expect(handle && engine.credentials.get(handle)?.spec).toEqual(newer);
    credentials.set(after, spec(after));
    succession.arrived(after);
    expect(proven()).toBe(after);
    expect(credentials.revise(before, newer)).toBe(false);
    expect(known()).toEqual([after]);
  });

  test("has no say over a credential that is kept: whoever keeps it tells it", () => {
    expect(credentials.revise(before, { ...spec(before), crl: "a list" })).toBe(false);
  });

  test("proves the one that it had until the other has its certificate, also when nobody keeps that fresh any more", () => {
    succession.change(pod, before, after);
    credentials.forget(before);
    expect(proven()).toBe(before);
    expect(known()).toEqual([before, after]);
    credentials.set(after, spec(after));
    succession.arrived(third);
    expect(proven()).toBe(before);
    succession.arrived(after);
    expect(proven()).toBe(after);
    expect(known()).toEqual([after]);
  });

  test("proves the other at once when that has a certificate already", () => {
    credentials.set(after, spec(after));
    succession.change(pod, before, after);
    expect(proven()).toBe(after);
  });

  test("has nothing to keep when it had no certificate", () => {
    const young = capture(third);
    succession.change(young, third, after);
    expect(proven(young)).toBe(after);
    expect(known()).toEqual([before, after]);
  });

  test("does not go by its old name without end", () => {
    succession.change(pod, before, after);
    vi.advanceTimersByTime(999);
    expect(proven()).toBe(before);
    vi.advanceTimersByTime(1);
    expect(proven()).toBe(after);
    credentials.forget(before);
    expect(known()).toEqual([after]);
  });

  test("and changes again before that keeps what it proves, and waits for the last one alone", () => {
    succession.change(pod, before, after);
    succession.change(pod, after, third);
    expect(known()).toEqual([before, third]);
    credentials.set(after, spec(after));
    succession.arrived(after);
    expect(proven()).toBe(before);
    credentials.set(third, spec(third));
    succession.arrived(third);
    expect(proven()).toBe(third);
  });

  test("and changes back has lost nothing", () => {
    succession.change(pod, before, after);
    succession.change(pod, after, before);
    expect([proven(), known()]).toEqual([before, [before]]);
    vi.advanceTimersByTime(2000);
    expect(proven()).toBe(before);
  });

  test("and leaves meanwhile is told what it proved, and nothing stays behind", () => {
    succession.change(pod, before, after);
    const last = succession.settle(pod, after);
    expect(last).toBe(before);
    credentials.release(last);
    credentials.forget(before);
    expect(known()).toEqual([]);
    vi.advanceTimersByTime(2000);
    expect(engine.credentials.size).toBe(0);
  });
});

test("pods of one identity change together when its certificate comes", () => {
  const twin = capture(before);
  succession.change(pod, before, after);
  succession.change(twin, before, after);
  credentials.forget(before);
  credentials.set(after, spec(after));
  succession.arrived(after);
  expect([proven(), proven(twin), known()]).toEqual([after, after, [after]]);
});
