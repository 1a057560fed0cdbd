import "reflect-metadata";
import { execFileSync } from "node:child_process";
import { createPublicKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { readIssuer } from "../../../src/control/authority/issuer.ts";
import { checkPlugIn, fromTlsSecret, type PlugInMaterial } from "../../../src/control/authority/plug-in.ts";
import { makeCrl, makeParty, type Party } from "../../support/pki.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const day = 86_400_000;
const now = Date.now();
const options = { now, certificateLifetimeMs: day };
const long = { notBefore: now - day, notAfter: now + 300 * day };
const signing = ["keyCertSign", "cRLSign"] as const;

let root: Party;
let middle: Party;
let authority: Party;
let stranger: Party;
beforeAll(async () => {
  root = await makeParty({ subject: "CN=root", authority: true, ...long });
  middle = await makeParty({ subject: "CN=middle", authority: true, pathLength: 1, ...long }, root);
  authority = await makeParty({ subject: "CN=mesh", authority: true, pathLength: 0, usages: signing, ...long }, middle);
  stranger = await makeParty({ subject: "CN=stranger", authority: true, ...long });
});

const good = (): PlugInMaterial => ({
  "ca-cert.pem": authority.pem,
  "ca-key.pem": authority.key,
  "cert-chain.pem": authority.pem + middle.pem,
  "root-cert.pem": root.pem,
});

const told = (material: PlugInMaterial) => {
  const verdict = checkPlugIn(material, options);
  if (verdict.kind === "usable") return "usable";
  return verdict.problems.map(({ file, message }) => `${file} ${message}`).join("\n");
};

test("a complete set can be issued from, and its path to the root is in order", async () => {
  const verdict = checkPlugIn(good(), options);
  if (verdict.kind !== "usable") throw new Error(JSON.stringify(verdict.problems));
  expect(verdict.warnings).toEqual([]);
  expect(verdict.issuer).toMatchObject({ origin: "plug-in", rootKey: "", chain: middle.pem, roots: root.pem });
  const { path } = await readIssuer(verdict.issuer, now);
  expect(path).toEqual([authority.pem, middle.pem]);
});

test.each<[string, () => PlugInMaterial]>([
  [
    "with the root in the chain, as Istio's own script writes it",
    () => ({ ...good(), "cert-chain.pem": authority.pem + middle.pem + root.pem }),
  ],
  ["with the chain in another order", () => ({ ...good(), "cert-chain.pem": middle.pem + authority.pem })],
  ["with another root to trust beside its own", () => ({ ...good(), "root-cert.pem": stranger.pem + root.pem })],
  [
    "whose authority is the root itself",
    () => ({ "ca-cert.pem": root.pem, "ca-key.pem": root.key, "cert-chain.pem": root.pem, "root-cert.pem": root.pem }),
  ],
  [
    "of a kubernetes.io/tls Secret",
    () => fromTlsSecret({ "tls.crt": authority.pem + middle.pem, "tls.key": authority.key, "ca.crt": root.pem }),
  ],
])("a set %s is usable", (_what, material) => {
  expect(told(material())).toBe("usable");
});

test("of several roots the one that the chain leads to comes first", () => {
  const verdict = checkPlugIn({ ...good(), "root-cert.pem": stranger.pem + root.pem }, options);
  expect(verdict).toMatchObject({ kind: "usable", issuer: { roots: root.pem + stranger.pem } });
});

describe("a set that is refused, with the file and what to do", () => {
  test.each(["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"] as const)("without %s", (file) => {
    const { [file]: _, ...rest } = good();
    expect(told(rest)).toBe(`${file} is missing; all four files are needed`);
    expect(told({ ...rest, [file]: " \n" })).toBe(`${file} is empty; all four files are needed`);
  });

  test("tells all that is wrong at once", () => {
    const lines = told({ ...good(), "ca-key.pem": stranger.key, "root-cert.pem": stranger.pem }).split("\n");
    expect(lines).toHaveLength(2);
  });

  test.each<[string, () => PlugInMaterial | Promise<PlugInMaterial>, RegExp]>([
    [
      "a certificate that is no PEM",
      () => ({ ...good(), "ca-cert.pem": "garbage" }),
      /^ca-cert\.pem holds no PEM block CERTIFICATE/,
    ],
    [
      "a certificate that is cut short",
      () => ({ ...good(), "root-cert.pem": root.pem.replace(/\n.{64}\n/, "\n") }),
      /^root-cert\.pem certificate 1 cannot be read/,
    ],
    [
      "a chain in ca-cert.pem",
      () => ({ ...good(), "ca-cert.pem": authority.pem + middle.pem }),
      /^ca-cert\.pem holds 2 certificates/,
    ],
    [
      "the key of another certificate",
      () => ({ ...good(), "ca-key.pem": stranger.key }),
      /^ca-key\.pem is not the key of the certificate/,
    ],
    ["a key that is none", () => ({ ...good(), "ca-key.pem": "garbage" }), /^ca-key\.pem holds no private key/],
    [
      "an encrypted key",
      () => {
        const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
        const encrypted = privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" });
        return { ...good(), "ca-key.pem": encrypted.toString() };
      },
      /^ca-key\.pem is encrypted/,
    ],
    [
      "a chain without the issuer of the authority",
      () => ({ ...good(), "cert-chain.pem": authority.pem }),
      /^cert-chain\.pem does not lead from ca-cert\.pem to a root/,
    ],
    [
      "a chain of something else",
      () => ({ ...good(), "cert-chain.pem": middle.pem }),
      /^cert-chain\.pem does not hold the certificate in ca-cert\.pem/,
    ],
    ["another root", () => ({ ...good(), "root-cert.pem": stranger.pem }), /^cert-chain\.pem does not lead/],
    [
      "an intermediate as root",
      () => ({ ...good(), "root-cert.pem": middle.pem }),
      /^root-cert\.pem CN=middle is not self-signed/,
    ],
    [
      "a leaf among the roots",
      async () => ({ ...good(), "root-cert.pem": root.pem + (await makeParty({ subject: "CN=leaf" })).pem }),
      /^root-cert\.pem CN=leaf is not a certificate authority/,
    ],
    ["a CRL that is none", () => ({ ...good(), "ca-crl.pem": "garbage" }), /^ca-crl\.pem .*X509 CRL/],
  ])("with %s", async (_what, material, message) => {
    expect(told(await material())).toMatch(message);
  });

  test.each<[string, () => Promise<Party>, RegExp]>([
    [
      "that is no authority",
      () => makeParty({ subject: "CN=leaf", ...long }, middle),
      /^ca-cert\.pem CN=leaf is not a certificate authority/,
    ],
    [
      "that has expired",
      () => makeParty({ subject: "CN=old", authority: true, notBefore: now - 9 * day, notAfter: now - day }, middle),
      /^ca-cert\.pem CN=old: .*expired/,
    ],
    [
      "that is not valid yet",
      () => makeParty({ subject: "CN=new", authority: true, notBefore: now + day, notAfter: now + 9 * day }, middle),
      /^ca-cert\.pem CN=new: .*not valid before/,
    ],
    [
      "that may not sign certificates",
      () => makeParty({ subject: "CN=mute", authority: true, usages: ["cRLSign"], ...long }, middle),
      /^ca-cert\.pem CN=mute may not sign certificates/,
    ],
    [
      "that is signed with SHA-1",
      () => makeParty({ subject: "CN=ancient", authority: true, hash: "SHA-1", ...long }, middle),
      /^ca-cert\.pem CN=ancient is signed with SHA-1, which TLS peers refuse/,
    ],
  ])("with an authority %s", async (_what, make, message) => {
    const other = await make();
    const material = {
      ...good(),
      "ca-cert.pem": other.pem,
      "ca-key.pem": other.key,
      "cert-chain.pem": other.pem + middle.pem,
    };
    expect(told(material)).toMatch(message);
  });

  test("with a root whose own key is too weak, though everything below it is not", async () => {
    const weak = await makeParty({ subject: "CN=weak", authority: true, rsaBits: 1024, ...long });
    const below = await makeParty({ subject: "CN=below", authority: true, ...long }, weak);
    const material = {
      "ca-cert.pem": below.pem,
      "ca-key.pem": below.key,
      "cert-chain.pem": below.pem,
      "root-cert.pem": weak.pem,
    };
    expect(told(material)).toMatch(/^root-cert\.pem CN=weak has an RSA key of 1024 bits, which TLS peers refuse/);
  });

  test("with too many authorities below one that limits them", async () => {
    const tight = await makeParty({ subject: "CN=tight", authority: true, pathLength: 0, ...long }, root);
    const below = await makeParty({ subject: "CN=below", authority: true, ...long }, tight);
    const material = {
      "ca-cert.pem": below.pem,
      "ca-key.pem": below.key,
      "cert-chain.pem": below.pem + tight.pem,
      "root-cert.pem": root.pem,
    };
    expect(told(material)).toMatch(
      /^cert-chain\.pem CN=tight allows 0 authorities below it \(pathlen\), and there are 1/,
    );
  });

  test("with a key that would cost every handshake dearly, or is too weak", () => {
    for (const key of [generateKeyPairSync("ed25519"), generateKeyPairSync("rsa", { modulusLength: 1024 })]) {
      const pem = key.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
      expect(createPublicKey(pem).asymmetricKeyType).toMatch(/ed25519|rsa/);
      expect(told({ ...good(), "ca-key.pem": pem })).toMatch(/^ca-key\.pem is of a kind that is not signed with/);
    }
  });
});

test("what ends soon, or cannot sign revocation lists, is used and told", async () => {
  const weak = await makeParty(
    {
      subject: "CN=weak",
      authority: true,
      usages: ["keyCertSign"],
      notBefore: now - day,
      notAfter: now + day,
    },
    middle,
  );
  const verdict = checkPlugIn(
    { ...good(), "ca-cert.pem": weak.pem, "ca-key.pem": weak.key, "cert-chain.pem": weak.pem + middle.pem },
    options,
  );
  if (verdict.kind !== "usable") throw new Error("it should be usable");
  expect(verdict.warnings.map(({ message }) => message.split(/[ (:]/, 2).join(" "))).toEqual(["ends at", "may not"]);
});

test("revocation lists that come with it are kept", async () => {
  const crl = await makeCrl(authority, ["2a"]);
  expect(checkPlugIn({ ...good(), "ca-crl.pem": crl }, options)).toMatchObject({ kind: "usable", issuer: { crl } });
});

test("an RSA authority that OpenSSL made is usable, and what it signs is verified by OpenSSL", async () => {
  const folder = await temporaryFolder();
  const openssl = (...args: string[]) =>
    execFileSync("openssl", args, { cwd: folder, stdio: ["ignore", "pipe", "ignore"] }).toString();
  openssl(
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-keyout",
    "root.key",
    "-out",
    "root.pem",
    "-subj",
    "/O=Example/CN=root",
    "-days",
    "90",
  );
  openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.csr", "-subj", "/O=Example/CN=mesh");
  execFileSync(
    "sh",
    ["-c", "printf 'basicConstraints=critical,CA:TRUE,pathlen:0\\nkeyUsage=critical,keyCertSign,cRLSign\\n' > ca.ext"],
    { cwd: folder },
  );
  openssl(
    "x509",
    "-req",
    "-in",
    "ca.csr",
    "-CA",
    "root.pem",
    "-CAkey",
    "root.key",
    "-CAcreateserial",
    "-extfile",
    "ca.ext",
    "-days",
    "60",
    "-out",
    "ca.pem",
  );
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  const verdict = checkPlugIn(
    {
      "ca-cert.pem": read("ca.pem"),
      "ca-key.pem": read("ca.key"),
      "cert-chain.pem": read("ca.pem"),
      "root-cert.pem": read("root.pem"),
    },
    { ...options, now: Date.now() + 60_000 },
  );
  if (verdict.kind !== "usable") throw new Error(JSON.stringify(verdict.problems));
  const { intermediate } = await readIssuer(verdict.issuer, Date.now());
  expect(intermediate.algorithm.name).toBe("RSASSA-PKCS1-v1_5");
  expect(new X509Certificate(verdict.issuer.intermediate.certificate).subject).toContain("CN=mesh");
});
