/**
 * `warren ca verify`: judges chains in files, chains that a live endpoint shows, and folders of plug-in certificates, by the rules that
 * agents and control judge by. With --roots nothing of the mesh is asked.
 */

import type { X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { connect, type DetailedPeerCertificate } from "node:tls";
import { certificateFacts, readCertificates } from "../../identity/certificate.ts";
import { asIdentity } from "../../identity/spiffe.ts";
import { type PeerRole, TrustBundle, type TrustBundleSpec } from "../../identity/trust-bundle.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { parseHostPort } from "../../lib/host-port.ts";
import { toPem } from "../../lib/pem.ts";
import { withMesh } from "../output/run-listing.ts";
import { printAnswer } from "../query/output.ts";
import { AuthorityClient } from "./authority-client.ts";
import type { CaFlags } from "./flags.ts";

export const verificationSchema = "warren.ca-verification/v1";

export interface VerifyFlags extends CaFlags {
  readonly endpoint?: readonly string[];
  readonly roots?: string;
  readonly crl?: string;
  readonly trustDomain?: readonly string[];
  readonly role: PeerRole;
}

export interface Verification {
  /** The file, folder or endpoint. */
  readonly what: string;
  readonly verdict: "trusted" | "refused" | "unreachable";
  /** SPIFFE id, or the names of a server that is no workload. */
  readonly proves: string;
  readonly notAfter: string;
  /** Leaf first, root last: subjects and issuers. */
  readonly chain: readonly string[];
  readonly reason: string;
  readonly detail: string;
}

/** 1 when something is refused, 3 when an endpoint cannot be reached. */
export async function verify(paths: readonly string[], flags: VerifyFlags): Promise<number> {
  const endpoints = flags.endpoint ?? [];
  if (paths.length + endpoints.length === 0)
    throw new MeshError(
      "MESH_CONFIG_VERIFY",
      "name a PEM file, a folder of plug-in certificates, or --endpoint host:port",
    );
  const found: Verification[] = [];
  const files: string[] = [];
  for (const path of paths) {
    if (await isFolder(path)) found.push(await verifyFolder(path));
    else files.push(path);
  }
  if (files.length + endpoints.length > 0) {
    const bundle = new TrustBundle(await trustOf(flags));
    for (const file of files) found.push(await judged(file, bundle, await textOf(file), flags.role));
    for (const endpoint of endpoints) found.push(await verifyEndpoint(endpoint, bundle, flags.timeout));
  }
  await printAnswer(
    {
      schema: verificationSchema,
      document: { results: found },
      rows: found,
      name: ({ what }) => what,
      lines: () => found.map(line),
    },
    flags,
  );
  if (found.some(({ verdict }) => verdict === "unreachable")) return 3;
  return found.every(({ verdict }) => verdict === "trusted") ? 0 : 1;
}

/** Files where they are named, the mesh's own word otherwise. */
async function trustOf(flags: VerifyFlags): Promise<TrustBundleSpec> {
  if (flags.roots !== undefined) {
    return {
      roots: await textOf(flags.roots),
      crl: flags.crl === undefined ? "" : await textOf(flags.crl),
      trustDomains: flags.trustDomain ?? ["cluster.local"],
      deniedIdentities: [],
    };
  }
  let spec: TrustBundleSpec | undefined;
  await withMesh(flags, async (mesh, signal) => {
    const { trustBundle, crl, trustDomains, deniedIdentities } = await new AuthorityClient(mesh).status(signal);
    const denied = deniedIdentities.flatMap(({ identity }) => asIdentity(identity) ?? []);
    spec = { roots: trustBundle, crl, trustDomains, deniedIdentities: denied };
    return 0;
  });
  if (spec === undefined) throw new MeshError("MESH_UNREACHABLE_CONTROL", "interrupted before control answered");
  return spec;
}

async function verifyFolder(folder: string): Promise<Verification> {
  const [{ checkPlugIn, fromTlsSecret }, { PlugInFolder }, { systemClock }] = [
    await import("../../control/authority/plug-in.ts"),
    await import("../../control/authority/plug-in-folder.ts"),
    await import("../../lib/clock.ts"),
  ];
  const data = await new PlugInFolder({ clock: systemClock }, { folder }).read();
  const material = data["tls.crt"] !== undefined && data["ca-cert.pem"] === undefined ? fromTlsSecret(data) : data;
  const options = { now: Date.now(), certificateLifetimeMs: 24 * 3_600_000 };
  const judgement = checkPlugIn(material, options);
  const told = judgement.kind === "usable" ? judgement.warnings : judgement.problems;
  const detail = told.map(({ file, message }) => `${file} ${message}`).join("\n");
  if (judgement.kind === "unusable") return refusal(folder, "plug-in-unusable", detail);
  const { intermediate, chain, roots } = judgement.issuer;
  const path = readCertificates(`${intermediate.certificate}${chain}${roots}`, folder);
  return { ...describe(folder, path), proves: "a certificate authority to issue from", detail };
}

async function verifyEndpoint(endpoint: string, bundle: TrustBundle, timeoutMs: number): Promise<Verification> {
  const address = parseHostPort(endpoint);
  if (address === undefined) throw new MeshError("MESH_CONFIG_ENDPOINT", `${endpoint} is not host:port`);
  let presented: string;
  try {
    presented = await presentedChain(address.host, address.port, timeoutMs);
  } catch (error) {
    return { ...refusal(endpoint, "unreachable", messageOf(error)), verdict: "unreachable" };
  }
  return judged(endpoint, bundle, presented, "server");
}

/** PEM, leaf first, as the endpoint sends it before it asks who we are (RFC 8446 §4.4.2). */
async function presentedChain(host: string, port: number, timeoutMs: number): Promise<string> {
  return await new Promise((resolve, reject) => {
    // What it shows is judged afterwards; HBONE listeners answer to h2 only.
    const socket = connect({ host, port, rejectUnauthorized: false, ALPNProtocols: ["h2"], minVersion: "TLSv1.3" });
    const timer = setTimeout(() => socket.destroy(new Error(`no TLS handshake within ${timeoutMs} ms`)), timeoutMs);
    socket.on("error", reject).on("close", () => clearTimeout(timer));
    socket.once("secureConnect", () => {
      const blocks: string[] = [];
      const seen = new Set<string>();
      for (
        let one: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
        one?.raw !== undefined;
        one = one.issuerCertificate
      ) {
        if (seen.has(one.fingerprint256)) break;
        seen.add(one.fingerprint256);
        blocks.push(toPem("CERTIFICATE", one.raw));
      }
      resolve(blocks.join(""));
      socket.destroy();
    });
  });
}

async function judged(what: string, bundle: TrustBundle, presented: string, role: PeerRole): Promise<Verification> {
  const now = Date.now();
  const chain = await bundle.judgeChain(presented, role, now);
  if (chain.kind === "refused") return refusal(what, chain.reason, chain.detail);
  const [leaf] = chain.chain;
  // Control's own certificate names hosts: it is no workload, and none is claimed.
  if (role === "server" && leaf?.subjectAltName !== undefined && !leaf.subjectAltName.includes("URI:"))
    return { ...describe(what, chain.chain), proves: leaf.subjectAltName };
  const verdict = await bundle.judge(presented, role, now);
  if (verdict.kind === "refused") return refusal(what, verdict.reason, verdict.detail);
  return { ...describe(what, verdict.chain), proves: verdict.identity };
}

function describe(what: string, chain: readonly X509Certificate[]): Verification {
  const ends = Math.min(...chain.map(({ validToDate }) => validToDate.getTime()));
  const told = chain.map((certificate) => {
    const { identity, subject, serial, keyType } = certificateFacts(certificate);
    return `${identity ?? (subject || "-")} (${keyType}, serial ${serial})`;
  });
  const notAfter = Number.isFinite(ends) ? new Date(ends).toISOString() : "";
  return { what, verdict: "trusted", proves: "", notAfter, chain: told, reason: "", detail: "" };
}

function refusal(what: string, reason: string, detail: string): Verification {
  return { what, verdict: "refused", proves: "", notAfter: "", chain: [], reason, detail };
}

function line({ what, verdict, proves, notAfter, chain, reason, detail }: Verification): string {
  const more = [...chain, ...detail.split("\n").filter(Boolean)].map((text) => `  ${text}`);
  const head =
    verdict === "trusted" ? `${what}: trusted until ${notAfter}, proves ${proves}` : `${what}: ${verdict} (${reason})`;
  return [head, ...more].join("\n");
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): MeshError {
  return new MeshError("MESH_CONFIG_VERIFY", `cannot read ${path}: ${messageOf(cause)}`, { cause });
}
