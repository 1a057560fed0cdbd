/** Rotations that begin by themselves: when, how often, by how many, and where not. */
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { Authority, authorityDefaults } from "../../../src/control/authority/authority.ts";
import { RotationStart } from "../../../src/control/authority/rotation-start.ts";
import { StateFolder } from "../../../src/control/authority/state-folder.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { RecordedLog } from "../../support/recorded-log.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const day = 86_400_000;
const rootLifetimeMs = 100 * day;

let clock: FakeClock;
let folder: string;
beforeEach(async () => {
  clock = new FakeClock(Date.now());
  folder = await temporaryFolder();
});

async function replica({ rotateAt = 0.8, follows = false } = {}) {
  const log = new RecordedLog();
  const authority = new Authority(
    { vault: new StateFolder({ clock }, { folder }), clock, log },
    { trustDomain: "cluster.local", ...authorityDefaults, rootLifetimeMs, intermediateLifetimeMs: 20 * day },
  );
  await authority.start();
  const begins = new RotationStart(
    { authority, clock, log },
    { rotateAt, backdateMs: authorityDefaults.backdateMs, follows: () => follows },
  );
  begins.start();
  onTestFinished(async () => {
    begins.stop();
    // What is being written must not come after the folder is gone.
    await authority.change((state) => state);
    authority.stop();
  });
  const begun = () => log.messages("info").filter((message) => message.includes("begins by itself"));
  return { authority, begins, log, begun };
}

/** Time goes by in steps, so that what is due in between is done. */
async function pass(days: number): Promise<void> {
  for (let passed = 0; passed < days; passed++) {
    clock.advance(day);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
const eventually = <T>(look: () => T) =>
  expect.poll(() => {
    clock.advance(1000);
    return look();
  });

test("a root is rotated when its share of life is over, and not before", async () => {
  const { authority, begins, begun } = await replica();
  const { issuingRoot } = authority;
  expect(begins.due).toBeGreaterThan(clock.now() + 79 * day);
  expect(begins.due).toBeLessThan(clock.now() + 81 * day);
  await pass(79);
  expect(authority.state.rotation).toBeUndefined();
  await pass(2);
  await eventually(() => authority.state.rotation?.phase).toBe("trust");
  expect(begun()).toHaveLength(1);
  expect(authority.issuingRoot).toBe(issuingRoot);
  expect(begins.due).toBe(Infinity);
});

test("replicas that find it due at once begin one rotation", async () => {
  const replicas = [await replica(), await replica(), await replica()];
  clock.advance(85 * day);
  await eventually(() => replicas.map(({ authority }) => authority.state.rotation?.phase)).toEqual(
    Array(3).fill("trust"),
  );
  await pass(1);
  expect(new Set(replicas.map(({ authority }) => authority.state.rotation?.other.roots)).size).toBe(1);
  expect(replicas.flatMap(({ begun }) => begun())).toHaveLength(1);
});

test("the next root has its own time, and a replica that starts late makes up for it", async () => {
  const first = await replica();
  clock.advance(85 * day);
  await eventually(() => first.authority.state.rotation?.phase).toBe("trust");
  await first.authority.change(({ rotation, issuer, ...rest }) => ({ ...rest, issuer: rotation?.other ?? issuer }));
  expect(first.begins.due).toBeGreaterThan(clock.now() + 70 * day);
  first.begins.stop();
  first.authority.stop();
  clock.advance(82 * day);
  const late = await replica();
  await eventually(() => late.authority.state.rotation?.phase).toBe("trust");
});

test.each([
  ["where it is switched off", { rotateAt: 1 }],
  ["where plug-in certificates are followed", { follows: true }],
])("nothing begins by itself %s", async (_where, options) => {
  const { authority, begins } = await replica(options);
  expect(begins.due).toBe(Infinity);
  await pass(95);
  expect(authority.state.rotation).toBeUndefined();
});

test("a beginning that fails is told, and tried again", async () => {
  const { authority, begins, log } = await replica();
  begins.stop();
  let broken = true;
  const flaky = {
    get state() {
      return authority.state;
    },
    change: (edit: Parameters<Authority["change"]>[0]) =>
      broken ? Promise.reject(new Error("the API server is away")) : authority.change(edit),
    onChange: (listener: () => void) => authority.onChange(listener),
    nextIssuer: () => authority.nextIssuer(),
  };
  const again = new RotationStart(
    { authority: flaky, clock, log },
    { rotateAt: 0.8, backdateMs: 0, follows: () => false },
  );
  onTestFinished(() => again.stop());
  again.start();
  clock.advance(85 * day);
  await eventually(() => log.messages("error").join()).toContain("the API server is away");
  broken = false;
  await eventually(() => authority.state.rotation?.phase).toBe("trust");
});
