import { beforeEach, describe, expect, it } from "vitest";
import type { CertificateGuidance } from "../../src/identity/certificate-store.ts";
import type { CertificateMaterial } from "../../src/identity/issued-certificate.ts";
import type { Identity } from "../../src/model/identity.ts";
import { type MeshSettings, noAuthoritySettings } from "../../src/model/mesh.ts";
import { Credentials } from "../../src/node/credentials.ts";
import type { CredentialSpec } from "../../src/tunnel/engine.ts";
import { RecordedLog } from "../support/recorded-log.ts";
import { apiIdentity, webIdentity } from "../telemetry/fixtures.ts";

function material(identity: Identity, serial: string): CertificateMaterial {
  const dates = { notBefore: 0, notAfter: 1, issuer: "", keyType: "P-256" };
  const roots = { trustBundle: "roots", root: "root", rootFingerprint: "00", offeredRoots: "roots" };
  return { identity, serial, chain: `chain ${serial}`, privateKey: "key", ...roots, ...dates };
}

const unusable = "not a revocation list";

describe("credentials", () => {
  const listeners = new Set<(of: CertificateMaterial) => void>();
  const ready = new Map<Identity, CertificateMaterial>();
  let told: CredentialSpec[] = [];
  let forgotten: Identity[] = [];
  const stillProven = new Set<Identity>();
  let settings: MeshSettings;
  let renewed = 0;
  let guided: CertificateGuidance[];
  let log: RecordedLog;
  let credentials: Credentials;

  beforeEach(() => {
    listeners.clear();
    ready.clear();
    told = [];
    forgotten = [];
    stillProven.clear();
    renewed = 0;
    guided = [];
    log = new RecordedLog();
    settings = {
      trustDomain: "cluster.local",
      trustDomainAliases: [],
      deniedIdentities: [],
      ...noAuthoritySettings,
    } as unknown as MeshSettings;
    credentials = new Credentials({
      store: {
        hold: () => () => undefined,
        get: (identity) => ready.get(identity),
        onChange: (listener) => {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
        follow: (guidance) => void guided.push(guidance),
      },
      driver: {
        setCredential: (_identity, spec) => {
          if (spec.crl === unusable) throw new Error("the CRL is not PEM");
          told.push(spec);
        },
        forgetCredential: (identity) => void forgotten.push(identity),
        reviseCredential: (identity, spec) => {
          if (!stillProven.has(identity)) return false;
          told.push(spec);
          return true;
        },
      },
      settings: () => settings,
      renewed: () => void renewed++,
      log,
    });
    credentials.start();
  });

  const arrive = (of: CertificateMaterial) => {
    ready.set(of.identity, of);
    for (const listener of listeners) listener(of);
  };

  it("tell an identity that was given up of revocations while a pod still proves it, and not after that", () => {
    const release = credentials.hold(webIdentity);
    arrive(material(webIdentity, "1"));
    release();
    expect(forgotten).toEqual([webIdentity]);
    stillProven.add(webIdentity);
    told = [];
    settings = { ...settings, deniedIdentities: [apiIdentity], crl: "a list" };
    credentials.settingsChanged();
    expect(told).toMatchObject([
      { identity: webIdentity, chain: "chain 1", crl: "a list", deniedIdentities: [apiIdentity] },
    ]);
    stillProven.clear();
    credentials.settingsChanged();
    stillProven.add(webIdentity);
    credentials.settingsChanged();
    expect(told).toHaveLength(1);
  });

  it("hand each new certificate to the engine with the mesh's trust", () => {
    settings = { ...settings, trustDomainAliases: ["old.example"], deniedIdentities: [webIdentity] };
    credentials.hold(apiIdentity);
    arrive(material(apiIdentity, "1"));
    arrive(material(apiIdentity, "2"));
    expect(told.map(({ chain }) => chain)).toEqual(["chain 1", "chain 2"]);
    expect(told[1]).toEqual({
      identity: apiIdentity,
      chain: "chain 2",
      privateKey: "key",
      trustBundle: "roots",
      trustDomains: ["cluster.local", "old.example"],
      crl: "",
      deniedIdentities: [webIdentity],
    });
    expect(renewed).toBe(2);
  });

  it("replace what is held when the mesh's trust changes, without a new certificate", () => {
    credentials.hold(apiIdentity);
    credentials.hold(webIdentity);
    arrive(material(apiIdentity, "1"));
    settings = { ...settings, deniedIdentities: [webIdentity] };
    credentials.settingsChanged();
    expect(told.map(({ identity, deniedIdentities }) => [identity, deniedIdentities])).toEqual([
      [apiIdentity, []],
      [apiIdentity, [webIdentity]],
    ]);
  });

  it("tell the store what the control plane says about roots and renewal, from the start on", () => {
    settings = { ...settings, trustBundle: "both roots", issuingRoot: "ab" };
    credentials.settingsChanged();
    expect(guided).toMatchObject([
      { trustBundle: "", issuingRoot: "" },
      { trustBundle: "both roots", issuingRoot: "ab" },
    ]);
  });

  it("keep the last good revocation list when an engine cannot use another, also for new certificates, and say so once", () => {
    credentials.hold(apiIdentity);
    arrive(material(apiIdentity, "1"));
    settings = { ...settings, crl: unusable, deniedIdentities: [webIdentity] };
    credentials.settingsChanged();
    arrive(material(apiIdentity, "2"));
    expect(told.map(({ chain, crl, deniedIdentities }) => [chain, crl, deniedIdentities])).toEqual([
      ["chain 1", "", []],
      ["chain 1", "", [webIdentity]],
      ["chain 2", "", [webIdentity]],
    ]);
    expect(log.messages("error")).toEqual([
      "the mesh's revocation lists cannot be used, the last good ones stay in force: the CRL is not PEM",
    ]);
  });

  it("put nothing in force with a revocation list that was never good: nobody could be refused", () => {
    settings = { ...settings, crl: unusable };
    credentials.hold(apiIdentity);
    arrive(material(apiIdentity, "1"));
    expect(told).toEqual([]);
    expect(log.messages("error")).toEqual(["a credential is not in force: the CRL is not PEM"]);
  });

  it("forget an identity with its last pod, once", () => {
    const first = credentials.hold(apiIdentity);
    const second = credentials.hold(apiIdentity);
    first();
    first();
    expect(forgotten).toEqual([]);
    second();
    expect(forgotten).toEqual([apiIdentity]);
  });

  it("give a later pod the certificate that is there already", () => {
    arrive(material(apiIdentity, "1"));
    told.length = 0;
    credentials.hold(apiIdentity);
    expect(told.map(({ chain }) => chain)).toEqual(["chain 1"]);
  });

  it("hear nothing any more after the stop", () => {
    credentials.stop();
    credentials.stop();
    arrive(material(apiIdentity, "1"));
    expect(told).toEqual([]);
  });
});
