/** The tables against plain maps, over random histories: the same answers, and nothing left when everything is gone. */
import { describe, expect, test } from "vitest";
import { AddressBook } from "../../src/mesh/address-book.ts";
import { NameTable } from "../../src/mesh/name-table.ts";
import type { ServiceEntry } from "../../src/mesh/packed-service.ts";
import { ServiceTable, serviceKey } from "../../src/mesh/service-table.ts";
import { WorkloadTable } from "../../src/mesh/workload-table.ts";
import type { Workload, WorkloadUid } from "../../src/model/workload.ts";
import { Random } from "../xds/resources/random.ts";
import { service, workload } from "./build.ts";

describe("a table of workloads", () => {
  test("answers as maps do, whatever comes, changes and goes", () => {
    const random = new Random(11);
    const names = new NameTable();
    const table = new WorkloadTable(names);
    const known = new Map<WorkloadUid, Workload>();
    const enrolled = (uid: WorkloadUid) => known.get(uid)?.tunnel === "hbone";
    const addresses = new AddressBook<WorkloadUid>((later, earlier) => enrolled(later) || !enrolled(earlier));
    const ownerOf = (text: string) => known.get(addresses.owner(text) ?? ("" as WorkloadUid));
    const texts = new Set<string>();
    for (let step = 0; step < 6000; step++) {
      const one: Workload = {
        ...random.workload(),
        uid: `c1//Pod/shop/w${random.below(40)}` as WorkloadUid,
        addresses: random.list(3, () => random.address()).filter((text, at, all) => all.indexOf(text) === at),
      };
      const before = known.get(one.uid);
      for (const text of one.addresses) texts.add(text);
      if (random.chance(3)) {
        expect(table.delete(one.uid)).toBe(before !== undefined);
        addresses.release(before?.addresses ?? [], one.uid);
        known.delete(one.uid);
      } else {
        table.set(one);
        expect(table.set({ ...one, labels: new Map([...one.labels].toReversed()) })).toBe(false);
        // Who only changes keeps its place among the claimants.
        const kept = before?.tunnel === one.tunnel ? before.addresses : [];
        addresses.release(
          (before?.addresses ?? []).filter((text) => !kept.includes(text) || !one.addresses.includes(text)),
          one.uid,
        );
        known.set(one.uid, one);
        addresses.claim(
          one.addresses.filter((text) => !kept.includes(text)),
          one.uid,
        );
      }
      expect(table.get(one.uid)).toEqual(known.get(one.uid));
      for (const text of one.addresses) expect(table.byAddress(text)).toEqual(ownerOf(text));
      if (step % 200 !== 0) continue;
      for (const text of texts) expect(table.byAddress(text)?.uid).toBe(addresses.owner(text));
      expect(new Map([...table.values()].map((each) => [each.uid, each]))).toEqual(known);
      expect(table.size).toBe(known.size);
      for (const namespace of new Set(Array.from(known.values(), (each) => each.namespace))) {
        const there = [...known].filter(([, each]) => each.namespace === namespace);
        expect(new Map([...table.in(namespace)].map((each) => [each.uid, each]))).toEqual(new Map(there));
      }
    }
    for (const uid of known.keys()) table.delete(uid);
    expect([table.size, [...table.values()].length]).toEqual([0, 0]);
    expect(names.size).toBe(0);
    for (const text of texts) expect(table.byAddress(text)).toBeUndefined();
  });
});

describe("a table of Services", () => {
  test("answers as a map does, and knows who stands behind what", () => {
    const random = new Random(5);
    const names = new NameTable();
    const table = new ServiceTable(names);
    const known = new Map<string, ServiceEntry>();
    const pods = Array.from({ length: 30 }, (_, at) => workload(`pod-${at}`, `10.0.0.${at + 1}`));
    for (let step = 0; step < 3000; step++) {
      const name = `s${random.below(12)}`;
      const members = pods.filter(() => random.chance(4));
      const endpoints = members.map(({ uid, addresses: [address = ""] }) => ({
        workload: random.chance(9) ? undefined : uid,
        address: random.chance(5) ? `fd00::${1 + random.below(99)}` : address,
        targetPort: random.port(),
        weight: random.chance(4) ? random.below(9) : 1,
      }));
      const entry = service(name, [`10.96.0.${1 + random.below(20)}`], { 80: endpoints, 81: [] }, members);
      const key = serviceKey(entry.service);
      const before = known.get(key);
      const moved = random.chance(4) ? table.delete(key) : table.set(entry);
      if (table.get(key) === undefined) {
        known.delete(key);
        expect(moved).toEqual(before === undefined ? undefined : expect.anything());
      } else {
        known.set(key, entry);
        expect(table.set(entry)).toBeUndefined();
      }
      const after = known.get(key);
      const differs = ({ uid }: Workload) => (before?.members.has(uid) === true) !== (after?.members.has(uid) === true);
      expect(new Set(moved)).toEqual(new Set(pods.filter(differs).map(({ uid }) => uid)));
      expect(table.endpoints(key, 80)).toEqual(after?.endpoints.get(80));
      expect(table.endpoints(key, 81)).toEqual(after?.endpoints.get(81));
      expect(table.get(key)?.members()).toEqual(after?.members);
      if (step % 50 !== 0) continue;
      for (const { uid } of pods) {
        const behind = [...known].filter(([, { members }]) => members.has(uid)).map(([each]) => each);
        expect([...table.behind(uid)].map(serviceKey).sort()).toEqual(behind.sort());
        for (const each of known.keys()) expect(table.get(each)?.has(uid)).toBe(behind.includes(each));
      }
      expect([...table.values()].map(serviceKey).sort()).toEqual([...known.keys()].sort());
    }
    for (const key of known.keys()) table.delete(key);
    expect(names.size).toBe(0);
  });
});
