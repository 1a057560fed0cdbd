import { execFile } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { chmod, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { Authority, type AuthorityOptions, authorityDefaults } from "../../../src/control/authority/authority.ts";
import type { AuthorityState } from "../../../src/control/authority/authority-state.ts";
import { readSigningRequest } from "../../../src/control/authority/signing-request.ts";
import { StateFolder } from "../../../src/control/authority/state-folder.ts";
import { createCertificateRequest } from "../../../src/identity/certificate-request.ts";
import { createWorkloadKey } from "../../../src/identity/key.ts";
import { formatIdentity } from "../../../src/identity/spiffe.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { RecordedLog } from "../../support/recorded-log.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const run = promisify(execFile);
const hour = 3_600_000;
const day = 24 * hour;
const api = formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: "api" });
const options: AuthorityOptions = { trustDomain: "cluster.local", ...authorityDefaults };

async function authorityIn(folder: string, clock = systemClock, changed: Partial<AuthorityOptions> = {}) {
  const log = new RecordedLog();
  const authority = new Authority(
    { vault: new StateFolder({ clock }, { folder }), clock, log },
    { ...options, ...changed },
  );
  await authority.start();
  return { authority, log };
}

async function requestFor(identity = api) {
  const key = await createWorkloadKey();
  return { key, publicKey: await readSigningRequest(await createCertificateRequest(identity, key)) };
}

const datesOf = (pem: string) => {
  const certificate = new X509Certificate(pem);
  return { notBefore: certificate.validFromDate.getTime(), notAfter: certificate.validToDate.getTime() };
};

test("openssl accepts what the authority signs, for both ends of TLS and by the letter of RFC 5280", async () => {
  const folder = await temporaryFolder();
  const { authority } = await authorityIn(join(folder, "state"));
  const { chain } = await authority.issue(api, (await requestFor()).publicKey, 0);
  const names = ["leaf.pem", "intermediate.pem", "root.pem"];
  for (const [index, name] of names.entries()) await writeFile(join(folder, name), chain[index] ?? "");
  for (const purpose of ["sslclient", "sslserver"]) {
    const { stdout } = await run(
      "openssl",
      [
        "verify",
        "-x509_strict",
        "-purpose",
        purpose,
        "-CAfile",
        "root.pem",
        "-untrusted",
        "intermediate.pem",
        "leaf.pem",
      ],
      { cwd: folder },
    );
    expect(stdout.trim()).toBe("leaf.pem: OK");
  }
  const { stdout } = await run("openssl", ["x509", "-in", "leaf.pem", "-noout", "-text"], { cwd: folder });
  expect(stdout).toMatch(/Subject: *\n/);
  expect(stdout).toMatch(
    /X509v3 Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster\.local\/ns\/production\/sa\/api\n/,
  );
  expect(stdout).toMatch(/X509v3 Key Usage: critical\s+Digital Signature\n/);
  expect(stdout).toMatch(/X509v3 Basic Constraints: critical\s+CA:FALSE\n/);
  expect(stdout).toContain("TLS Web Server Authentication, TLS Web Client Authentication");
  expect(stdout).toContain("ASN1 OID: prime256v1");
  expect(stdout).toContain("ecdsa-with-SHA256");
});

test("an intermediate cannot make another authority", async () => {
  const folder = await temporaryFolder();
  const { authority } = await authorityIn(folder);
  const { chain } = await authority.issue(api, (await requestFor()).publicKey, 0);
  await writeFile(join(folder, "intermediate.pem"), chain[1] ?? "");
  const { stdout } = await run("openssl", ["x509", "-in", "intermediate.pem", "-noout", "-text"], { cwd: folder });
  expect(stdout).toMatch(/X509v3 Basic Constraints: critical\s+CA:TRUE, pathlen:0\n/);
});

test("lifetimes: the default, what is asked below it, never more, and always dated back", async () => {
  const { authority } = await authorityIn(await temporaryFolder());
  const { publicKey } = await requestFor();
  for (const [asked, given] of [
    [0, day],
    [hour, hour],
    [30 * day, day],
    [-5, day],
  ] as const) {
    const before = Date.now();
    const { notBefore, notAfter } = datesOf((await authority.issue(api, publicKey, asked)).chain[0] ?? "");
    expect(notAfter - before).toBeGreaterThanOrEqual(given);
    expect(notAfter - Date.now()).toBeLessThanOrEqual(given + 1000);
    // A new intermediate is dated back as far, so nothing it signs is invalid before itself.
    expect(before - notBefore).toBeGreaterThanOrEqual(authorityDefaults.backdateMs - 1000);
  }
});

test("root lasts ten years, intermediate one, and both survive a restart", async () => {
  const folder = await temporaryFolder();
  const { authority } = await authorityIn(folder);
  const { root, intermediate } = authority.expiry;
  expect((root - Date.now()) / day).toBeCloseTo(3650, 1);
  expect((intermediate - Date.now()) / day).toBeCloseTo(365, 1);
  const again = await authorityIn(folder);
  expect(again.authority.roots).toBe(authority.roots);
  expect(again.authority.expiry).toEqual(authority.expiry);
});

test("the intermediate is renewed at half life with the same root, and the next start loads it", async () => {
  const folder = await temporaryFolder();
  const clock = new FakeClock(Date.now());
  const { authority, log } = await authorityIn(folder, clock, { intermediateLifetimeMs: 10 * day });
  const { roots, expiry } = authority;
  clock.advance(4 * day);
  expect(log.messages("info")).not.toContain("intermediate renewed");
  clock.advance(1.1 * day);
  await expect.poll(() => log.messages("info")).toContain("intermediate renewed");
  expect(authority.roots).toBe(roots);
  expect(authority.expiry.intermediate).toBeGreaterThan(expiry.intermediate);
  await expect.poll(() => clock.pending.some((delay) => delay > day)).toBe(true);
  const again = await authorityIn(folder, clock, { intermediateLifetimeMs: 10 * day });
  expect(again.authority.expiry).toEqual(authority.expiry);
});

test("an intermediate that ended while control was away is replaced before anything is signed", async () => {
  const folder = await temporaryFolder();
  const clock = new FakeClock(Date.now());
  (await authorityIn(folder, clock, { intermediateLifetimeMs: day })).authority.stop();
  clock.advance(30 * day);
  const { authority } = await authorityIn(folder, clock, { intermediateLifetimeMs: day });
  expect(authority.expiry.intermediate).toBeGreaterThan(clock.now());
});

test("a renewal that cannot be kept is tried again, and the old intermediate signs on", async () => {
  const clock = new FakeClock(Date.now());
  const vault = new StateFolder({ clock }, { folder: await temporaryFolder() });
  const log = new RecordedLog();
  let broken = true;
  const faulty = {
    load: () => vault.load(),
    create: (state: AuthorityState) => vault.create(state),
    replace: async (version: string, state: AuthorityState) => {
      if (broken) throw new Error("disk full");
      return await vault.replace(version, state);
    },
    watch: () => () => undefined,
  };
  const authority = new Authority({ vault: faulty, clock, log }, options);
  await authority.start();
  const { intermediate } = authority.expiry;
  clock.advance(200 * day);
  await expect.poll(() => log.messages("error").join()).toContain("disk full");
  expect(authority.expiry.intermediate).toBe(intermediate);
  expect((await authority.issue(api, (await requestFor()).publicKey, 0)).chain).toHaveLength(3);
  broken = false;
  await expect.poll(() => clock.pending.length).toBe(1);
  clock.advance(60_000);
  await expect.poll(() => authority.expiry.intermediate).toBeGreaterThan(intermediate);
});

test("the state is one file that only its owner can read, and nothing else is left in the folder", async () => {
  const folder = join(await temporaryFolder(), "deep", "state");
  await authorityIn(folder);
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
  expect(await readdir(folder)).toEqual(["authority.1.json"]);
  expect((await stat(join(folder, "authority.1.json"))).mode & 0o777).toBe(0o600);
});

test("a state that others can read is refused", async () => {
  const folder = await temporaryFolder();
  await authorityIn(folder);
  await chmod(join(folder, "authority.1.json"), 0o644);
  await expect(authorityIn(folder)).rejects.toMatchObject({ code: "MESH_AUTHORITY_EXPOSED" });
});

test.each([
  ["cut short", (text: string) => text.slice(0, 100), "is not JSON"],
  ["of another version", (text: string) => text.replace('"version": 2', '"version": 1'), "version"],
  ["with an unknown key", (text: string) => text.replace('"version": 2', '"version": 2, "extra": 1'), "extra"],
  ["without an intermediate", (text: string) => text.replace("intermediate", "other"), "intermediate"],
])("a state %s is refused, never replaced", async (_what, spoil, said) => {
  const folder = await temporaryFolder();
  await authorityIn(folder);
  const file = join(folder, "authority.1.json");
  const spoilt = spoil(await readFile(file, "utf8"));
  await writeFile(file, spoilt);
  await expect(authorityIn(folder)).rejects.toThrow(said);
  await expect(authorityIn(folder)).rejects.toMatchObject({ code: "MESH_AUTHORITY_UNUSABLE" });
  expect(await readFile(file, "utf8")).toBe(spoilt);
});

interface StateDocument {
  issuer: { intermediate: { certificate: string; key: string }; rootKey: string };
}

test.each(["root", "intermediate"] as const)("a key that is not the %s's is refused", async (which) => {
  const folder = await temporaryFolder();
  await authorityIn(folder);
  const file = join(folder, "authority.1.json");
  const state = JSON.parse(await readFile(file, "utf8")) as StateDocument;
  const other = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const key = other.export({ type: "pkcs8", format: "pem" }).toString();
  if (which === "root") state.issuer.rootKey = key;
  else state.issuer.intermediate.key = key;
  await writeFile(file, JSON.stringify(state));
  await expect(authorityIn(folder)).rejects.toThrow(
    `the authority's ${which} cannot be used: its key belongs to another`,
  );
});

test("an intermediate of another root is refused", async () => {
  const [folder, foreign] = [await temporaryFolder(), await temporaryFolder()];
  await authorityIn(folder);
  await authorityIn(foreign);
  const read = async (from: string) =>
    JSON.parse(await readFile(join(from, "authority.1.json"), "utf8")) as StateDocument;
  const mixed = await read(folder);
  mixed.issuer.intermediate = (await read(foreign)).issuer.intermediate;
  await writeFile(join(folder, "authority.1.json"), JSON.stringify(mixed));
  await expect(authorityIn(folder)).rejects.toThrow("the root has not signed it");
});

test("an expired root is refused", async () => {
  const folder = await temporaryFolder();
  const clock = new FakeClock(Date.now());
  await authorityIn(folder, clock, { rootLifetimeMs: day, intermediateLifetimeMs: hour });
  clock.advance(2 * day);
  await expect(authorityIn(folder, clock)).rejects.toThrow("not valid now");
});

test("many that start at once share one root", async () => {
  const folder = join(await temporaryFolder(), "state");
  const started = await Promise.all(Array.from({ length: 8 }, () => authorityIn(folder)));
  expect(new Set(started.map(({ authority }) => authority.roots)).size).toBe(1);
  expect(await readdir(folder)).toEqual(["authority.1.json"]);
});

test("two processes that start at once share one root", async () => {
  const folder = join(await temporaryFolder(), "state");
  const program = `
    import { Authority, authorityDefaults } from ${JSON.stringify(new URL("../../../src/control/authority/authority.ts", import.meta.url).href)};
    import { StateFolder } from ${JSON.stringify(new URL("../../../src/control/authority/state-folder.ts", import.meta.url).href)};
    import { systemClock } from ${JSON.stringify(new URL("../../../src/lib/clock.ts", import.meta.url).href)};
    const log = { info() {}, error() {} };
    const vault = new StateFolder({ clock: systemClock }, { folder: process.argv[1] });
    const authority = new Authority({ vault, clock: systemClock, log }, { trustDomain: "cluster.local", ...authorityDefaults });
    // Both are loaded before either goes on, so that they really race.
    process.stdout.write("loaded\\n");
    process.stdin.once("data", async () => {
      await authority.start();
      process.stdout.write(authority.roots);
      process.exit(0);
    });`;
  const children = [1, 2].map(() => execFile(process.execPath, ["--input-type=module", "-e", program, folder]));
  const outputs = children.map((child) => {
    let text = "";
    child.stdout?.on("data", (chunk: string) => (text += chunk));
    return { text: () => text, closed: new Promise((resolve) => child.once("close", resolve)) };
  });
  await expect.poll(() => outputs.every(({ text }) => text().includes("loaded")), { timeout: 30_000 }).toBe(true);
  for (const child of children) child.stdin?.write("go\n");
  await Promise.all(outputs.map(({ closed }) => closed));
  const [first, second] = outputs.map(({ text }) => text());
  expect(first).toContain("BEGIN CERTIFICATE");
  expect(second).toBe(first);
});
