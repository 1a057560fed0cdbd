import { beforeEach, expect, test } from "vitest";
import { equivalentIdentities, type Identity } from "../../src/model/identity.ts";
import type { GroupHandle, PodHandle } from "../../src/tunnel/engine.ts";
import { GroupTable } from "../../src/tunnel/group-table.ts";
import { mesh, workload } from "../mesh/build.ts";
import { FakeEngine } from "./fake-engine.ts";

const api = workload("api", "10.0.1.1");
const peer = { address: "10.0.1.1", port: 15008 };
const pod = 7 as PodHandle;
const nobody: ReadonlySet<GroupHandle> = new Set();

let engine: FakeEngine;
let groups: GroupTable;
beforeEach(() => {
  engine = new FakeEngine({
    flowArrived: () => undefined,
    connectArrived: () => undefined,
    flowHandedOver: () => undefined,
    flowClosed: () => undefined,
    tunnelUp: () => undefined,
    tunnelDown: () => undefined,
    batchEnd: () => undefined,
  });
  groups = new GroupTable(engine);
});

test("one group per pod, peer and identity", () => {
  const first = groups.handle(pod, peer, [api.identity], 1, 0);
  expect(groups.handle(pod, { ...peer }, [api.identity], 2, 0)).toBe(first);
  expect(groups.handle(8 as PodHandle, peer, [api.identity], 1, 0)).not.toBe(first);
  expect(groups.handle(pod, { ...peer, address: "10.0.1.2" }, [api.identity], 1, 0)).not.toBe(first);
  expect(engine.groups.size).toBe(3);
});

test.each([
  ["goes", []],
  ["leaves the mesh", [workload("api", "10.0.1.1", { tunnel: "none" })]],
  ["is another identity's now", [workload("other", "10.0.1.1")]],
])("a group is let go of when its peer %s", (_name, workloads) => {
  groups.handle(pod, peer, [api.identity], 1, 0);
  groups.prune(mesh({ workloads: [api] }));
  expect(engine.groups.size).toBe(1);
  groups.prune(mesh({ workloads }));
  expect(engine.groups.size).toBe(0);
  expect(groups.size).toBe(0);
});

const aliased = { trustDomainAliases: ["new.example"] };
const moved = { trustDomain: "new.example", trustDomainAliases: ["cluster.local"] };
const renamed = workload("api", "10.0.1.1", {
  identity: api.identity.replace("cluster.local", "new.example") as Identity,
});

test("a group stays while its peer goes by a second name and then by that one first: whoever waits in it goes on", () => {
  const both = mesh({ workloads: [api] }, aliased);
  const one = groups.handle(pod, peer, [api.identity], 1, 0);
  groups.prune(both);
  expect([...engine.groups.keys()]).toEqual([one]);
  const two = groups.handle(pod, peer, equivalentIdentities(api.identity, both.settings), 2, 0);
  expect(two).not.toBe(one);
  const after = mesh({ workloads: [renamed] }, moved);
  groups.prune(after);
  expect(groups.handle(pod, peer, equivalentIdentities(renamed.identity, after.settings), 3, 0)).toBe(two);
  expect([...engine.groups.keys()]).toEqual([one, two]);
});

test("a group is let go of when a name that it would take is the peer's no more", () => {
  const both = mesh({ workloads: [api] }, aliased);
  groups.handle(pod, peer, equivalentIdentities(api.identity, both.settings), 1, 0);
  groups.prune(mesh({ workloads: [api] }));
  expect(engine.groups.size).toBe(0);
  groups.handle(pod, peer, equivalentIdentities(api.identity, both.settings), 2, 0);
  groups.prune(mesh({ workloads: [renamed] }, { trustDomain: "new.example" }));
  expect(engine.groups.size).toBe(0);
});

test("an idle group is let go of only when no decision of this epoch may name it and no tunnel is open", () => {
  const handle = groups.handle(pod, peer, [api.identity], 1, 100);
  groups.releaseIdle(nobody, 1, 1000);
  groups.releaseIdle(nobody, 2, 100);
  groups.releaseIdle(new Set([handle]), 2, 1000);
  expect(engine.groups.size).toBe(1);
  groups.releaseIdle(nobody, 2, 1000);
  expect(engine.groups.size).toBe(0);
});
