/** The file of the last good state: what it costs to keep, and what is believed of one that is not as it was written. */
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../../src/lib/clock.ts";
import { DiscoveryState } from "../../../src/xds/client/discovery-state.ts";
import { LastGoodState } from "../../../src/xds/client/last-good-state.ts";
import { StateKeeper } from "../../../src/xds/client/state-keeper.ts";
import { ResourceSchema } from "../../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import { encodeLocalPod } from "../../../src/xds/resources/local-pod.ts";
import { encodeAuthorizationPolicy } from "../../../src/xds/resources/policy.ts";
import { type NamedResource, type ResourceType, resourceTypes } from "../../../src/xds/resources/resource-types.ts";
import { encodeSettings } from "../../../src/xds/resources/settings.ts";
import { encodeWorkload } from "../../../src/xds/resources/workload.ts";
import { authorizationPolicy, localPod, settings, workload } from "../../mesh/build.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const web = workload("web", "10.0.0.1");
const many = Array.from({ length: 2000 }, (_, at) => workload(`w${at}`, `10.1.${at >> 8}.${at & 255}`));
const deny = (name: string) => encodeAuthorizationPolicy(authorizationPolicy("DENY", [{}], { name }));

async function hear(
  state: DiscoveryState,
  type: ResourceType,
  resources: readonly NamedResource[],
  removed: readonly string[] = [],
): Promise<void> {
  const typeUrl = resourceTypes[type];
  const frames = resources.map(({ name, bytes }) =>
    toBinary(ResourceSchema, create(ResourceSchema, { name, version: "1", resource: { typeUrl, value: bytes } })),
  );
  await state.apply({ typeUrl, nonce: "", removed, resources: frames, more: false });
}

/** A state that is complete and on the disk. */
async function kept(path = "") {
  const file = path === "" ? join(await temporaryFolder(), "state") : path;
  const state = new DiscoveryState(settings, "n1");
  await hear(state, "settings", [encodeSettings(settings)]);
  await hear(state, "policy", [deny("first")]);
  await hear(
    state,
    "address",
    many.map((one) => encodeWorkload(one)),
  );
  await hear(state, "localPod", [encodeLocalPod(localPod(web))]);
  const lastGood = new LastGoodState({ path: file, node: "n1" });
  onTestFinished(() => lastGood.close());
  const troubles: (string | undefined)[] = [];
  const trouble = (message: string | undefined) => troubles.push(message);
  const keeper = new StateKeeper({ clock: systemClock, state, lastGood, trouble });
  state.onAccepted((change) => keeper.changed(change));
  await lastGood.save(state, 1);
  return { file, state, lastGood, keeper, troubles };
}

async function loaded(file: string): Promise<DiscoveryState> {
  const state = new DiscoveryState(settings, "n1");
  await new LastGoodState({ path: file, node: "n1" }).load(state);
  return state;
}

const size = async (file: string) => (await stat(file)).size;
const uids = (state: DiscoveryState) => Array.from(state.index.workloads(), ({ uid }) => uid).sort();
const policies = (state: DiscoveryState) => [...state.index.authorizationPolicies()].map(({ name }) => name).sort();

test("a change costs what it is long, not what the state is long, and is there after a restart", async () => {
  const { file, state, keeper } = await kept();
  const whole = await size(file);
  const resource = encodeWorkload(web);
  await hear(state, "address", [resource], [many[7]?.uid ?? ""]);
  await hear(state, "policy", [deny("second")], ["AuthorizationPolicy/shop/first"]);
  await keeper.stop();
  const grown = (await size(file)) - whole;
  expect(grown).toBeGreaterThan(resource.bytes.length);
  expect(grown).toBeLessThan(resource.bytes.length + 1000);
  const again = await loaded(file);
  expect(uids(again)).toEqual(uids(state));
  expect(again.index.workload(web.uid)).toEqual(web);
  expect(policies(again)).toEqual(["second"]);
  expect(new Map(again.versions("address"))).toEqual(new Map(state.versions("address")));
});

test("a policy that could never be read refuses after a restart, too; one that could keeps its last good version", async () => {
  const { file, state, keeper } = await kept();
  const bad = { bytes: Buffer.from([0x0a, 0xff]), aliases: [] };
  await hear(state, "policy", [
    { ...bad, name: "AuthorizationPolicy/shop/never" },
    { ...bad, name: "AuthorizationPolicy/shop/first" },
  ]);
  await keeper.stop();
  const again = await loaded(file);
  expect(policies(again)).toEqual(["first", "never"]);
  for (const key of ["shop/first", "shop/never"]) {
    expect(again.index.authorizationPolicy(key)).toEqual(state.index.authorizationPolicy(key));
  }
  expect(again.problems.map(({ object }) => object)).toEqual(["policy AuthorizationPolicy/shop/never"]);
});

test("a change that was being written when the agent ended is left out, and nothing before it", async () => {
  const { file, state, keeper } = await kept();
  await hear(state, "policy", [deny("second")]);
  await keeper.stop();
  const whole = await readFile(file);
  await writeFile(file, whole.subarray(0, whole.length - 10));
  expect(policies(await loaded(file))).toEqual(["first"]);
});

test.each([
  ["in the state", (length: number) => length >> 1],
  ["in a change", (length: number) => length - 100],
])("no part is believed when one byte %s is another", async (_where, place) => {
  const { file, state, keeper } = await kept();
  await hear(state, "policy", [deny("second")]);
  await keeper.stop();
  const bytes = await readFile(file);
  const at = place(bytes.length);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(file, bytes);
  const state2 = new DiscoveryState(settings, "n1");
  await expect(new LastGoodState({ path: file, node: "n1" }).load(state2)).rejects.toThrow("is damaged");
  expect([uids(state2), policies(state2)]).toEqual([[], []]);
});

test("is written whole again when changes have made it more than twice as long", async () => {
  const { file, state, keeper, lastGood } = await kept();
  const whole = await size(file);
  const resources = many.map((one) => encodeWorkload({ ...one, ready: false }));
  while (lastGood.appendable) {
    await hear(state, "address", resources);
    await expect.poll(async () => (await size(file)) > whole || !lastGood.appendable).toBe(true);
  }
  expect(await size(file)).toBeGreaterThan(2 * whole);
  await hear(state, "policy", [deny("last")]);
  await expect.poll(() => size(file)).toBeLessThan(1.5 * whole);
  await keeper.stop();
  const again = await loaded(file);
  expect([policies(again), uids(again)]).toEqual([["first", "last"], uids(state)]);
  expect(again.index.workload(many[3]?.uid ?? web.uid)?.ready).toBe(false);
});

test.each(["is another agent's now", "is gone"])("writes its own when the file %s", async (what) => {
  const one = await kept();
  if (what === "is gone") await rm(one.file);
  else await kept(one.file);
  const before = what === "is gone" ? 0 : await size(one.file);
  await hear(one.state, "policy", [deny("second")]);
  await expect
    .poll(async () => ((await size(one.file).catch(() => 0)) > before ? policies(await loaded(one.file)) : []))
    .toEqual(["first", "second"]);
  await one.keeper.stop();
  expect(one.troubles.filter((message) => message !== undefined)).toEqual([]);
});

test("says so when the disk takes nothing, and goes on", async () => {
  const { file, state, keeper, troubles, lastGood } = await kept();
  await lastGood.close();
  await rm(join(file, ".."), { recursive: true });
  await writeFile(join(file, ".."), "no folder");
  await hear(state, "policy", [deny("second")]);
  await keeper.stop();
  expect(troubles.join()).toMatch(/the state cannot be saved/);
  expect(policies(state)).toEqual(["first", "second"]);
  await rm(join(file, ".."));
});
