/** What the control plane says of roots and revocations, and what a store of certificates makes of it. */
import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { Authority, authorityDefaults } from "../../src/control/authority/authority.ts";
import { readSigningRequest } from "../../src/control/authority/signing-request.ts";
import { StateFolder } from "../../src/control/authority/state-folder.ts";
import {
  type CertificateGuidance,
  type CertificateOrder,
  CertificateStore,
  certificateStoreDefaults,
} from "../../src/identity/certificate-store.ts";
import { formatIdentity } from "../../src/identity/spiffe.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { RecordedLog } from "../support/recorded-log.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const minute = 60_000;
const hour = 60 * minute;
const api = formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: "api" });
const soon = () => AbortSignal.timeout(30_000);
const none: CertificateGuidance = { trustBundle: "", issuingRoot: "", isRevoked: () => false };

async function authorityAt(clock: FakeClock): Promise<Authority> {
  const vault = new StateFolder({ clock }, { folder: await temporaryFolder() });
  const authority = new Authority(
    { vault, clock, log: new RecordedLog() },
    { trustDomain: "cluster.local", ...authorityDefaults },
  );
  await authority.start();
  authority.stop();
  return authority;
}

/** A store whose authority can be exchanged, and one certificate in it. */
async function storeWithCertificate(random = () => 0.5) {
  const clock = new FakeClock(Date.UTC(2026, 5, 1));
  const [before, after] = [await authorityAt(clock), await authorityAt(clock)];
  const asked = { of: before, times: 0 };
  const authority = {
    async createCertificate({ identity, request, lifetimeMs }: CertificateOrder) {
      asked.times++;
      return (await asked.of.issue(identity, await readSigningRequest(request), lifetimeMs)).chain;
    },
  };
  const store = new CertificateStore(
    { authority, clock, random, log: new RecordedLog() },
    { ...certificateStoreDefaults, renewJitter: 0 },
  );
  store.hold(api);
  await store.wait(api, soon());
  const dueIn = () => {
    const at = store.list()[0]?.renewsAt;
    return at === undefined ? undefined : at - clock.now();
  };
  const rootsOf = () =>
    (store.get(api)?.trustBundle.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? []).map(
      (pem) => new X509Certificate(pem).fingerprint256,
    );
  return { store, clock, before, after, asked, dueIn, rootsOf };
}

const fingerprint = (pem: string) => new X509Certificate(pem).fingerprint256;

test("roots that the mesh is told are trusted at once, each once, with the certificate's own", async () => {
  const { store, before, after, rootsOf } = await storeWithCertificate();
  expect(rootsOf()).toEqual([fingerprint(before.roots)]);
  store.follow({ ...none, trustBundle: before.roots + after.roots });
  expect(rootsOf()).toEqual([fingerprint(before.roots), fingerprint(after.roots)]);
  expect(store.list()[0]?.certificate?.trustBundle).toBe(store.get(api)?.trustBundle);
  // The mesh has gone on to the new root and this certificate has not yet.
  store.follow({ ...none, trustBundle: after.roots });
  expect(rootsOf()).toEqual([fingerprint(before.roots), fingerprint(after.roots)]);
  store.follow(none);
  expect(rootsOf()).toEqual([fingerprint(before.roots)]);
});

test("a certificate of another root than is issued from is renewed within a minute, and then trusts what is told alone", async () => {
  const { store, clock, before, after, asked, dueIn, rootsOf } = await storeWithCertificate();
  expect(dueIn()).toBe(12 * hour);
  asked.of = after;
  store.follow({ ...none, trustBundle: before.roots + after.roots, issuingRoot: after.issuingRoot });
  expect(dueIn()).toBe(minute / 2);
  clock.advance(minute / 2);
  await expect.poll(() => store.get(api)?.rootFingerprint).toBe(after.issuingRoot);
  expect(dueIn()).toBe(12 * hour);
  expect(rootsOf()).toHaveLength(2);
  store.follow({ ...none, trustBundle: after.roots, issuingRoot: after.issuingRoot });
  expect(rootsOf()).toEqual([fingerprint(after.roots)]);
});

test("renewals under a new root are spread over the cluster", async () => {
  const draws = [0, 0.25, 0.99];
  for (const draw of draws) {
    const { store, after, asked, dueIn } = await storeWithCertificate(() => draw);
    asked.of = after;
    store.follow({ ...none, issuingRoot: after.issuingRoot });
    expect(dueIn()).toBe(draw * minute);
  }
});

test("a replica that is behind is asked again, and an authority that goes on as before is let be", async () => {
  const { store, clock, after, asked, dueIn } = await storeWithCertificate();
  store.follow({ ...none, issuingRoot: after.issuingRoot });
  const first = asked.times;
  for (let step = 0; step < 40 && (dueIn() ?? 0) < hour; step++) {
    clock.advance(dueIn() ?? 0);
    await expect.poll(dueIn).toBeGreaterThan(0);
  }
  expect(dueIn()).toBeGreaterThan(11 * hour);
  expect(asked.times - first).toBe(8);
  // The next word of the control plane is a new reason to try.
  asked.of = after;
  store.follow({ ...none, issuingRoot: after.issuingRoot });
  clock.advance(minute);
  await expect.poll(() => store.get(api)?.rootFingerprint).toBe(after.issuingRoot);
});

test("a certificate that is revoked is renewed now; one that is not stays", async () => {
  const { store, clock, asked, dueIn } = await storeWithCertificate();
  const serial = store.get(api)?.serial;
  store.follow({ ...none, isRevoked: (material) => material.serial === "another" });
  expect(dueIn()).toBe(12 * hour);
  store.follow({ ...none, isRevoked: (material) => material.serial === serial });
  clock.advance(0);
  await expect.poll(() => store.get(api)?.serial).not.toBe(serial);
  expect(asked.times).toBe(2);
  expect(dueIn()).toBe(12 * hour);
});

test("what is told before the first certificate holds for it too", async () => {
  const { store, before, after, rootsOf } = await storeWithCertificate();
  store.follow({ ...none, trustBundle: before.roots + after.roots });
  const web = formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: "web" });
  store.hold(web);
  expect((await store.wait(web, soon())).trustBundle).toBe(store.get(api)?.trustBundle);
  expect(rootsOf()).toHaveLength(2);
});
