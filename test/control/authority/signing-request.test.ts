import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readSigningRequest } from "../../../src/control/authority/signing-request.ts";
import { createCertificateRequest } from "../../../src/identity/certificate-request.ts";
import { createWorkloadKey } from "../../../src/identity/key.ts";
import { formatIdentity } from "../../../src/identity/spiffe.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const api = formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: "api" });

/** A request made by openssl with a key of its own. */
async function opensslRequest(...genpkey: string[]): Promise<string> {
  const key = join(await temporaryFolder(), "key.pem");
  execFileSync("openssl", ["genpkey", ...genpkey, "-out", key], { stdio: "pipe" });
  return execFileSync("openssl", ["req", "-new", "-key", key, "-subj", "/CN=anything"], { stdio: "pipe" }).toString();
}

describe("the key of a request", () => {
  test("is taken from our own requests", async () => {
    const key = await createWorkloadKey();
    const publicKey = await readSigningRequest(await createCertificateRequest(api, key));
    expect(Buffer.from(publicKey.rawData)).toEqual(key.publicKey.export({ type: "spki", format: "der" }));
  });

  test.each(["P-256", "P-384"])("may be on %s", async (curve) => {
    await expect(
      readSigningRequest(await opensslRequest("-algorithm", "EC", "-pkeyopt", `ec_paramgen_curve:${curve}`)),
    ).resolves.toBeDefined();
  });

  test.each([
    ["RSA", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "RSA"],
    ["P-521", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], "P-521"],
    ["secp256k1", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "K-256"],
    ["Ed25519", ["-algorithm", "ED25519"], "Ed25519"],
  ])("may not be %s", async (_kind, genpkey, named) => {
    const request = await opensslRequest(...genpkey);
    await expect(readSigningRequest(request)).rejects.toMatchObject({ code: "MESH_REQUEST_INVALID" });
    await expect(readSigningRequest(request)).rejects.toThrow(named);
  });
});

test("a request that its key has not signed is refused", async () => {
  const good = await createCertificateRequest(api, await createWorkloadKey());
  const other = await createCertificateRequest(api, await createWorkloadKey());
  const bytes = (pem: string) => Buffer.from(pem.replaceAll(/-----.*-----|\n/g, ""), "base64");
  // The other's signature under this request: the last 70 bytes hold most of it.
  const [a, b] = [bytes(good), bytes(other)];
  const forged = Buffer.concat([a.subarray(0, a.length - 40), b.subarray(b.length - 40)]);
  const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${forged.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
  await expect(readSigningRequest(pem)).rejects.toMatchObject({ code: "MESH_REQUEST_INVALID" });
});

test.each([
  ["nothing", "", "not one PEM block"],
  ["no PEM", "hello", "not one PEM block"],
  ["another label", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "not one PEM block"],
  ["no DER", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "is not PKCS#10"],
  ["too much", `-----BEGIN CERTIFICATE REQUEST-----\n${"A".repeat(5000)}\n-----END CERTIFICATE REQUEST-----`, "5000"],
])("%s is refused", async (_what, text, said) => {
  await expect(readSigningRequest(text)).rejects.toMatchObject({ code: "MESH_REQUEST_INVALID" });
  if (said !== "5000") await expect(readSigningRequest(text)).rejects.toThrow(said);
  else await expect(readSigningRequest(text)).rejects.toThrow("characters, at most 4096");
});

test("two requests in one text are refused", async () => {
  const request = await createCertificateRequest(api, await createWorkloadKey());
  await expect(readSigningRequest(request + request)).rejects.toThrow("not one PEM block");
});

test("a public key in place of a request is refused", async () => {
  const spki = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ type: "spki", format: "der" });
  const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${spki.toString("base64")}\n-----END CERTIFICATE REQUEST-----`;
  await expect(readSigningRequest(pem)).rejects.toMatchObject({ code: "MESH_REQUEST_INVALID" });
});
