import type { CapturedPod, CaptureRequest } from "../../src/capture/capture.ts";
import { MeshError } from "../../src/lib/errors.ts";
import { Slots } from "../../src/lib/slots.ts";
import type { Identity } from "../../src/model/identity.ts";
import type { LocalPod, WorkloadUid } from "../../src/model/workload.ts";
import { Enrolment, type EnrolmentOptions } from "../../src/node/enrolment.ts";
import type { FoundNetns } from "../../src/node/pod-capture.ts";

export function pod(name: string, over: Partial<LocalPod> = {}): LocalPod {
  return {
    uid: `uid-${name}`,
    workload: `Kubernetes//Pod/production/${name}` as WorkloadUid,
    name,
    namespace: "production",
    serviceAccount: name,
    identity: `spiffe://cluster.local/ns/production/sa/${name}` as Identity,
    addresses: ["10.244.1.5"],
    failOpen: false,
    probePorts: [],
    ...over,
  };
}

/** Time that moves when a test says so. */
export class FakeClock {
  #now = 1_700_000_000_000;
  readonly #timers = new Map<symbol, { at: number; fire: () => void }>();

  now(): number {
    return this.#now;
  }

  after(delayMs: number, then: () => void): () => void {
    const timer = Symbol("timer");
    this.#timers.set(timer, { at: this.#now + delayMs, fire: then });
    return () => void this.#timers.delete(timer);
  }

  /** Fires what becomes due, in order, letting the code run in between. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const [next] = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at);
      if (next === undefined) break;
      this.#timers.delete(next[0]);
      this.#now = Math.max(this.#now, next[1].at);
      next[1].fire();
    }
    this.#now = end;
    await settle();
  }
}

/** Lets everything that waits for nothing but promises run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/**
 * A node in memory: namespaces by pod uid, a capture that knows whether anyone listens, and a journal of everything that was asked,
 * so that tests can say what came before what.
 */
export class FakeNode {
  readonly clock = new FakeClock();
  readonly journal: string[] = [];
  readonly logged: { level: string; message: string }[] = [];
  readonly netns = new Map<string, Omit<FoundNetns, "close" | "stillHeld">>();
  /** Namespaces found and not closed yet. */
  opened = 0;
  readonly leftovers = new Set<string>();
  readonly held = new Map<Identity, number>();
  readonly closed: number[] = [];
  readonly captured = new Map<string, CaptureRequest>();
  readonly engine = new Map<string, LocalPod>();
  wanted: LocalPod[] = [];
  /** Called at the start of each step, may throw or wait: `enrol uid-a`, `probe uid-a`, … */
  hook: (step: string, signal?: AbortSignal) => unknown = () => undefined;
  metrics: string[] = [];
  #fd = 100;

  readonly enrolment: Enrolment;

  constructor(over: Partial<EnrolmentOptions> = {}) {
    const log = (level: string) => (_fields: object, message: string) => void this.logged.push({ level, message });
    this.enrolment = new Enrolment(
      {
        capture: {
          enrol: async (request, signal) => {
            await this.#step(`enrol ${request.uid}`, signal);
            if (![...this.netns.values()].some(({ path }) => path === request.netnsPath)) {
              throw new MeshError("MESH_NETNS_UNUSABLE", "no such namespace");
            }
            this.captured.set(request.uid, request);
            const of = this.netns.get(request.uid);
            return {
              uid: request.uid,
              backend: request.backend ?? "ebpf",
              netns: { fd: this.#fd++, dev: of?.dev ?? 0n, ino: of?.ino ?? 0n, cookie: 7n },
              addresses: request.addresses,
              listeners: [{ role: "outbound", family: 4, fd: this.#fd++ }],
              originalDestination: { kind: "conntrack" },
              marks: { leave: 1, deliver: 2 },
            } satisfies CapturedPod;
          },
          probe: async (uid, signal) => {
            await this.#step(`probe ${uid}`, signal);
            if (!this.engine.has(uid)) throw new MeshError("MESH_PROBE_FAILED", "nobody listens");
          },
          update: (uid) => this.#step(`update ${uid}`),
          release: async (uid) => {
            await this.#step(`release ${uid}`);
            this.captured.delete(uid);
            this.leftovers.delete(uid);
          },
          collectGarbage: async (live) => {
            await this.#step(`collect ${[...live].sort().join("+")}`);
            const removed = [...this.leftovers].filter((uid) => !live.has(uid));
            for (const uid of removed) this.leftovers.delete(uid);
            return removed;
          },
        },
        findNetns: async ({ uid }, announced) => {
          await this.#step(`find ${uid}${announced === undefined ? "" : ` at ${announced}`}`);
          const found = this.netns.get(uid);
          if (found === undefined) throw new MeshError("MESH_NETNS_NOT_FOUND", "no process of the pod runs yet");
          this.opened++;
          const stillHeld = async () => this.netns.get(uid)?.ino === found.ino;
          return { ...found, stillHeld, close: () => void this.opened-- };
        },
        tunnels: {
          addPod: (local) => {
            this.journal.push(`add ${local.uid}`);
            this.hook(`add ${local.uid}`);
            this.engine.set(local.uid, local);
          },
          updatePod: (local) => {
            this.journal.push(`change ${local.uid}`);
            this.engine.set(local.uid, local);
          },
          removePod: async (uid) => {
            await this.#step(`remove ${uid}`);
            this.engine.delete(uid);
          },
        },
        certificates: {
          hold: (identity) => {
            this.journal.push(`hold ${identity.split("/").at(-1)}`);
            this.held.set(identity, (this.held.get(identity) ?? 0) + 1);
            return () => void this.held.set(identity, (this.held.get(identity) ?? 0) - 1);
          },
        },
        closeDescriptor: (fd) => void this.closed.push(fd),
        clock: this.clock,
        random: () => 0.5,
        slots: new Slots(4),
        log: { info: log("info"), warn: log("warn") },
        metrics: {
          enrolled: (backend) => void this.metrics.push(`enrolled ${backend}`),
          enrolmentFailed: (code) => void this.metrics.push(code),
          probed: (result) => void this.metrics.push(`probed ${result}`),
          repaired: (what) => void this.metrics.push(`repaired ${what}`),
          leftoversRemoved: (count) => void (count > 0 && this.metrics.push(`removed ${count}`)),
        },
        wantedPods: () => this.wanted,
      },
      {
        backend: undefined,
        retry: { firstMs: 100, factor: 2, longestMs: 1000, jitter: 0 },
        verifyMs: 60_000,
        timeoutMs: 5000,
        graceMs: 0,
        collectMs: 3_600_000,
        ...over,
      },
    );
  }

  /** Runs a pod on this node: its processes hold a namespace with this inode. */
  run(uid: string, ino = 11n): void {
    this.netns.set(uid, { path: `/proc/${ino}/ns/net`, dev: 4n, ino });
  }

  want(...pods: LocalPod[]): void {
    this.wanted = pods;
    this.enrolment.reconcile();
  }

  state(uid: string): string | undefined {
    return this.enrolment.rows().find((row) => row.uid === uid)?.state;
  }

  async #step(step: string, signal?: AbortSignal): Promise<void> {
    this.journal.push(step);
    await this.hook(step, signal);
  }
}
