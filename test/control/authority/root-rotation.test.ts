import { describe, expect, test } from "vitest";
import type { AuthorityState, Issuer } from "../../../src/control/authority/authority-state.ts";
import { noRevocations } from "../../../src/control/authority/authority-state.ts";
import { advance, begin, confirm, excuse, gateOf, lag } from "../../../src/control/authority/root-rotation.ts";

const issuer = (name: string): Issuer => ({
  origin: "self-signed",
  intermediate: { certificate: name, key: name },
  chain: "",
  roots: name,
  rootKey: name,
  crl: "",
});
const old = issuer("old");
const next = issuer("next");
const still: AuthorityState = { issuer: old, former: [], revocations: noRevocations };
const settle = { settleMs: 100, outlivesMs: 10_000 };
const nodes = ["w1", "w2"];

const step = (state: AuthorityState, required: readonly string[], now: number) =>
  state.rotation === undefined ? state : advance(state, gateOf(state.rotation, required, settle), now);
const confirmed = (state: AuthorityState, by: readonly string[]) =>
  state.rotation === undefined ? state : confirm(state, state.rotation, by);

describe("a rotation of the root", () => {
  test("goes trust, issue, retired, each step when every node has confirmed it", () => {
    const trusting = begin(still, next, 1000);
    expect(trusting).toMatchObject({ issuer: old, rotation: { phase: "trust", other: next, startedAt: 1000 } });
    expect(step(confirmed(trusting, ["w1"]), nodes, 2000).rotation?.phase).toBe("trust");
    const issuing = step(confirmed(trusting, nodes), nodes, 2000);
    expect(issuing).toMatchObject({
      issuer: next,
      rotation: { phase: "issue", other: old, startedAt: 1000, phaseSince: 2000, confirmed: [] },
    });
    expect(step(issuing, nodes, 3000)).toBe(issuing);
    expect(step(confirmed(issuing, nodes), nodes, 3000)).toEqual({ ...still, issuer: next, rotation: undefined });
  });

  test("is begun once: what another replica began goes on", () => {
    const trusting = begin(still, next, 1000);
    expect(begin(trusting, issuer("third"), 2000)).toBe(trusting);
  });

  test("does not issue before the new root has been trusted for a while, whoever has confirmed", () => {
    const ready = confirmed(begin(still, next, 1000), nodes);
    expect(step(ready, nodes, 1099)).toBe(ready);
    expect(step(ready, nodes, 1100).rotation?.phase).toBe("issue");
  });

  test("waits for nodes by name, not for those that are gone or excused", () => {
    const trusting = confirmed(begin(still, next, 0), ["w1"]);
    if (trusting.rotation === undefined) throw new Error("no rotation");
    expect(gateOf(trusting.rotation, ["w3", "w2", "w1"], settle).waitingFor).toEqual(["w2", "w3"]);
    expect(gateOf(trusting.rotation, ["w1"], settle).waitingFor).toEqual([]);
    const excused = excuse(trusting, ["w2", "w3"]);
    expect(step(excused, ["w1", "w2", "w3"], 100).rotation).toMatchObject({ phase: "issue", excused: [] });
  });

  test("waits for who cannot be asked until nothing of before is valid, and on for who was seen to lie behind", () => {
    const trusting = confirmed(begin(still, next, 0), ["w1"]);
    const seen = trusting.rotation;
    if (seen === undefined) throw new Error("no rotation");
    expect(step(trusting, nodes, 9999)).toBe(trusting);
    expect(step(trusting, nodes, 10_000).rotation?.phase).toBe("issue");
    const behind = lag(trusting, seen, ["w2"]);
    expect(behind.rotation?.lagging).toEqual(["w2"]);
    expect(lag(behind, seen, ["w2"])).toBe(behind);
    expect(step(behind, nodes, 10_000)).toBe(behind);
    // It has left the cluster, somebody decides, or it has caught up.
    expect(step(behind, ["w1"], 10_000).rotation?.phase).toBe("issue");
    expect(step(excuse(behind, ["w2"]), nodes, 10_000).rotation?.phase).toBe("issue");
    const caughtUp = confirmed(behind, ["w2"]);
    expect(caughtUp.rotation).not.toHaveProperty("lagging");
    const issuing = step(caughtUp, nodes, 200);
    expect(lag(issuing, seen, ["w1"])).toBe(issuing);
  });

  test("counts nothing that was seen in another phase or another rotation", () => {
    const trusting = begin(still, next, 0);
    const seen = trusting.rotation;
    const issuing = step(confirmed(trusting, nodes), nodes, 100);
    if (seen === undefined) throw new Error("no rotation");
    expect(confirm(issuing, seen, nodes)).toBe(issuing);
    const later = begin(still, next, 5000);
    expect(confirm(later, seen, nodes)).toBe(later);
    expect(confirm(still, seen, nodes)).toBe(still);
  });

  test("is left as it is by what is not new", () => {
    const once = confirmed(begin(still, next, 0), ["w1"]);
    expect(confirmed(once, ["w1"])).toBe(once);
    const excused = excuse(once, ["w2"]);
    expect(excuse(excused, ["w2"])).toBe(excused);
    expect(excuse(still, ["w2"])).toBe(still);
    expect(advance(still, { waitingFor: [], lagging: [], notBefore: 0, opensAt: 0 }, 0)).toBe(still);
  });
});
