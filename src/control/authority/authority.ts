/**
 * The mesh's certificate authority: a self-signed root and an online intermediate that signs the workloads. It writes every field of
 * what it signs itself; of a request it takes the public key alone. Who may ask for which identity is decided before it is asked.
 */
import { randomBytes } from "node:crypto";
import type { PublicKey, X509Certificate } from "@peculiar/x509";
import type { Clock } from "../../lib/clock.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import type { Identity } from "../../model/identity.ts";
import type { AuthorityState, AuthorityVault } from "./authority-state.ts";
import { type Validity, writeIntermediate, writeRoot, writeServing, writeWorkload } from "./certificate-writer.ts";
import { certificatePem, keyPem, newKeys, readSigner, type Signer, signerText, unusableSigner } from "./signer.ts";

export interface AuthorityDeps {
  readonly vault: AuthorityVault;
  readonly clock: Clock;
  readonly log: AuthorityLog;
}

export interface AuthorityLog {
  info(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface AuthorityOptions {
  readonly trustDomain: string;
  readonly rootLifetimeMs: number;
  readonly intermediateLifetimeMs: number;
  /** What a workload gets at most, and when it asks for nothing. */
  readonly certificateLifetimeMs: number;
  readonly servingLifetimeMs: number;
  /** How far not-before lies in the past: nodes' clocks run behind. */
  readonly backdateMs: number;
}

export const authorityDefaults = {
  rootLifetimeMs: 3650 * 86_400_000,
  intermediateLifetimeMs: 365 * 86_400_000,
  certificateLifetimeMs: 24 * 3_600_000,
  servingLifetimeMs: 24 * 3_600_000,
  backdateMs: 120_000,
} as const;

export interface IssuedLeaf {
  /** PEM: leaf, intermediate, root. */
  readonly chain: readonly [string, string, string];
  /** Hexadecimal. */
  readonly serial: string;
  readonly notAfter: number;
}

/** How often a failed renewal of the intermediate is tried again; there is half a life left. */
const renewalRetryMs = 60_000;
const shortestRenewalMs = 1000;

interface Signers {
  readonly root: Signer;
  readonly intermediate: Signer;
}

export class Authority {
  readonly #deps: AuthorityDeps;
  readonly #options: AuthorityOptions;
  #signers: Signers | undefined;
  #cancelRenewal: () => void = () => {};
  #stopped = false;

  constructor(deps: AuthorityDeps, options: AuthorityOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Loads the root and the intermediate, or makes them if the vault is empty. */
  async start(): Promise<void> {
    const { vault, clock, log } = this.#deps;
    const state = (await vault.load()) ?? (await vault.create(await this.#newState()));
    this.#signers = await this.#read(state);
    const { root, intermediate } = this.#signers;
    log.info(
      { root: describe(root.certificate), intermediate: describe(intermediate.certificate) },
      "authority loaded",
    );
    if (this.#renewalDue() > clock.now()) return this.#schedule(this.#renewalDue() - clock.now());
    await this.renewIntermediate();
    if (this.expiry.intermediate <= clock.now())
      throw unusableSigner("intermediate", "it expired and could not be renewed");
  }

  /** May be called twice. */
  stop(): void {
    this.#stopped = true;
    this.#cancelRenewal();
  }

  /** PEM of every root that agents should trust. */
  get roots(): string {
    return certificatePem(this.#current().root.certificate);
  }

  /** Unix time in milliseconds. */
  get expiry(): { readonly root: number; readonly intermediate: number } {
    const { root, intermediate } = this.#current();
    return { root: root.certificate.notAfter.getTime(), intermediate: intermediate.certificate.notAfter.getTime() };
  }

  /** Signs for a workload; a lifetime of 0 means the default, longer ones are cut to it. */
  async issue(identity: Identity, publicKey: PublicKey, lifetimeMs: number): Promise<IssuedLeaf> {
    const { certificateLifetimeMs } = this.#options;
    const asked = lifetimeMs > 0 ? Math.min(lifetimeMs, certificateLifetimeMs) : certificateLifetimeMs;
    const { root, intermediate } = this.#current();
    return answer(
      await writeWorkload(identity, publicKey, intermediate, this.#validity(asked, intermediate)),
      intermediate,
      root,
    );
  }

  /** A key and certificate for the control plane's own listener. */
  async issueServing(hosts: readonly string[]): Promise<IssuedLeaf & { readonly key: string }> {
    const { root, intermediate } = this.#current();
    const keys = await newKeys();
    const validity = this.#validity(this.#options.servingLifetimeMs, intermediate);
    const leaf = await writeServing("CN=warren-control", hosts, keys.publicKey, intermediate, validity);
    return { ...answer(leaf, intermediate, root), key: await keyPem(keys.privateKey) };
  }

  /** Puts a new intermediate in force, or tries again later. What the old one signed holds on: it comes with its own intermediate. */
  async renewIntermediate(): Promise<void> {
    const { root } = this.#current();
    const { vault, log, clock } = this.#deps;
    try {
      const intermediate = await this.#newIntermediate(root);
      await vault.replace({ root: await signerText(root), intermediate: await signerText(intermediate) });
      this.#signers = { root, intermediate };
      log.info({ intermediate: describe(intermediate.certificate) }, "intermediate renewed");
      this.#schedule(this.#renewalDue() - clock.now());
    } catch (error) {
      log.error({ error }, `the intermediate could not be renewed: ${messageOf(error)}`);
      this.#schedule(renewalRetryMs);
    }
  }

  #current(): Signers {
    if (this.#signers === undefined)
      throw new MeshError("MESH_AUTHORITY_NOT_STARTED", "the authority has not been started");
    return this.#signers;
  }

  /** Never longer than the issuer's: a chain is as good as its shortest link. */
  #validity(lifetimeMs: number, issuer: Signer): Validity {
    const now = this.#deps.clock.now();
    const notAfter = Math.min(now + lifetimeMs, issuer.certificate.notAfter.getTime());
    return { notBefore: Math.max(now - this.#options.backdateMs, issuer.certificate.notBefore.getTime()), notAfter };
  }

  /** At half life, as for workloads. */
  #renewalDue(): number {
    const { notBefore, notAfter } = this.#current().intermediate.certificate;
    return (notBefore.getTime() + notAfter.getTime()) / 2;
  }

  #schedule(delayMs: number): void {
    if (this.#stopped) return;
    this.#cancelRenewal();
    const renew = () => void this.renewIntermediate();
    this.#cancelRenewal = this.#deps.clock.after(Math.max(delayMs, shortestRenewalMs), renew);
  }

  async #newState(): Promise<AuthorityState> {
    const { trustDomain, rootLifetimeMs, backdateMs } = this.#options;
    const keys = await newKeys();
    const now = this.#deps.clock.now();
    const validity = { notBefore: now - backdateMs, notAfter: now + rootLifetimeMs };
    const certificate = await writeRoot(authorityName("Warren root", trustDomain, now), keys, validity);
    const root = { certificate, key: keys.privateKey };
    return { root: await signerText(root), intermediate: await signerText(await this.#newIntermediate(root)) };
  }

  async #newIntermediate(root: Signer): Promise<Signer> {
    const { trustDomain, intermediateLifetimeMs } = this.#options;
    const keys = await newKeys();
    const name = authorityName("Warren authority", trustDomain, this.#deps.clock.now());
    const validity = this.#validity(intermediateLifetimeMs, root);
    return { certificate: await writeIntermediate(name, keys.publicKey, root, validity), key: keys.privateKey };
  }

  /** What would make every agent refuse what we sign is found here, before anything is served. */
  async #read(state: AuthorityState): Promise<Signers> {
    const root = readSigner(state.root, "root");
    const intermediate = readSigner(state.intermediate, "intermediate");
    const date = new Date(this.#deps.clock.now());
    if (!(await root.certificate.verify({ date })))
      throw unusableSigner("root", "it is not self-signed, or not valid now");
    const { publicKey } = root.certificate;
    if (!(await intermediate.certificate.verify({ publicKey, signatureOnly: true }))) {
      throw unusableSigner("intermediate", "the root has not signed it");
    }
    return { root, intermediate };
  }
}

/** Told apart by date for people and by a random part for verifiers, which look issuers up by name. */
function authorityName(what: string, trustDomain: string, now: number): string {
  return `CN=${what} ${new Date(now).toISOString().slice(0, 10)} ${randomBytes(3).toString("hex")}, O=${trustDomain}`;
}

function answer(leaf: X509Certificate, intermediate: Signer, root: Signer): IssuedLeaf {
  return {
    chain: [certificatePem(leaf), certificatePem(intermediate.certificate), certificatePem(root.certificate)],
    serial: leaf.serialNumber,
    notAfter: leaf.notAfter.getTime(),
  };
}

function describe(certificate: X509Certificate): string {
  return `${certificate.subject} until ${certificate.notAfter.toISOString()}`;
}
