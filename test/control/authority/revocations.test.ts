import { execFile } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { Authority, authorityDefaults } from "../../../src/control/authority/authority.ts";
import {
  longestLeafMs,
  normalSerial,
  withDenied,
  withoutDenied,
  withRevoked,
} from "../../../src/control/authority/revocations.ts";
import { readSigningRequest } from "../../../src/control/authority/signing-request.ts";
import { StateFolder } from "../../../src/control/authority/state-folder.ts";
import { createCertificateRequest } from "../../../src/identity/certificate-request.ts";
import { createWorkloadKey } from "../../../src/identity/key.ts";
import { RevocationJudge } from "../../../src/identity/revocation-list.ts";
import { formatIdentity } from "../../../src/identity/spiffe.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { RecordedLog } from "../../support/recorded-log.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const run = promisify(execFile);
const day = 86_400_000;
const api = formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: "api" });

async function authority() {
  const clock = new FakeClock(Date.now());
  const folder = await temporaryFolder();
  const started = new Authority(
    { vault: new StateFolder({ clock }, { folder }), clock, log: new RecordedLog() },
    { trustDomain: "cluster.local", ...authorityDefaults },
  );
  await started.start();
  const leaf = async () => {
    const request = await createCertificateRequest(api, await createWorkloadKey());
    return await started.issue(api, await readSigningRequest(request), 0);
  };
  return { authority: started, clock, folder, leaf };
}

const judge = ({ chain }: { readonly chain: readonly string[] }, crl: string) =>
  new RevocationJudge().isRevoked({ chain: chain.slice(0, -1).join(""), roots: chain.at(-1) ?? "", crl });

test.each([
  ["5F:0C:a2", "5f0ca2"],
  ["0x5f0ca2", "5f0ca2"],
  [" 5f 0c a2 ", "5f0ca2"],
  ["0005f0", "05f0"],
  ["80", "80"],
  ["0", "00"],
  ["", undefined],
  ["xyz", undefined],
  ["5f".repeat(21), undefined],
])("the serial number %j is read as %j", (text, serial) => {
  expect(normalSerial(text)).toBe(serial);
});

test("nothing is told as long as nothing is revoked", async () => {
  const { authority: ca } = await authority();
  expect(ca.settings).toMatchObject({ crl: "", deniedIdentities: [] });
});

test("what is revoked is on lists that OpenSSL verifies and both judges obey; what is not goes on", async () => {
  const { authority: ca, clock, folder, leaf } = await authority();
  const [bad, good] = [await leaf(), await leaf()];
  await ca.change((state) => withRevoked(state, [normalSerial(bad.serial) ?? ""], clock.now()));
  const { crl } = ca.settings;
  expect(judge(bad, crl)).toBe(true);
  expect(judge(good, crl)).toBe(false);

  const write = (name: string, text: string) => writeFile(join(folder, name), text);
  const [leafPem = "", intermediate = "", root = ""] = bad.chain;
  await Promise.all([write("leaf.pem", leafPem), write("good.pem", good.chain[0] ?? ""), write("crl.pem", crl)]);
  await Promise.all([write("intermediate.pem", intermediate), write("root.pem", root)]);
  const verify = (name: string) =>
    run(
      "openssl",
      [
        "verify",
        "-crl_check_all",
        "-CRLfile",
        "crl.pem",
        "-CAfile",
        "root.pem",
        "-untrusted",
        "intermediate.pem",
        name,
      ],
      { cwd: folder },
    );
  expect((await verify("good.pem")).stdout.trim()).toBe("good.pem: OK");
  await expect(verify("leaf.pem")).rejects.toThrow("certificate revoked");
  const { stdout } = await run("openssl", ["crl", "-in", "crl.pem", "-noout", "-text"], { cwd: folder });
  expect(stdout).toMatch(/X509v3 CRL Number: *\n\s+1\n/);
  expect(stdout).toContain("X509v3 Authority Key Identifier");
});

test("a list outlives the intermediate that it was made under, and another comes with the new one", async () => {
  const { authority: ca, clock, leaf } = await authority();
  const bad = await leaf();
  await ca.renewIntermediate();
  await ca.change((state) => withRevoked(state, [normalSerial(bad.serial) ?? ""], clock.now()));
  expect(judge(bad, ca.settings.crl)).toBe(true);
  // Of the intermediate before, which is kept for this, the one of now, and the root.
  expect(ca.settings.crl.match(/BEGIN X509 CRL/g)).toHaveLength(3);
  await ca.renewIntermediate();
  expect(judge(bad, ca.settings.crl)).toBe(true);
  const fresh = await leaf();
  await ca.change((state) => withRevoked(state, [normalSerial(fresh.serial) ?? ""], clock.now()));
  expect(judge(fresh, ca.settings.crl)).toBe(true);
});

test("a whole intermediate of before can be revoked by the root", async () => {
  const { authority: ca, clock, leaf } = await authority();
  const before = await leaf();
  const { serialNumber } = new X509Certificate(before.chain[1] ?? "");
  await ca.renewIntermediate();
  const after = await leaf();
  await ca.change((state) => withRevoked(state, [normalSerial(serialNumber) ?? ""], clock.now()));
  expect(judge(before, ca.settings.crl)).toBe(true);
  expect(judge(after, ca.settings.crl)).toBe(false);
});

test("an entry is forgotten when what it names has expired for certain, and so are keys of former intermediates", async () => {
  const { authority: ca, clock } = await authority();
  await ca.renewIntermediate();
  await ca.change((state) => withRevoked(state, ["2a"], clock.now()));
  clock.advance(longestLeafMs - day);
  await ca.change((state) => withDenied(state, [api], clock.now()));
  expect(ca.state.revocations.serials).toHaveLength(1);
  expect(ca.state.former).toHaveLength(1);
  clock.advance(2 * day);
  await ca.change((state) => withoutDenied(state, [api]));
  expect(ca.state.revocations).toMatchObject({ serials: [], lists: "" });
  expect(ca.state.former).toEqual([]);
  expect(ca.settings.crl).toBe("");
});

test("the same revoked twice changes nothing", async () => {
  const { authority: ca, clock } = await authority();
  const once = await ca.change((state) => withRevoked(state, ["2a"], clock.now()));
  expect(await ca.change((state) => withRevoked(state, ["2a"], clock.now() + 1))).toBe(once);
  const denied = await ca.change((state) => withDenied(state, [api], clock.now()));
  expect(await ca.change((state) => withDenied(state, [api], clock.now() + 1))).toBe(denied);
});

test("a denied identity gets no certificate until it is let in again", async () => {
  const { authority: ca, clock, leaf } = await authority();
  await ca.change((state) => withDenied(state, [api], clock.now()));
  await expect(leaf()).rejects.toMatchObject({ code: "MESH_IDENTITY_DENIED" });
  expect(ca.settings.deniedIdentities).toEqual([api]);
  await ca.change((state) => withoutDenied(state, [api]));
  expect((await leaf()).chain).toHaveLength(3);
});
