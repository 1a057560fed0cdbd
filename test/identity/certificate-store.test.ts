import { describe, expect, test } from "vitest";
import { Authority, authorityDefaults } from "../../src/control/authority/authority.ts";
import { readSigningRequest } from "../../src/control/authority/signing-request.ts";
import { StateFolder } from "../../src/control/authority/state-folder.ts";
import {
  type CertificateOrder,
  CertificateStore,
  type CertificateStoreOptions,
  certificateStoreDefaults,
} from "../../src/identity/certificate-store.ts";
import type { CertificateMaterial } from "../../src/identity/issued-certificate.ts";
import { formatIdentity } from "../../src/identity/spiffe.ts";
import { MeshError } from "../../src/lib/errors.ts";
import type { Identity } from "../../src/model/identity.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { RecordedLog } from "../support/recorded-log.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const hour = 3_600_000;
const identityOf = (serviceAccount: string) =>
  formatIdentity({ trustDomain: "cluster.local", namespace: "production", serviceAccount });
const api = identityOf("api");
const database = identityOf("database");
const soon = () => AbortSignal.timeout(30_000);

/** An authority whose answers a test can hold back, count and make fail; what it signs is real. */
class SteeredAuthority {
  readonly orders: CertificateOrder[] = [];
  readonly aborted: Identity[] = [];
  running = 0;
  mostRunning = 0;
  failure: Error | undefined;
  /** In place of `failure`, by order. */
  fail: (order: CertificateOrder) => Error | undefined = () => this.failure;
  #gate: PromiseWithResolvers<void> | undefined;
  readonly #authority: Authority;

  constructor(authority: Authority) {
    this.#authority = authority;
  }

  hold(): void {
    this.#gate = Promise.withResolvers();
  }

  letGo(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  async createCertificate(order: CertificateOrder, signal: AbortSignal): Promise<readonly string[]> {
    this.orders.push(order);
    this.mostRunning = Math.max(this.mostRunning, ++this.running);
    try {
      const aborted = new Promise<never>((_, reject) =>
        signal.addEventListener("abort", () => {
          this.aborted.push(order.identity);
          reject(signal.reason as Error);
        }),
      );
      aborted.catch(() => {});
      await Promise.race([this.#gate?.promise, aborted]);
      const failure = this.fail(order);
      if (failure !== undefined) throw failure;
      const publicKey = await readSigningRequest(order.request);
      return (await this.#authority.issue(order.identity, publicKey, order.lifetimeMs)).chain;
    } finally {
      this.running--;
    }
  }
}

async function storeWith(options: Partial<CertificateStoreOptions> = {}, random = () => 0.5) {
  const clock = new FakeClock(Date.UTC(2026, 5, 1));
  const log = new RecordedLog();
  const signer = new Authority(
    { vault: new StateFolder({ clock }, { folder: await temporaryFolder() }), clock, log },
    { trustDomain: "cluster.local", ...authorityDefaults },
  );
  await signer.start();
  signer.stop();
  const authority = new SteeredAuthority(signer);
  const store = new CertificateStore({ authority, clock, random, log }, { ...certificateStoreDefaults, ...options });
  const changes: CertificateMaterial[] = [];
  store.onChange((material) => changes.push(material));
  const row = (identity: Identity) => store.list().find((candidate) => candidate.identity === identity);
  return { store, clock, log, authority, changes, row };
}

describe("the first certificate", () => {
  test("comes to whoever holds, is announced once and is complete", async () => {
    const { store, changes, row } = await storeWith();
    store.hold(api);
    expect(row(api)).toMatchObject({ state: "pending", holders: 1, certificate: undefined, failures: 0 });
    const material = await store.wait(api, soon());
    expect(store.get(api)).toBe(material);
    expect(changes).toEqual([material]);
    expect(material.identity).toBe(api);
    expect(material.chain.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    expect(material.trustBundle.match(/BEGIN CERTIFICATE/g)).toHaveLength(1);
    expect(material.privateKey).toContain("BEGIN PRIVATE KEY");
    expect(material.keyType).toBe("P-256");
    expect(material.issuer).toContain("CN=Warren authority");
    expect(material.serial).toMatch(/^[0-9a-f]{2}(:[0-9a-f]{2}){15}$/);
    expect(row(api)?.state).toBe("ready");
  });

  test("is fetched once for all pods of the identity", async () => {
    const { store, authority, row } = await storeWith();
    for (let pod = 0; pod < 5; pod++) store.hold(api);
    const materials = await Promise.all([1, 2, 3].map(() => store.wait(api, soon())));
    expect(new Set(materials).size).toBe(1);
    expect(authority.orders).toHaveLength(1);
    expect(row(api)?.holders).toBe(5);
  });

  test("is not to be had for an identity that nobody holds", async () => {
    const { store, authority } = await storeWith();
    await expect(store.wait(api, soon())).rejects.toMatchObject({ code: "MESH_IDENTITY_NOT_HELD" });
    expect(authority.orders).toEqual([]);
  });

  test("listings never hold a key", async () => {
    const { store } = await storeWith();
    store.hold(api);
    const { privateKey } = await store.wait(api, soon());
    const listing = JSON.stringify(store.list());
    expect(listing).not.toContain("PRIVATE");
    expect(listing).not.toContain(privateKey.split("\n")[1]);
  });
});

describe("the queue", () => {
  test("has bounded concurrency", async () => {
    const { store, authority } = await storeWith({ concurrency: 3 });
    authority.hold();
    const identities = Array.from({ length: 10 }, (_, index) => identityOf(`a${index}`));
    for (const identity of identities) store.hold(identity);
    await expect.poll(() => authority.orders.length).toBe(3);
    expect(store.stats()).toMatchObject({ queued: 7, running: 3 });
    authority.letGo();
    await Promise.all(identities.map((identity) => store.wait(identity, soon())));
    expect(authority.mostRunning).toBe(3);
    expect(store.stats()).toEqual({ issuedTotal: 10, failedTotal: 0, queued: 0, running: 0 });
  });

  test("takes waiting connections first, then new pods, then renewals, each in order of arrival", async () => {
    const { store, authority, clock } = await storeWith({ concurrency: 1 });
    const [renewed, blocker, first, second, urgent] = ["renewed", "blocker", "first", "second", "urgent"].map(
      identityOf,
    );
    if (!renewed || !blocker || !first || !second || !urgent) throw new Error("unreachable");
    store.hold(renewed);
    await store.wait(renewed, soon());
    authority.hold();
    store.hold(blocker);
    await expect.poll(() => authority.running).toBe(1);
    clock.advance(13 * hour);
    for (const identity of [first, second, urgent]) store.hold(identity);
    const waiting = store.wait(urgent, soon());
    authority.letGo();
    await waiting;
    await expect.poll(() => authority.orders.length).toBe(6);
    expect(authority.orders.slice(1).map(({ identity }) => identity)).toEqual([
      blocker,
      urgent,
      first,
      second,
      renewed,
    ]);
  });
});

describe("renewal", () => {
  test.each([
    [0, 0.45],
    [0.5, 0.5],
    [1, 0.55],
  ])("with the die at %d comes at %d of the remaining life", async (random, part) => {
    const { store, clock, row } = await storeWith({}, () => random);
    store.hold(api);
    const { notAfter } = await store.wait(api, soon());
    const expected = (notAfter - clock.now()) * part;
    expect((row(api)?.renewsAt ?? 0) - clock.now()).toBeCloseTo(expected, -1);
  });

  test("brings another key and certificate while the old one is in force", async () => {
    const { store, clock, changes } = await storeWith();
    store.hold(api);
    const first = await store.wait(api, soon());
    clock.advance(12.1 * hour);
    expect(store.get(api)).toBe(first);
    await expect.poll(() => changes.length).toBe(2);
    const second = store.get(api);
    expect(second).toBe(changes[1]);
    expect(second?.privateKey).not.toBe(first.privateKey);
    expect(second?.serial).not.toBe(first.serial);
    expect(second?.trustBundle).toBe(first.trustBundle);
    expect(second?.notAfter).toBeGreaterThan(first.notAfter);
  });

  test("goes on for days", async () => {
    const { store, clock, changes } = await storeWith();
    store.hold(api);
    await store.wait(api, soon());
    for (let half = 2; half <= 10; half++) {
      clock.advance(12.1 * hour);
      await expect.poll(() => changes.length).toBe(half);
      expect(store.get(api)).toBeDefined();
    }
  });

  test("can be asked for", async () => {
    const { store, changes } = await storeWith();
    store.hold(api);
    await store.wait(api, soon());
    store.renew(api);
    store.renew(api);
    await expect.poll(() => changes.length).toBe(2);
    expect(store.stats().issuedTotal).toBe(2);
  });

  test("that fails keeps the old certificate to its end and never waits past it", async () => {
    const { store, clock, authority, row, log } = await storeWith();
    store.hold(api);
    const first = await store.wait(api, soon());
    authority.failure = new MeshError("MESH_CA_UNREACHABLE", "nobody there");
    clock.advance(12.1 * hour);
    await expect.poll(() => row(api)?.failures).toBe(1);
    expect(row(api)).toMatchObject({ state: "ready", lastError: "nobody there (MESH_CA_UNREACHABLE)" });
    expect(store.get(api)).toBe(first);
    expect(log.messages("warn")).toEqual(["no certificate: nobody there"]);
    // One second before the end the next attempt is at the end, though backoff says minutes.
    for (let failures = 2; failures <= 10; failures++) {
      clock.advance((row(api)?.renewsAt ?? 0) - clock.now());
      await expect.poll(() => row(api)?.failures).toBe(failures);
    }
    clock.advance(first.notAfter - clock.now() - 1000);
    await expect.poll(() => row(api)?.renewsAt).toBe(first.notAfter);
    clock.advance(1000);
    expect(store.get(api)).toBeUndefined();
    expect(row(api)?.state).toBe("unavailable");
    authority.failure = undefined;
    const second = await store.wait(api, soon());
    expect(second.serial).not.toBe(first.serial);
    expect(row(api)).toMatchObject({ state: "ready", failures: 0, lastError: "" });
  });
});

describe("failure of the first", () => {
  test("backs off per identity: 0.5 s, doubling, at most 150 s", async () => {
    const { store, clock, authority, row } = await storeWith();
    authority.failure = new MeshError("MESH_CA_REFUSED", "not yet");
    store.hold(api);
    const delays: number[] = [];
    for (let failures = 1; failures <= 11; failures++) {
      await expect.poll(() => row(api)?.failures).toBe(failures);
      delays.push((row(api)?.renewsAt ?? 0) - clock.now());
      clock.advance(delays.at(-1) ?? 0);
    }
    expect(delays).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 150_000, 150_000]);
    expect(row(api)?.state).toBe("unavailable");
  });

  test("is not waited out once another identity is answered, if nobody was there; a refusal is", async () => {
    const { store, clock, authority, row } = await storeWith();
    const refused = identityOf("refused");
    const identities = [api, database, refused];
    for (const identity of identities) store.hold(identity);
    authority.fail = ({ identity }) =>
      identity === refused
        ? new MeshError("MESH_CA_REFUSED", "no such pod")
        : new MeshError("MESH_CA_UNREACHABLE", "nobody there");
    // The same random numbers, so the same times.
    for (let failures = 1; failures <= 9; failures++) {
      await expect
        .poll(() => identities.map((identity) => row(identity)?.failures))
        .toEqual([failures, failures, failures]);
      if (failures < 9) clock.advance((row(api)?.renewsAt ?? 0) - clock.now());
    }
    const left = (identity: Identity) => (row(identity)?.renewsAt ?? 0) - clock.now();
    expect(identities.map(left)).toEqual([128_000, 128_000, 128_000]);
    authority.fail = ({ identity }) =>
      identity === refused ? new MeshError("MESH_CA_REFUSED", "no such pod") : undefined;
    store.renew(api);
    await expect.poll(() => row(api)?.state).toBe("ready");
    expect([left(database), left(refused)]).toEqual([2500, 128_000]);
    clock.advance(2500);
    await expect.poll(() => row(database)?.state).toBe("ready");
  });

  test("does not end a connection's wait: the next attempt may serve it", async () => {
    const { store, clock, authority, row } = await storeWith();
    authority.failure = new MeshError("MESH_CA_UNREACHABLE", "starting up");
    store.hold(api);
    const waiting = store.wait(api, soon());
    await expect.poll(() => row(api)?.failures).toBe(1);
    authority.failure = undefined;
    clock.advance(600);
    expect((await waiting).identity).toBe(api);
  });

  test("is what a wait that ran out of time reports", async () => {
    const { store, authority, row } = await storeWith();
    authority.failure = new MeshError("MESH_CA_REFUSED", "no such pod");
    store.hold(api);
    const controller = new AbortController();
    const waiting = store.wait(api, controller.signal);
    await expect.poll(() => row(api)?.failures).toBe(1);
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toMatchObject({ code: "MESH_CERTIFICATE_UNAVAILABLE" });
    await expect(waiting).rejects.toThrow("no such pod");
  });

  test.each([
    [
      "for another identity",
      (chain: readonly string[], other: readonly string[]) => [...other.slice(0, 1), ...chain.slice(1)],
    ],
    ["without a root", (chain: readonly string[]) => chain.slice(0, 1)],
    ["without the intermediate", (chain: readonly string[]) => [chain[0] ?? "", chain[2] ?? ""]],
    ["empty", () => []],
    ["that is not PEM", () => ["hello", "world"]],
  ])("an answer %s is not taken", async (_what, spoil) => {
    const { clock, log, authority } = await storeWith();
    const spoiler = {
      async createCertificate(order: CertificateOrder, signal: AbortSignal) {
        const chain = await authority.createCertificate(order, signal);
        const other = await authority.createCertificate({ ...order, identity: database }, signal);
        return spoil(chain, other);
      },
    };
    const store = new CertificateStore({ authority: spoiler, clock, random: () => 0.5, log });
    store.hold(api);
    await expect.poll(() => store.list()[0]?.failures).toBe(1);
    expect(store.list()[0]?.lastError).toContain("MESH_CA_BAD_ANSWER");
    expect(store.get(api)).toBeUndefined();
  });

  test("a certificate for another key is not taken", async () => {
    const { clock, log, authority } = await storeWith();
    let stale: readonly string[] | undefined;
    const replayer = {
      async createCertificate(order: CertificateOrder, signal: AbortSignal) {
        stale ??= await authority.createCertificate(order, signal);
        return stale;
      },
    };
    const store = new CertificateStore({ authority: replayer, clock, random: () => 0.5, log });
    store.hold(api);
    const first = await store.wait(api, soon());
    store.renew(api);
    await expect.poll(() => store.list()[0]?.failures).toBe(1);
    expect(store.list()[0]?.lastError).toContain("another key");
    expect(store.get(api)).toBe(first);
  });

  test("a clock that is wrong by a day is named as the cause", async () => {
    const { clock, log, authority } = await storeWith();
    const slow = { now: () => clock.now() - 24 * hour, after: clock.after.bind(clock) };
    const store = new CertificateStore({ authority, clock: slow, random: () => 0.5, log });
    store.hold(api);
    await expect.poll(() => store.list()[0]?.lastError).toContain("compare the clocks");
  });
});

describe("release", () => {
  test("forgets with the last holder, and only then", async () => {
    const { store, clock } = await storeWith();
    const [first, second] = [store.hold(api), store.hold(api)];
    await store.wait(api, soon());
    first();
    first();
    expect(store.get(api)).toBeDefined();
    second();
    expect(store.get(api)).toBeUndefined();
    expect(store.list()).toEqual([]);
    expect(clock.pending).toEqual([]);
  });

  test("gives up the request under way and rejects who waits", async () => {
    const { store, authority, changes } = await storeWith();
    authority.hold();
    const release = store.hold(api);
    const waiting = store.wait(api, soon());
    await expect.poll(() => authority.running).toBe(1);
    release();
    await expect(waiting).rejects.toMatchObject({ code: "MESH_IDENTITY_NOT_HELD" });
    await expect.poll(() => authority.aborted).toEqual([api]);
    await expect.poll(() => store.stats().running).toBe(0);
    expect(changes).toEqual([]);
  });

  test("and holding again starts anew", async () => {
    const { store, authority } = await storeWith();
    store.hold(api)();
    store.hold(api);
    await store.wait(api, soon());
    expect(authority.orders.length).toBeLessThanOrEqual(2);
    expect(store.list()).toHaveLength(1);
  });
});

test("a listener that throws does not keep the certificate from others", async () => {
  const { store, log } = await storeWith();
  const seen: Identity[] = [];
  store.onChange(() => {
    throw new Error("engine gone");
  });
  const forget = store.onChange(({ identity }) => seen.push(identity));
  store.hold(api);
  await store.wait(api, soon());
  expect(seen).toEqual([api]);
  expect(log.messages("warn").join()).toContain("engine gone");
  forget();
  store.renew(api);
  await expect.poll(() => store.stats().issuedTotal).toBe(2);
  expect(seen).toEqual([api]);
});

test("stop ends everything, twice if need be", async () => {
  const { store, authority, clock } = await storeWith();
  authority.hold();
  store.hold(api);
  const waiting = store.wait(api, soon());
  await expect.poll(() => authority.running).toBe(1);
  store.stop();
  store.stop();
  await expect(waiting).rejects.toMatchObject({ code: "MESH_IDENTITY_NOT_HELD" });
  await expect.poll(() => store.stats().running).toBe(0);
  expect(clock.pending).toEqual([]);
  expect(() => store.hold(api)).toThrow("stopped");
});
