/** Several replicas of control over one vault: what each changes, the others have, and nothing is lost. */
import { readdir } from "node:fs/promises";
import { expect, test } from "vitest";
import { Authority, authorityDefaults } from "../../../src/control/authority/authority.ts";
import type { AuthorityState } from "../../../src/control/authority/authority-state.ts";
import { withRevoked } from "../../../src/control/authority/revocations.ts";
import { begin } from "../../../src/control/authority/root-rotation.ts";
import { StateFolder } from "../../../src/control/authority/state-folder.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { RecordedLog } from "../../support/recorded-log.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

async function replicas(count: number) {
  const clock = new FakeClock(Date.now());
  const folder = await temporaryFolder();
  const make = async () => {
    const log = new RecordedLog();
    const vault = new StateFolder({ clock }, { folder });
    const authority = new Authority({ vault, clock, log }, { trustDomain: "cluster.local", ...authorityDefaults });
    await authority.start();
    return authority;
  };
  const first = await make();
  return { clock, folder, all: [first, ...(await Promise.all(Array.from({ length: count - 1 }, make)))] };
}

test("many changes at once are all kept, and all replicas come to know them", async () => {
  const { clock, folder, all } = await replicas(3);
  const serials = Array.from({ length: 12 }, (_, index) => (0x10 + index).toString(16));
  await Promise.all(
    serials.map(async (serial, index) => {
      await all[index % 3]?.change((state) => withRevoked(state, [serial], clock.now()));
    }),
  );
  const kept = (state: AuthorityState) => state.revocations.serials.map(({ serial }) => serial).sort();
  await expect
    .poll(() => {
      clock.advance(1000);
      return all.map(({ state }) => kept(state));
    })
    .toEqual([serials, serials, serials]);
  expect(all.map(({ settings }) => settings.crl)).toEqual(Array.from(all, () => all[0]?.settings.crl));
  expect(await readdir(folder)).toEqual(["authority.13.json"]);
});

test("a rotation that two begin at once is one", async () => {
  const { clock, all } = await replicas(2);
  const states = await Promise.all(
    all.map(async (authority) => {
      const next = await authority.nextIssuer();
      return await authority.change((state) => begin(state, next, clock.now()));
    }),
  );
  expect(states[0]?.rotation?.other.roots).toBe(states[1]?.rotation?.other.roots);
  await expect
    .poll(() => {
      clock.advance(1000);
      return new Set(all.map(({ roots }) => roots)).size;
    })
    .toBe(1);
  expect(all[0]?.roots.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
});

test("an intermediate that is due at every replica is renewed once", async () => {
  const { clock, all } = await replicas(3);
  clock.advance(200 * 86_400_000);
  await expect
    .poll(() => {
      clock.advance(1000);
      return all.map(({ state }) => state.former.length);
    })
    .toEqual([1, 1, 1]);
  expect(new Set(all.map(({ expiry }) => expiry.intermediate)).size).toBe(1);
});

test("a state that somebody broke stops nobody: what is in force stays, and it is told", async () => {
  const clock = new FakeClock(Date.now());
  const vault = new StateFolder({ clock }, { folder: await temporaryFolder() });
  let broken = false;
  let changed = () => {};
  const log = new RecordedLog();
  const authority = new Authority(
    {
      vault: {
        load: () => (broken ? Promise.reject(new Error("it is not JSON")) : vault.load()),
        create: (state) => vault.create(state),
        replace: (version, state) => vault.replace(version, state),
        watch: (told) => {
          changed = told;
          return () => undefined;
        },
      },
      clock,
      log,
    },
    { trustDomain: "cluster.local", ...authorityDefaults },
  );
  await authority.start();
  const { roots } = authority;
  broken = true;
  changed();
  await expect.poll(() => log.messages("error").join()).toContain("it is not JSON");
  expect(authority.roots).toBe(roots);
  expect((await authority.issueServing(["localhost"])).chain).toHaveLength(3);
});
