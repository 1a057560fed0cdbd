/**
 * The mesh's certificate authority: a root, an online intermediate that signs the workloads, what was revoked, and a rotation of the root
 * if one is under way. It writes every field of what it signs itself; of a request it takes the public key alone. Who may ask for which
 * identity is decided before it is asked. Its state is in a vault that replicas share: each change is made from the state that is there,
 * and made again from a newer one if another replica was quicker.
 */
import type { PublicKey, X509Certificate } from "@peculiar/x509";
import type { Clock } from "../../lib/clock.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { equivalentIdentities, type Identity } from "../../model/identity.ts";
import type { AuthoritySettings } from "../../model/mesh.ts";
import {
  type AuthorityState,
  type AuthorityVault,
  type Issuer,
  type KeptState,
  noRevocations,
} from "./authority-state.ts";
import { writeServing, writeWorkload } from "./certificate-writer.ts";
import {
  describeSigner,
  type IssuerLifetimes,
  makeIntermediate,
  makeIssuer,
  type ReadyIssuer,
  readIssuer,
  rootsInForce,
  validityUnder,
} from "./issuer.ts";
import { longestLeafMs, withoutExpired, withSignedLists } from "./revocations.ts";
import { certificatePem, keyPem, newKeys, signerText, unusableSigner } from "./signer.ts";

export interface AuthorityDeps {
  readonly vault: AuthorityVault;
  readonly clock: Clock;
  readonly log: AuthorityLog;
}

export interface AuthorityLog {
  info(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface AuthorityOptions extends IssuerLifetimes {
  /** A denied identity is denied under these names too. */
  readonly trustDomainAliases?: readonly string[];
  /** What a workload gets at most, and when it asks for nothing. */
  readonly certificateLifetimeMs: number;
  readonly servingLifetimeMs: number;
}

export const authorityDefaults = {
  rootLifetimeMs: 3650 * 86_400_000,
  intermediateLifetimeMs: 365 * 86_400_000,
  certificateLifetimeMs: 24 * 3_600_000,
  servingLifetimeMs: 24 * 3_600_000,
  /** How far not-before lies in the past: nodes' clocks run behind. */
  backdateMs: 120_000,
} as const;

export interface IssuedLeaf {
  /** PEM, leaf first; the last element holds all roots to trust, the issuing one first. */
  readonly chain: readonly string[];
  /** Hexadecimal. */
  readonly serial: string;
  readonly notAfter: number;
}

/** How often a failed renewal of the intermediate is tried again; there is half a life left. */
const renewalRetryMs = 60_000;
const shortestRenewalMs = 1000;
/** Replicas that change the state at once: each attempt is lost only because another one's was won. */
const mostAttempts = 50;

interface InForce {
  readonly kept: KeptState;
  readonly issuer: ReadyIssuer;
  /** Every root to trust, PEM, the issuing one first. */
  readonly roots: readonly string[];
}

type StateEdit = (state: AuthorityState) => AuthorityState | Promise<AuthorityState>;

export class Authority {
  readonly #deps: AuthorityDeps;
  readonly #options: AuthorityOptions;
  readonly #listeners = new Set<() => void>();
  #inForce: InForce | undefined;
  #cancelRenewal: () => void = () => {};
  #unwatch: (() => void) | undefined;
  /** Loads and changes, one after the other: what is taken later was loaded later. */
  #last: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(deps: AuthorityDeps, options: AuthorityOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Loads the state, or makes a first one if the vault is empty: with `given` to issue from, or with a root of our own. */
  async start(given?: Issuer): Promise<void> {
    const { vault, clock, log } = this.#deps;
    const kept = (await vault.load()) ?? (await vault.create(await this.#firstState(given)));
    await this.#take(kept);
    const { issuer } = this.#current();
    log.info(
      {
        intermediate: describeSigner(issuer.intermediate),
        root: issuer.rootFingerprint,
        rotation: kept.state.rotation?.phase ?? "none",
      },
      "authority loaded",
    );
    this.#unwatch = vault.watch(() => void this.#exclusive(() => this.#reload()));
    if (this.renewalDue > clock.now()) return this.#schedule(this.renewalDue - clock.now());
    await this.renewIntermediate();
    if (this.expiry.intermediate <= clock.now())
      throw unusableSigner("intermediate", "it expired and could not be renewed");
  }

  /** May be called twice. */
  stop(): void {
    this.#stopped = true;
    this.#unwatch?.();
    this.#cancelRenewal();
    this.#listeners.clear();
  }

  /** Called when another state is in force, of whatever replica's making. Returns how to stop listening. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** It holds keys: for this folder alone. */
  get state(): AuthorityState {
    return this.#current().kept.state;
  }

  /** PEM of every root that agents should trust. */
  get roots(): string {
    return this.#current().roots.join("");
  }

  /** SHA-256 of the root that leaves lead to, hexadecimal. */
  get issuingRoot(): string {
    return this.#current().issuer.rootFingerprint;
  }

  /** What agents are told. */
  get settings(): AuthoritySettings & { readonly deniedIdentities: readonly Identity[] } {
    const { issuer, rotation, revocations } = this.state;
    const crls = [issuer.crl, rotation?.other.crl ?? "", revocations.lists];
    return {
      crl: [...new Set(crls)].join(""),
      trustBundle: this.roots,
      issuingRoot: this.issuingRoot,
      deniedIdentities: revocations.identities.map(({ identity }) => identity as Identity),
    };
  }

  /** Unix time in milliseconds. */
  get expiry(): { readonly root: number; readonly intermediate: number } {
    const { rootEnds, intermediate } = this.#current().issuer;
    return { root: rootEnds, intermediate: intermediate.certificate.notAfter.getTime() };
  }

  /** When the intermediate is renewed, Unix time in milliseconds: at half life, as for workloads. Infinity for a plug-in. */
  get renewalDue(): number {
    const { root, intermediate } = this.#current().issuer;
    if (root === undefined) return Infinity;
    const { notBefore, notAfter } = intermediate.certificate;
    return (notBefore.getTime() + notAfter.getTime()) / 2;
  }

  /** Signs for a workload; a lifetime of 0 means the default, longer ones are cut to it. Throws MESH_IDENTITY_DENIED. */
  async issue(identity: Identity, publicKey: PublicKey, lifetimeMs: number): Promise<IssuedLeaf> {
    const { certificateLifetimeMs, trustDomain, trustDomainAliases = [] } = this.#options;
    const names: readonly string[] = equivalentIdentities(identity, { trustDomain, trustDomainAliases });
    if (this.state.revocations.identities.some((denied) => names.includes(denied.identity)))
      throw new MeshError("MESH_IDENTITY_DENIED", `${identity} is revoked; warren ca restore lets it in again`);
    const asked = lifetimeMs > 0 ? Math.min(lifetimeMs, certificateLifetimeMs) : certificateLifetimeMs;
    const inForce = this.#current();
    const { intermediate } = inForce.issuer;
    const ends = intermediate.certificate.notAfter;
    if (ends.getTime() <= this.#deps.clock.now())
      throw new MeshError(
        "MESH_AUTHORITY_EXPIRED",
        `the intermediate ended at ${ends.toISOString()}; put another in place`,
      );
    const leaf = await writeWorkload(identity, publicKey, intermediate, this.#validity(asked, inForce));
    return answer(leaf, inForce);
  }

  /** A key and certificate for the control plane's own listener. */
  async issueServing(hosts: readonly string[]): Promise<IssuedLeaf & { readonly key: string }> {
    const inForce = this.#current();
    const keys = await newKeys();
    const validity = this.#validity(this.#options.servingLifetimeMs, inForce);
    const { intermediate } = inForce.issuer;
    const leaf = await writeServing("CN=warren-control", hosts, keys.publicKey, intermediate, validity);
    return { ...answer(leaf, inForce), key: await keyPem(keys.privateKey) };
  }

  /**
   * Puts a new intermediate in force, or tries again later. What the old one signed holds on: it comes with its own intermediate. A
   * plug-in's is whoever's gave it.
   */
  async renewIntermediate(): Promise<void> {
    const { log, clock } = this.#deps;
    const before = this.#current().issuer.intermediate.certificate.serialNumber;
    try {
      await this.change(async (state) => {
        const { root, intermediate } = await readIssuer(state.issuer, clock.now());
        // Another replica has done it.
        if (root === undefined || intermediate.certificate.serialNumber !== before) return state;
        const until = Math.min(intermediate.certificate.notAfter.getTime(), clock.now() + longestLeafMs);
        const former = [...state.former, { ...(await signerText(intermediate)), until }];
        const issuer = {
          ...state.issuer,
          intermediate: await makeIntermediate(root, this.#options, clock.now()),
        };
        return await withSignedLists({ ...state, issuer, former }, clock.now());
      });
      log.info({ intermediate: describeSigner(this.#current().issuer.intermediate) }, "intermediate renewed");
    } catch (error) {
      log.error({ error }, `the intermediate could not be renewed: ${messageOf(error)}`);
      this.#schedule(renewalRetryMs);
    }
  }

  /** A root and an intermediate to rotate to. */
  async nextIssuer(): Promise<Issuer> {
    return await makeIssuer(this.#options, this.#deps.clock.now());
  }

  /**
   * Changes the state: `edit` is given the state that is kept and returns the one to keep, or the same object to leave it. It may be called
   * several times. Resolves when what it made, or what was there already, is in force here.
   */
  change(edit: StateEdit): Promise<AuthorityState> {
    return this.#exclusive(() => this.#change(edit));
  }

  async #change(edit: StateEdit): Promise<AuthorityState> {
    const { vault, clock } = this.#deps;
    let kept = this.#current().kept;
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const edited = await edit(kept.state);
      if (edited === kept.state) {
        await this.#take(kept);
        return kept.state;
      }
      const next = await withoutExpired(edited, clock.now());
      // Read before it is kept: what cannot be used must not replace what can.
      await this.#prepare({ version: "", state: next });
      const won = await vault.replace(kept.version, next);
      if (won !== undefined) {
        await this.#take(won);
        return next;
      }
      kept = await this.#load();
    }
    throw new MeshError("MESH_AUTHORITY_BUSY", "others change the authority's state all the time; try again");
  }

  async #load(): Promise<KeptState> {
    const kept = await this.#deps.vault.load();
    if (kept === undefined) throw unusableSigner("state", "it is gone");
    return kept;
  }

  #current(): InForce {
    if (this.#inForce === undefined)
      throw new MeshError("MESH_AUTHORITY_NOT_STARTED", "the authority has not been started");
    return this.#inForce;
  }

  async #prepare(kept: KeptState): Promise<InForce> {
    const now = this.#deps.clock.now();
    const issuer = await readIssuer(kept.state.issuer, now);
    const { rotation } = kept.state;
    const other = rotation === undefined ? [] : rootsInForce(rotation.other, now);
    return { kept, issuer, roots: [...new Set([...issuer.roots, ...other])] };
  }

  async #take(kept: KeptState): Promise<void> {
    if (kept.version === this.#inForce?.kept.version) return;
    this.#inForce = await this.#prepare(kept);
    this.#schedule(this.renewalDue - this.#deps.clock.now());
    for (const listener of this.#listeners) listener();
  }

  async #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return await turn;
  }

  async #reload(): Promise<void> {
    if (this.#stopped) return;
    try {
      await this.#take(await this.#load());
    } catch (error) {
      // What is in force stays so: a state that somebody broke must not stop certificates.
      this.#deps.log.error({ error }, `the authority's state cannot be taken: ${messageOf(error)}`);
    }
  }

  #validity(lifetimeMs: number, { issuer }: InForce) {
    return validityUnder(issuer.intermediate, this.#deps.clock.now(), lifetimeMs, this.#options.backdateMs);
  }

  #schedule(delayMs: number): void {
    this.#cancelRenewal();
    if (this.#stopped || delayMs === Infinity) return;
    const renew = () => void this.renewIntermediate();
    this.#cancelRenewal = this.#deps.clock.after(Math.max(delayMs, shortestRenewalMs), renew);
  }

  async #firstState(given: Issuer | undefined): Promise<AuthorityState> {
    const issuer = given ?? (await makeIssuer(this.#options, this.#deps.clock.now()));
    return { issuer, former: [], revocations: noRevocations };
  }
}

function answer(leaf: X509Certificate, { issuer, roots }: InForce): IssuedLeaf {
  return {
    chain: [certificatePem(leaf), ...issuer.path, roots.join("")],
    serial: leaf.serialNumber,
    notAfter: leaf.notAfter.getTime(),
  };
}
