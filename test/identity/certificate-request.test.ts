import "reflect-metadata";
import { spawnSync } from "node:child_process";
import { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } from "@peculiar/x509";
import { expect, test } from "vitest";
import { createCertificateRequest } from "../../src/identity/certificate-request.ts";
import { createWorkloadKey } from "../../src/identity/key.ts";
import { formatIdentity } from "../../src/identity/spiffe.ts";

const api = formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: "api" });
// Longer than 127 and 255 bytes: DER lengths change form there.
const long = formatIdentity({
  trustDomain: "cluster.local",
  namespace: "n".repeat(63),
  serviceAccount: "s".repeat(253),
});

test.each([api, long])("openssl reads and verifies a request for %s", async (identity) => {
  const request = await createCertificateRequest(identity, await createWorkloadKey());
  const { stdout: text, stderr } = spawnSync("openssl", ["req", "-verify", "-noout", "-text"], {
    input: request,
    encoding: "utf8",
  });
  expect(stderr).toContain("verify OK");
  expect(text).toMatch(/Subject: *\n/);
  expect(text).toMatch(/X509v3 Subject Alternative Name: critical\n/);
  expect(text).toContain(`URI:${identity}\n`);
  expect(text).toContain("ASN1 OID: prime256v1");
  expect(text).toContain("Signature Algorithm: ecdsa-with-SHA256");
});

test("an X.509 library reads the same", async () => {
  const key = await createWorkloadKey();
  const request = new Pkcs10CertificateRequest(await createCertificateRequest(long, key));
  expect(await request.verify()).toBe(true);
  expect(request.subject).toBe("");
  expect(Buffer.from(request.publicKey.rawData)).toEqual(key.publicKey.export({ type: "spki", format: "der" }));
  const names = request.extensions.find((extension) => extension instanceof SubjectAlternativeNameExtension);
  expect(names?.critical).toBe(true);
  expect(names?.names.toJSON()).toEqual([{ type: "url", value: long }]);
});

test("each key is new", async () => {
  const [a, b] = [await createWorkloadKey(), await createWorkloadKey()];
  expect(a.publicKey.equals(b.publicKey)).toBe(false);
});
