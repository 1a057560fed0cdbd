/** What holds for the whole mesh: `warren.mesh.v1.Settings`, one resource. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { readCertificates } from "../../identity/certificate.ts";
import { readRevocationLists } from "../../identity/revocation-list.ts";
import { asIdentity, isTrustDomain } from "../../identity/spiffe.ts";
import { messageOf } from "../../lib/errors.ts";
import type { MeshSettings } from "../../model/mesh.ts";
import { DefaultAction, LocalTraffic, SettingsSchema } from "../gen/warren/mesh/v1/settings_pb.ts";
import { checkedName, checkedText } from "./checked.ts";
import { InvalidResource, type NamedResource } from "./resource-types.ts";

export const settingsName = "mesh";

export function encodeSettings(settings: MeshSettings): NamedResource {
  const { localTraffic, defaultAction, ...texts } = settings;
  const message = create(SettingsSchema, {
    ...texts,
    trustDomainAliases: [...settings.trustDomainAliases],
    deniedIdentities: [...settings.deniedIdentities],
    localTraffic: localTraffic === "auto" ? LocalTraffic.AUTO : LocalTraffic.MTLS,
    defaultAction: defaultAction === "deny" ? DefaultAction.DENY : DefaultAction.ALLOW,
  });
  return { name: settingsName, aliases: [], bytes: toBinary(SettingsSchema, message) };
}

export function decodeSettings(name: string, bytes: Uint8Array): MeshSettings {
  if (name !== settingsName) throw new InvalidResource(`there is one, named ${settingsName}, not ${name}`);
  const message = fromBinary(SettingsSchema, bytes);
  return {
    trustDomain: checkedTrustDomain(message.trustDomain),
    trustDomainAliases: message.trustDomainAliases.map(checkedTrustDomain),
    clusterDomain: checkedName(message.clusterDomain, "cluster_domain"),
    cluster: checkedText(message.cluster, "cluster"),
    rootNamespace: checkedName(message.rootNamespace, "root_namespace"),
    // Unknown words mean the stricter of the two.
    localTraffic: message.localTraffic === LocalTraffic.AUTO ? "auto" : "mtls",
    defaultAction: message.defaultAction === DefaultAction.ALLOW ? "allow" : "deny",
    crl: checkedCrl(message.crl),
    trustBundle: checkedBundle(message.trustBundle),
    issuingRoot: checkedFingerprint(message.issuingRoot),
    deniedIdentities: message.deniedIdentities.map((text) => {
      const identity = asIdentity(text);
      if (identity === undefined)
        throw new InvalidResource(`denied_identities: ${JSON.stringify(text)} is no SPIFFE id`);
      return identity;
    }),
  };
}

/** A list that we cannot read might revoke anybody: the settings are refused, and those before them, with their list, hold on. */
function checkedCrl(pem: string): string {
  try {
    readRevocationLists(pem);
    return pem;
  } catch (error) {
    throw new InvalidResource(`crl: ${messageOf(error)}`);
  }
}

/** Trusting nobody cuts everybody off; that is never meant by a text that is no certificate. */
function checkedBundle(pem: string): string {
  try {
    if (readCertificates(pem, "trust_bundle").length > 0 || pem.trim() === "") return pem;
  } catch (error) {
    throw new InvalidResource(`trust_bundle: ${messageOf(error)}`);
  }
  throw new InvalidResource("trust_bundle holds no PEM certificate");
}

function checkedFingerprint(text: string): string {
  if (!/^([0-9a-f]{64})?$/.test(text)) throw new InvalidResource("issuing_root is not a SHA-256 in hexadecimal");
  return text;
}

function checkedTrustDomain(text: string): string {
  if (!isTrustDomain(text)) throw new InvalidResource(`${JSON.stringify(text)} is not a trust domain`);
  return text;
}
