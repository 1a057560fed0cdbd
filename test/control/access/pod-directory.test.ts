import { describe, expect, test } from "vitest";
import { MeshPodDirectory } from "../../../src/control/access/pod-directory.ts";
import { formatIdentity } from "../../../src/identity/spiffe.ts";
import type { MeshSource } from "../../../src/model/mesh.ts";
import { FakeClock } from "../../support/fake-clock.ts";

const api = formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: "api" });

function directory() {
  const clock = new FakeClock();
  const pods: { node: string; identity: string }[] = [];
  const listeners = new Set<() => void>();
  const source = {
    view: { localPods: (node: string) => pods.filter((pod) => pod.node === node) },
    onChange: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  } as unknown as MeshSource;
  const add = (node: string) => {
    pods.push({ node, identity: api });
    for (const listener of listeners) listener();
  };
  return { pods: new MeshPodDirectory({ source, clock }, { graceMs: 1000 }), add, clock, listeners };
}

describe("whether a pod lives on a node", () => {
  test("is known at once when it does", async () => {
    const { pods, add, clock } = directory();
    add("w1");
    expect(await pods.hasEnrolledPod("w1", api)).toBe(true);
    expect(clock.pending).toEqual([]);
  });

  test("is waited for, and the wait leaves nothing behind", async () => {
    const { pods, add, clock, listeners } = directory();
    const answer = pods.hasEnrolledPod("w1", api);
    add("w1");
    expect(await answer).toBe(true);
    expect([clock.pending, listeners.size]).toEqual([[], 0]);
  });

  test("is denied after the grace, whatever other nodes have", async () => {
    const { pods, add, clock, listeners } = directory();
    const answer = pods.hasEnrolledPod("w1", api);
    add("w2");
    clock.advance(1000);
    expect(await answer).toBe(false);
    expect([clock.pending, listeners.size]).toEqual([[], 0]);
  });
});
