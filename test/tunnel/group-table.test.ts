import { beforeEach, expect, test } from "vitest";
import { equivalentIdentities } from "../../src/model/identity.ts";
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

test("a group is let go of when the names that its peer may go by change, and its successor expects them all", () => {
  groups.handle(pod, peer, [api.identity], 1, 0);
  const aliased = mesh({ workloads: [api] }, { trustDomainAliases: ["old.example"] });
  groups.prune(aliased);
  expect(engine.groups.size).toBe(0);
  groups.handle(pod, peer, equivalentIdentities(api.identity, aliased.settings), 2, 0);
  groups.prune(aliased);
  expect([...engine.groups.values()].map(({ expectedIdentities }) => expectedIdentities)).toEqual([
    [api.identity, api.identity.replace("cluster.local", "old.example")],
  ]);
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
