/** Plug-in certificates from their files to what is issued, through replacements of every kind. */
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, beforeEach, expect, test } from "vitest";
import { Authority, authorityDefaults } from "../../../src/control/authority/authority.ts";
import { PlugInFolder } from "../../../src/control/authority/plug-in-folder.ts";
import { PlugInKeeper } from "../../../src/control/authority/plug-in-keeper.ts";
import { StateFolder } from "../../../src/control/authority/state-folder.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { makeCrl, makeParty, type Party } from "../../support/pki.ts";
import { RecordedLog } from "../../support/recorded-log.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const day = 86_400_000;
const long = { notBefore: Date.now() - day, notAfter: Date.now() + 300 * day };

interface Family {
  readonly root: Party;
  readonly authority: Party;
}

const family = async (name: string, root?: Party): Promise<Family> => {
  const top = root ?? (await makeParty({ subject: `CN=${name} root`, authority: true, ...long }));
  return { root: top, authority: await makeParty({ subject: `CN=${name}`, authority: true, ...long }, top) };
};

let first: Family;
let renewed: Family;
let other: Family;
beforeAll(async () => {
  first = await family("first");
  renewed = await family("renewed", first.root);
  other = await family("other");
});

let clock: FakeClock;
let folder: string;
let cacerts: string;
let log: RecordedLog;
let authority: Authority;
let keeper: PlugInKeeper;
beforeEach(async () => {
  clock = new FakeClock(Date.now());
  folder = await temporaryFolder();
  cacerts = join(folder, "cacerts");
  await mkdir(cacerts);
  ({ log, authority, keeper } = control());
});

function control() {
  const recorded = new RecordedLog();
  const vault = new StateFolder({ clock }, { folder: join(folder, "state") });
  const options = { trustDomain: "cluster.local", ...authorityDefaults };
  const reader = new PlugInFolder({ clock }, { folder: cacerts });
  return {
    log: recorded,
    authority: new Authority({ vault, clock, log: recorded }, options),
    keeper: new PlugInKeeper({ reader, clock, log: recorded }, { certificateLifetimeMs: day }),
  };
}

async function put({ authority: { pem, key }, root }: Family, changed: Record<string, string> = {}): Promise<void> {
  const files = { "ca-cert.pem": pem, "ca-key.pem": key, "cert-chain.pem": pem, "root-cert.pem": root.pem, ...changed };
  for (const [name, text] of Object.entries(files)) await writeFile(join(cacerts, name), text);
}

async function start(): Promise<void> {
  await authority.start(await keeper.load());
  await keeper.follow(authority);
}

const issues = () => authority.state.issuer.intermediate.certificate;
/** Looks at the files, as often as it takes. */
const eventually = <T>(look: () => T) =>
  expect.poll(
    () => {
      clock.advance(1000);
      return look();
    },
    { timeout: 30_000, interval: 20 },
  );

test("the authority issues from them, and leads to their root", async () => {
  await put(first);
  await start();
  const { chain } = await authority.issueServing(["localhost"]);
  expect(chain.slice(1)).toEqual([first.authority.pem, first.root.pem]);
  expect(authority.renewalDue).toBe(Infinity);
  expect(keeper.problems).toEqual([]);
});

test("an incomplete or mismatched set stops the start, and no root of our own is made instead", async () => {
  await put(first);
  await rm(join(cacerts, "root-cert.pem"));
  await expect(keeper.load()).rejects.toMatchObject({ code: "MESH_PLUG_IN_UNUSABLE" });
  await expect(control().keeper.load()).rejects.toThrow(`${cacerts} cannot be used: root-cert.pem is missing`);
  await put(first, { "ca-key.pem": other.authority.key });
  await expect(control().keeper.load()).rejects.toThrow("ca-key.pem is not the key of the certificate");
});

test("a folder that is not there stops the start", async () => {
  await rm(cacerts, { recursive: true });
  await expect(keeper.load()).rejects.toThrow("they cannot be read");
});

test("another certificate of the same root is in force at once", async () => {
  await put(first);
  await start();
  await put(renewed);
  await eventually(issues).toBe(renewed.authority.pem);
  expect(authority.state.rotation).toBeUndefined();
  expect(authority.state.former.map(({ certificate }) => certificate)).toEqual([first.authority.pem]);
});

test("Kubernetes' way of replacing a mounted Secret is seen", async () => {
  await rm(cacerts, { recursive: true });
  const versions = [first, renewed].map((_, index) => join(folder, `version-${index}`));
  for (const [index, version] of versions.entries()) {
    await mkdir(version);
    cacerts = version;
    await put(index === 0 ? first : renewed);
  }
  cacerts = join(folder, "cacerts");
  await symlink(versions[0] ?? "", cacerts);
  await start();
  await rm(cacerts);
  await symlink(versions[1] ?? "", cacerts);
  await eventually(issues).toBe(renewed.authority.pem);
});

test("another root begins a rotation, and the old set issues on", async () => {
  await put(first);
  await start();
  await put(other);
  await eventually(() => authority.state.rotation?.phase).toBe("trust");
  expect(issues()).toBe(first.authority.pem);
  expect(authority.roots).toBe(first.root.pem + other.root.pem);
  // And its end is that of any other rotation, also for a replica that starts in the middle of it.
  const second = control();
  await second.authority.start(await second.keeper.load());
  await second.keeper.follow(second.authority);
  expect(second.authority.state.rotation?.other.intermediate.certificate).toBe(other.authority.pem);
  second.keeper.stop();
});

test("a root that is put back before anything was issued ends the rotation; a third takes the second's place", async () => {
  await put(first);
  await start();
  await put(other);
  await eventually(() => authority.state.rotation?.phase).toBe("trust");
  const third = await family("third");
  await put(third);
  await eventually(() => authority.state.rotation?.other.intermediate.certificate).toBe(third.authority.pem);
  await put(first);
  await eventually(() => authority.state.rotation).toBeUndefined();
  expect(authority.roots).toBe(first.root.pem);
});

test("a root to trust beside the own one is trusted at once, and let go by a rotation", async () => {
  await put(first);
  await start();
  await put(first, { "root-cert.pem": first.root.pem + other.root.pem });
  await eventually(() => authority.state.rotation?.phase ?? authority.roots).toBe(first.root.pem + other.root.pem);
  await put(first);
  await eventually(() => authority.state.rotation?.phase).toBe("trust");
  expect(authority.roots).toBe(first.root.pem + other.root.pem);
});

test("a set that is not right changes nothing, and is told once and until it is repaired", async () => {
  await put(first);
  await start();
  await put(other, { "ca-key.pem": first.authority.key });
  await eventually(() => keeper.problems.join()).toContain("ca-key.pem is not the key");
  clock.advance(10_000);
  expect(log.messages("error").filter((message) => message.includes("ca-key.pem"))).toHaveLength(1);
  expect(issues()).toBe(first.authority.pem);
  expect(authority.state.rotation).toBeUndefined();
  await put(renewed);
  await eventually(issues).toBe(renewed.authority.pem);
  expect(keeper.problems).toEqual([]);
});

test("a revocation list that comes with them reaches agents, also one that came later", async () => {
  await put(first);
  await start();
  const crl = await makeCrl(first.authority, ["2a"]);
  await put(first, { "ca-crl.pem": crl });
  await eventually(() => authority.settings.crl).toBe(crl);
});

test("a mesh with a root of its own moves to them by a rotation", async () => {
  await authority.start();
  const { roots } = authority;
  await put(first);
  await keeper.load();
  await keeper.follow(authority);
  expect(authority.state.rotation?.phase).toBe("trust");
  expect(authority.roots).toBe(roots + first.root.pem);
});
