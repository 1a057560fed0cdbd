import { beforeAll, describe, expect, test } from "vitest";
import { formatIdentity } from "../../src/identity/spiffe.ts";
import { TrustBundle, type TrustBundleSpec, type TrustVerdict } from "../../src/identity/trust-bundle.ts";
import { makeCrl, makeParty, type Party, type PartyOptions } from "../support/pki.ts";

const api = formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount: "api" });
const uri = (value: string) => ({ type: "url", value }) as const;
const hour = 3_600_000;

let root: Party;
let intermediate: Party;
let otherRoot: Party;

beforeAll(async () => {
  root = await makeParty({ subject: "CN=root", authority: true });
  intermediate = await makeParty({ subject: "CN=intermediate", authority: true, serial: "0a01" }, root);
  otherRoot = await makeParty({ subject: "CN=root", authority: true });
});

const bundle = (changed: Partial<TrustBundleSpec> = {}) =>
  new TrustBundle({ roots: root.pem, trustDomains: ["cluster.local"], crl: "", deniedIdentities: [], ...changed });

const leafOf = (options: PartyOptions = {}, issuer = intermediate) =>
  makeParty({ names: [uri(api)], serial: "0b01", ...options }, issuer);

const reasonOf = (verdict: TrustVerdict) =>
  verdict.kind === "trusted" ? "trusted" : `${verdict.reason}: ${verdict.detail}`;

const judge = async (leaf: Party, changed: Partial<TrustBundleSpec> = {}, at = Date.now(), sent = [intermediate]) =>
  reasonOf(await bundle(changed).judge([leaf, ...sent].map(({ pem }) => pem).join(""), "client", at));

test("a good chain proves its identity and is returned up to the root", async () => {
  const verdict = await bundle().judge((await leafOf()).pem + intermediate.pem, "client", Date.now());
  expect(verdict).toMatchObject({ kind: "trusted", identity: api });
  if (verdict.kind === "trusted") expect(verdict.chain).toHaveLength(3);
});

describe("the chain", () => {
  test("may come in any order and with certificates that are not needed", async () => {
    const stranger = await makeParty({ subject: "CN=stranger", authority: true });
    expect(await judge(await leafOf(), {}, Date.now(), [stranger, root, intermediate])).toBe("trusted");
  });

  test("may be signed by the root itself", async () => {
    expect(await judge(await leafOf({}, root), {}, Date.now(), [])).toBe("trusted");
  });

  test("may lead to any of several roots", async () => {
    expect(await judge(await leafOf(), { roots: otherRoot.pem + root.pem })).toBe("trusted");
  });

  test("must lead to a trusted root, not to one that only has its name", async () => {
    expect(await judge(await leafOf(), { roots: otherRoot.pem })).toMatch(/^tls-failed: no trusted root/);
  });

  test("must be whole", async () => {
    expect(await judge(await leafOf(), {}, Date.now(), [])).toMatch(/^tls-failed/);
  });

  test("must not lead through a workload", async () => {
    const workload = await makeParty({ subject: "CN=workload", names: [uri(api)] }, intermediate);
    const leaf = await leafOf({}, workload);
    expect(await judge(leaf, {}, Date.now(), [workload, intermediate])).toMatch(/^tls-failed/);
  });

  test("must not be longer than its authorities allow", async () => {
    const last = await makeParty({ subject: "CN=last", authority: true, pathLength: 0 }, root);
    expect(await judge(await leafOf({}, last), {}, Date.now(), [last])).toBe("trusted");
    const below = await makeParty({ subject: "CN=below", authority: true }, last);
    expect(await judge(await leafOf({}, below), {}, Date.now(), [below, last])).toMatch(
      /^tls-failed: .*authorities below/,
    );
  });

  test("must not be self-signed", async () => {
    expect(await judge(await makeParty({ subject: "CN=x", names: [uri(api)] }))).toMatch(/^tls-failed/);
  });

  test("of an authority is no workload's", async () => {
    expect(await judge(await leafOf({ authority: true }))).toMatch(/^tls-failed: .*authority/);
  });

  test("of nothing is refused", async () => {
    expect(reasonOf(await bundle().judge("", "client", Date.now()))).toBe("tls-failed: no certificate was presented");
  });
});

describe("dates", () => {
  test.each([
    ["before the start", { notBefore: Date.now() + hour, notAfter: Date.now() + 2 * hour }, "not valid before"],
    ["after the end", { notBefore: Date.now() - 2 * hour, notAfter: Date.now() - hour }, "expired"],
  ])("a leaf %s is refused", async (_what, options, said) => {
    expect(await judge(await leafOf(options))).toMatch(new RegExp(`^tls-failed: .*${said}`));
  });

  test("an intermediate that ended is refused", async () => {
    const old = await makeParty({ subject: "CN=old", authority: true, notAfter: Date.now() - 1000 }, root);
    expect(await judge(await leafOf({}, old), {}, Date.now(), [old])).toMatch(
      /^tls-failed: an authority's certificate expired/,
    );
  });

  test("a root that ended is refused", async () => {
    expect(await judge(await leafOf({ notAfter: Date.now() + 9 * hour }), {}, Date.now() + 5 * hour)).toMatch(
      /^tls-failed/,
    );
  });
});

describe("purpose", () => {
  test.each([
    ["client", ["client", "server"], "trusted"],
    ["client", ["server"], "tls-failed: the certificate is not for a TLS client"],
    ["server", ["client"], "tls-failed: the certificate is not for a TLS server"],
    ["server", undefined, "trusted"],
  ] as const)("as %s with %j", async (role, purposes, expected) => {
    const leaf = await leafOf(purposes === undefined ? {} : { purposes });
    expect(reasonOf(await bundle().judge(leaf.pem + intermediate.pem, role, Date.now()))).toBe(expected);
  });
});

describe("identity", () => {
  test.each([
    ["no names", { names: undefined, subject: "CN=x" }],
    ["no URI", { names: [{ type: "dns", value: "api" }] }],
    ["two URIs", { names: [uri(api), uri("spiffe://cluster.local/ns/a/sa/b")] }],
    ["another SPIFFE path", { names: [uri("spiffe://cluster.local/workload/api")] }],
    ["only a common name that looks like one", { names: undefined, subject: `CN=${api.replaceAll("/", "\\/")}` }],
  ] as const)("with %s is none", async (_what, { names, ...options }) => {
    const leaf = await makeParty({ ...options, ...(names === undefined ? {} : { names: [...names] }) }, intermediate);
    expect(await judge(leaf)).toMatch(/^identity-mismatch: .*exactly one/);
  });

  test("of another trust domain is refused, of an alias taken", async () => {
    const leaf = await leafOf({ names: [uri("spiffe://old.example/ns/production/sa/api")] });
    expect(await judge(leaf)).toMatch(/^identity-mismatch: .*another trust domain/);
    expect(await judge(leaf, { trustDomains: ["cluster.local", "old.example"] })).toBe("trusted");
  });

  test("on the denylist is refused whatever the certificate says", async () => {
    expect(await judge(await leafOf(), { deniedIdentities: [api] })).toMatch(/^certificate-revoked: .*denylist/);
  });
});

describe("revocation", () => {
  test("of the leaf by its issuer holds", async () => {
    const crl = await makeCrl(intermediate, ["0b01"]);
    expect(await judge(await leafOf(), { crl })).toMatch(/^certificate-revoked/);
    expect(await judge(await leafOf({ serial: "0b02" }), { crl })).toBe("trusted");
  });

  test("of the intermediate by the root holds for all it signed", async () => {
    expect(await judge(await leafOf(), { crl: await makeCrl(root, ["0a01"]) })).toMatch(/^certificate-revoked/);
  });

  test("by an authority that has not issued the certificate means nothing", async () => {
    expect(await judge(await leafOf(), { crl: await makeCrl(root, ["0b01"]) })).toBe("trusted");
    const impostor = await makeParty({ subject: "CN=intermediate", authority: true });
    expect(await judge(await leafOf(), { crl: await makeCrl(impostor, ["0b01"]) })).toBe("trusted");
  });

  test("holds on in a CRL that is out of date", async () => {
    const crl = await makeCrl(intermediate, ["0b01"], Date.now() - hour);
    expect(await judge(await leafOf(), { crl })).toMatch(/^certificate-revoked/);
  });

  test("is found in any of several CRLs", async () => {
    const crl = (await makeCrl(root, ["0c01"])) + (await makeCrl(intermediate, ["0d01", "0b01"]));
    expect(await judge(await leafOf(), { crl })).toMatch(/^certificate-revoked/);
  });
});

test.each([
  ["no roots", { roots: "" }],
  ["a CRL that is not PEM", { crl: "revoke everything" }],
  ["a CRL that is not DER", { crl: "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n" }],
])("a bundle with %s is refused", (_what, changed) => {
  expect(() => bundle(changed)).toThrow(expect.objectContaining({ code: "MESH_TRUST_BUNDLE_INVALID" }) as Error);
});

test("a root that cannot be read is named", () => {
  const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  expect(() => bundle({ roots: root.pem + broken })).toThrow("certificate 2 of the trust bundle");
});
