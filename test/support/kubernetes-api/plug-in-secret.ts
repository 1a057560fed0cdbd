/** The Secret `cacerts`, by which a cluster's owner gives the authority an intermediate of their own. */
import { makeParty } from "../pki.ts";
import type { DraftObject } from "./objects.ts";

export type PlugInFiles = Readonly<Record<string, string>>;

/** An intermediate under a root of somebody's own, as the files that the Secret holds. */
export async function plugInFiles(): Promise<{ rootPem: string; files: PlugInFiles }> {
  const long = { notBefore: Date.now() - 86_400_000, notAfter: Date.now() + 300 * 86_400_000 };
  const root = await makeParty({ subject: "CN=root of the house", authority: true, ...long });
  const usages = ["keyCertSign", "cRLSign"] as const;
  const issuer = await makeParty({ subject: "CN=mesh", authority: true, pathLength: 0, usages, ...long }, root);
  const files = {
    "ca-cert.pem": issuer.pem,
    "ca-key.pem": issuer.key,
    "cert-chain.pem": issuer.pem,
    "root-cert.pem": root.pem,
  };
  return { rootPem: root.pem, files };
}

export function plugInSecret(namespace: string, files: PlugInFiles): DraftObject {
  const data = Object.fromEntries(
    Object.entries(files).map(([name, text]) => [name, Buffer.from(text).toString("base64")]),
  );
  return { apiVersion: "v1", kind: "Secret", metadata: { name: "cacerts", namespace }, data };
}
