/**
 * The certificates of one node: one key and certificate for each identity, shared by the node's pods of that service account. A pod
 * holds its identity while it is enrolled; the store fetches, renews at half life, keeps the old certificate to its end while the
 * authority is away, and tells listeners of each new one, who hand it to the engine: open tunnels go on.
 */
import { abortable } from "../lib/abort.ts";
import { type BackoffOptions, backoffDelay } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { MeshError, messageOf } from "../lib/errors.ts";
import type { Identity } from "../model/identity.ts";
import { createCertificateRequest } from "./certificate-request.ts";
import {
  acceptIssued,
  type CertificateMaterial,
  type IssuedCertificate,
  withTrustBundle,
} from "./issued-certificate.ts";
import { createWorkloadKey } from "./key.ts";

/** An authority: answers PEM, leaf first, roots last. */
export interface CertificateAuthority {
  createCertificate(request: CertificateOrder, signal: AbortSignal): Promise<readonly string[]>;
}

export interface CertificateOrder {
  readonly identity: Identity;
  /** PKCS#10 PEM. */
  readonly request: string;
  readonly lifetimeMs: number;
}

/** Who waits, most urgent first: a connection, a pod that was just enrolled, nobody. */
export type CertificatePriority = "connection" | "warm-up" | "renewal";
const urgency: Readonly<Record<CertificatePriority, number>> = { connection: 0, "warm-up": 1, renewal: 2 };

export interface CertificateStoreDeps {
  readonly authority: CertificateAuthority;
  readonly clock: Clock;
  /** 0 … 1, for jitter. */
  readonly random: () => number;
  readonly log: CertificateLog;
}

/** The part of a pino logger that the store uses. */
export interface CertificateLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface CertificateStoreOptions {
  /** Lifetime to ask for; the authority may give less. */
  readonly lifetimeMs: number;
  /** Requests to the authority at once. */
  readonly concurrency: number;
  /** Part of the remaining lifetime after which to renew, and how far that is spread. */
  readonly renewAt: number;
  readonly renewJitter: number;
  readonly backoff: BackoffOptions;
}

export const certificateStoreDefaults: CertificateStoreOptions = {
  lifetimeMs: 24 * 3_600_000,
  concurrency: 8,
  renewAt: 0.5,
  renewJitter: 0.1,
  backoff: { firstMs: 500, factor: 2, longestMs: 150_000, jitter: 0.2 },
};

/** `pending`: none yet. `ready`: in force. `unavailable`: the last attempt failed and none is in force. */
export type CertificateState = "pending" | "ready" | "unavailable";

/** A line of the listing; never a key. */
export interface CertificateRow {
  readonly identity: Identity;
  readonly state: CertificateState;
  readonly holders: number;
  /** Undefined until there was a first certificate. */
  readonly certificate: IssuedCertificate | undefined;
  /** Unix time in milliseconds of the next attempt; undefined while one is queued or under way. */
  readonly renewsAt: number | undefined;
  /** Of the last attempt; empty when it went well. */
  readonly lastError: string;
  readonly failures: number;
}

export interface CertificateStoreStats {
  readonly issuedTotal: number;
  readonly failedTotal: number;
  readonly queued: number;
  readonly running: number;
}

/** However short-lived what the authority gives, it is not asked more often than this for one identity. */
const shortestRenewalMs = 200;

/** What the control plane says about certificates; all empty until it speaks, and where another authority issues them. */
export interface CertificateGuidance {
  /** PEM of the roots to trust; empty: those that come with each certificate. */
  readonly trustBundle: string;
  /** SHA-256 of the root that certificates are issued from, hexadecimal; empty: any. */
  readonly issuingRoot: string;
  /** True for a certificate that must not be used any more, although it has not expired. */
  readonly isRevoked: (material: CertificateMaterial) => boolean;
}

const noGuidance: CertificateGuidance = { trustBundle: "", issuingRoot: "", isRevoked: () => false };

/**
 * A certificate of another root is renewed within this part of its remaining life, and within this time: whole clusters hear of a
 * new root at once.
 */
const outdatedSpread = { part: 0.1, mostMs: 60_000 };
/** Replicas of the control plane may be a moment behind each other; an authority that goes on issuing the same is let be. */
const mostOutdatedAttempts = 8;

/**
 * Whose request met nobody tries again within this time once another's is answered: after an outage of minutes backoff would let most
 * wait for minutes more. Spread, because all of a cluster's agents find the authority back in the same moment.
 */
const returnSpreadMs = 5000;
const nobodyThere: ReadonlySet<string> = new Set(["MESH_CA_UNREACHABLE", "MESH_CA_TIMEOUT"]);

/** What an entry is doing about its next certificate. */
type Attempt =
  | { readonly kind: "waiting"; readonly at: number; readonly cancel: () => void }
  | { readonly kind: "queued"; readonly since: number; priority: CertificatePriority }
  | { readonly kind: "running"; readonly abort: AbortController };

interface Entry {
  readonly identity: Identity;
  holders: number;
  material: CertificateMaterial | undefined;
  attempt: Attempt;
  /** Renewals in vain since the guidance changed. */
  outdatedAttempts: number;
  failures: number;
  lastError: string;
  lastCode: string;
  readonly waiters: Set<(result: CertificateMaterial | MeshError) => void>;
}

export class CertificateStore {
  readonly #deps: CertificateStoreDeps;
  readonly #options: CertificateStoreOptions;
  readonly #entries = new Map<Identity, Entry>();
  readonly #listeners = new Set<(material: CertificateMaterial) => void>();
  #guidance = noGuidance;
  #order = 0;
  #running = 0;
  #issued = 0;
  #failed = 0;
  #stopped = false;

  constructor(deps: CertificateStoreDeps, options: CertificateStoreOptions = certificateStoreDefaults) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Called with each new certificate, before whoever waits for it. Returns how to stop listening. */
  onChange(listener: (material: CertificateMaterial) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Keeps a certificate for this identity until the returned function is called as many times as `hold` was; a second call of the
   * same function does nothing. The first holder starts the fetch.
   */
  hold(identity: Identity): () => void {
    if (this.#stopped) throw stopped();
    let entry = this.#entries.get(identity);
    if (entry === undefined) {
      entry = {
        identity,
        holders: 0,
        material: undefined,
        attempt: this.#queued("warm-up"),
        outdatedAttempts: 0,
        failures: 0,
        lastError: "",
        lastCode: "",
        waiters: new Set(),
      };
      this.#entries.set(identity, entry);
      this.#startSome();
    }
    const held = entry;
    held.holders++;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      if (--held.holders === 0 && this.#entries.get(identity) === held) this.#forget(held, "its last pod has gone");
    };
  }

  /** The certificate in force; undefined when there is none (any more). */
  get(identity: Identity): CertificateMaterial | undefined {
    const material = this.#entries.get(identity)?.material;
    return material !== undefined && this.#inForce(material) ? material : undefined;
  }

  /**
   * The certificate in force, now or when it comes, through failed attempts too: a waiting connection moves the identity to the
   * front of the queue. Rejects with MESH_IDENTITY_NOT_HELD when nobody holds the identity, and with MESH_CERTIFICATE_UNAVAILABLE
   * and what the authority last said when the signal ends the wait.
   */
  async wait(identity: Identity, signal: AbortSignal): Promise<CertificateMaterial> {
    const ready = this.get(identity);
    if (ready !== undefined) return ready;
    const entry = this.#entries.get(identity);
    if (entry === undefined) {
      throw new MeshError("MESH_IDENTITY_NOT_HELD", `no enrolled pod of this node has the identity ${identity}`);
    }
    if (entry.attempt.kind === "queued") entry.attempt.priority = "connection";
    const { promise, resolve, reject } = Promise.withResolvers<CertificateMaterial>();
    const waiter = (result: CertificateMaterial | MeshError) =>
      result instanceof MeshError ? reject(result) : resolve(result);
    entry.waiters.add(waiter);
    try {
      return await abortable(promise, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
      const why = entry.lastError || "the authority has not answered yet";
      throw new MeshError("MESH_CERTIFICATE_UNAVAILABLE", `no certificate for ${identity} in time: ${why}`, {
        cause: signal.reason,
      });
    } finally {
      entry.waiters.delete(waiter);
    }
  }

  /** Renews now instead of at half life, e.g. after the authority's root changed. */
  renew(identity: Identity): void {
    const entry = this.#entries.get(identity);
    if (entry?.attempt.kind !== "waiting") return;
    entry.attempt.cancel();
    this.#queue(entry);
  }

  /**
   * Takes what the control plane says: another set of roots is in force at once for what is there, without a call of listeners; what is
   * revoked is renewed now, what leads to another root than new certificates do is renewed soon.
   */
  follow(guidance: CertificateGuidance): void {
    this.#guidance = guidance;
    for (const entry of this.#entries.values()) {
      entry.outdatedAttempts = 0;
      if (entry.material === undefined) continue;
      entry.material = this.#trusting(entry.material);
      if (entry.attempt.kind !== "waiting") continue;
      const due = this.#outdatedDelay(entry, entry.material);
      if (due === undefined || entry.attempt.at <= this.#deps.clock.now() + due) continue;
      entry.attempt.cancel();
      this.#schedule(entry, due);
    }
  }

  list(): CertificateRow[] {
    return [...this.#entries.values()].map((entry) => {
      const { identity, material, holders, lastError, failures, attempt } = entry;
      const inForce = material !== undefined && this.#inForce(material);
      return {
        identity,
        holders,
        state: inForce ? "ready" : lastError === "" && material === undefined ? "pending" : "unavailable",
        certificate: material && publicPart(material),
        renewsAt: attempt.kind === "waiting" ? attempt.at : undefined,
        lastError,
        failures,
      };
    });
  }

  stats(): CertificateStoreStats {
    let queued = 0;
    for (const { attempt } of this.#entries.values()) if (attempt.kind === "queued") queued++;
    return { issuedTotal: this.#issued, failedTotal: this.#failed, queued, running: this.#running };
  }

  /** Final; waiters are rejected, requests under way are given up. May be called twice. */
  stop(): void {
    this.#stopped = true;
    for (const entry of this.#entries.values()) this.#forget(entry, "the agent is stopping");
    this.#listeners.clear();
  }

  #inForce(material: CertificateMaterial): boolean {
    return this.#deps.clock.now() < material.notAfter;
  }

  #forget(entry: Entry, why: string): void {
    this.#entries.delete(entry.identity);
    if (entry.attempt.kind === "waiting") entry.attempt.cancel();
    if (entry.attempt.kind === "running") entry.attempt.abort.abort(new MeshError("MESH_IDENTITY_NOT_HELD", why));
    this.#tellWaiters(entry, new MeshError("MESH_IDENTITY_NOT_HELD", `${entry.identity} is not held any more: ${why}`));
  }

  #tellWaiters(entry: Entry, result: CertificateMaterial | MeshError): void {
    const waiters = [...entry.waiters];
    entry.waiters.clear();
    for (const waiter of waiters) waiter(result);
  }

  #queued(priority: CertificatePriority): Attempt {
    return { kind: "queued", since: ++this.#order, priority };
  }

  #queue(entry: Entry): void {
    const waited = entry.waiters.size > 0;
    entry.attempt = this.#queued(waited ? "connection" : this.get(entry.identity) ? "renewal" : "warm-up");
    this.#startSome();
  }

  #startSome(): void {
    while (this.#running < this.#options.concurrency) {
      const entry = this.#mostUrgent();
      if (entry === undefined) return;
      void this.#attempt(entry);
    }
  }

  /** By priority, then first come. A scan: a node has hundreds of identities, not thousands, and priorities change while queued. */
  #mostUrgent(): Entry | undefined {
    let best: { entry: Entry; rank: number; since: number } | undefined;
    for (const entry of this.#entries.values()) {
      if (entry.attempt.kind !== "queued") continue;
      const { since } = entry.attempt;
      const rank = urgency[entry.attempt.priority];
      if (best === undefined || rank < best.rank || (rank === best.rank && since < best.since)) {
        best = { entry, rank, since };
      }
    }
    return best?.entry;
  }

  /** Never rejects: the outcome is in the entry. */
  async #attempt(entry: Entry): Promise<void> {
    const abort = new AbortController();
    const attempt: Attempt = { kind: "running", abort };
    entry.attempt = attempt;
    this.#running++;
    let outcome: CertificateMaterial | MeshError;
    try {
      outcome = await this.#fetch(entry.identity, abort.signal);
    } catch (error) {
      outcome =
        error instanceof MeshError ? error : new MeshError("MESH_CA_FAILED", messageOf(error), { cause: error });
    }
    this.#running--;
    // Released meanwhile, perhaps held again by another entry: this answer is nobody's.
    if (this.#entries.get(entry.identity) === entry) this.#settle(entry, outcome);
    this.#startSome();
  }

  async #fetch(identity: Identity, signal: AbortSignal): Promise<CertificateMaterial> {
    const { authority, clock } = this.#deps;
    const key = await createWorkloadKey();
    const request = await createCertificateRequest(identity, key);
    const answer = await authority.createCertificate(
      { identity, request, lifetimeMs: this.#options.lifetimeMs },
      signal,
    );
    return acceptIssued(answer, identity, key, clock.now());
  }

  #settle(entry: Entry, outcome: CertificateMaterial | MeshError): void {
    const { log, random, clock } = this.#deps;
    const { identity } = entry;
    if (outcome instanceof MeshError) {
      this.#failed++;
      entry.failures++;
      entry.lastError = `${outcome.message} (${outcome.code})`;
      entry.lastCode = outcome.code;
      const left = entry.material === undefined ? Infinity : entry.material.notAfter - clock.now();
      const delay = backoffDelay(entry.failures, this.#options.backoff, random());
      // Not later than the end of the one in force: then connections fail, and each moment counts.
      const next = this.#schedule(entry, left > 0 ? Math.min(delay, left) : delay);
      log.warn(
        {
          identity,
          code: outcome.code,
          failures: entry.failures,
          retryMs: Math.round(next),
          inForce: left > 0 && left < Infinity,
        },
        `no certificate: ${outcome.message}`,
      );
      return;
    }
    this.#issued++;
    entry.failures = 0;
    entry.lastError = "";
    entry.material = this.#trusting(outcome);
    const { renewAt, renewJitter } = this.#options;
    // From now, not from not-before: authorities date certificates back, and short-lived ones would be due at once.
    const life = outcome.notAfter - clock.now();
    const half = life * renewAt * (1 + renewJitter * (2 * random() - 1));
    const outdated = this.#outdatedDelay(entry, outcome);
    const next = this.#schedule(entry, Math.max(Math.min(half, outdated ?? half), shortestRenewalMs));
    const { serial, notAfter, issuer } = outcome;
    log.info(
      { identity, serial, issuer, notAfter: new Date(notAfter).toISOString(), renewMs: Math.round(next) },
      "certificate in force",
    );
    this.#tellListeners(entry.material);
    this.#tellWaiters(entry, entry.material);
    this.#authorityIsThere();
  }

  #authorityIsThere(): void {
    const { clock, random } = this.#deps;
    for (const entry of this.#entries.values()) {
      const { attempt, failures, lastCode } = entry;
      if (attempt.kind !== "waiting" || failures === 0 || !nobodyThere.has(lastCode)) continue;
      if (attempt.at <= clock.now() + returnSpreadMs) continue;
      attempt.cancel();
      this.#schedule(entry, returnSpreadMs * random());
    }
  }

  #trusting(material: CertificateMaterial): CertificateMaterial {
    return withTrustBundle(material, this.#guidance.trustBundle, this.#deps.clock.now());
  }

  /** When to renew what the guidance is against; undefined for what it is not, or not to be helped. */
  #outdatedDelay(entry: Entry, material: CertificateMaterial): number | undefined {
    const { random, clock } = this.#deps;
    const { issuingRoot, isRevoked } = this.#guidance;
    const revoked = isRevoked(material);
    if (!revoked && (issuingRoot === "" || material.rootFingerprint === issuingRoot)) return undefined;
    const attempts = entry.outdatedAttempts++;
    if (attempts >= mostOutdatedAttempts) return undefined;
    if (attempts > 0) return backoffDelay(attempts, this.#options.backoff, random());
    if (revoked) return 0;
    const left = material.notAfter - clock.now();
    return random() * Math.min(left * outdatedSpread.part, outdatedSpread.mostMs);
  }

  /** A listener that throws must not keep the certificate from the others. */
  #tellListeners(material: CertificateMaterial): void {
    for (const listener of this.#listeners) {
      try {
        listener(material);
      } catch (error) {
        this.#deps.log.warn({ identity: material.identity }, `a new certificate was not taken: ${messageOf(error)}`);
      }
    }
  }

  #schedule(entry: Entry, delayMs: number): number {
    const cancel = this.#deps.clock.after(delayMs, () => this.#queue(entry));
    entry.attempt = { kind: "waiting", at: this.#deps.clock.now() + delayMs, cancel };
    return delayMs;
  }
}

/** Field by field: whatever else material may hold one day stays out of listings until somebody lists it here. */
function publicPart(material: CertificateMaterial): IssuedCertificate {
  const { identity, chain, trustBundle, serial, notBefore, notAfter, issuer, keyType } = material;
  return { identity, chain, trustBundle, serial, notBefore, notAfter, issuer, keyType };
}

function stopped(): MeshError {
  return new MeshError("MESH_STOPPED", "the certificate store has been stopped");
}
