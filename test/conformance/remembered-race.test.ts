/**
 * Remembered decisions as a race: connections keep arriving, from a thread of their own, while decisions change thousands of times.
 * Once `advanceEpoch` has returned, no connection made from then on may get an older decision, however the workers are scheduled.
 */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { describe, expect, it, onTestFinished } from "vitest";
import type { SocketAddress } from "../../src/model/address.ts";
import type { DialDecision, PodHandle } from "../../src/tunnel/engine.ts";
import { watchErrors } from "./support/apps.ts";
import type { CallerResult, CallerWork } from "./support/caller-worker.ts";
import { type EngineKind, enginePairs, engines } from "./support/engines.ts";
import { identity, MeshPki } from "./support/mesh-pki.ts";
import { startMesh } from "./support/mesh-under-test.ts";
import { NodeUnderTest } from "./support/node-under-test.ts";
import { withWorkers } from "./support/workers.ts";

/** Fewer where each costs many times as much (test/native): then less often, and judged by the same rules. */
const flips = Number(process.env["WARREN_TEST_CHANGES"] ?? 3_000);
const fewestConnections = Math.ceil((flips * 2) / 3);

/**
 * One application at every address of 127.128.0.0/9; which of them a connection was sent to is the generation of its decision, and
 * the answer. (Linux: all of 127/8 is local.)
 */
async function startGenerations(): Promise<number> {
  const server = createServer((socket) => {
    const [, b = 0, c = 0, d = 0] = (socket.localAddress ?? "").split(".").map(Number);
    watchErrors(socket).end(String(((b - 128) << 16) | (c << 8) | d));
  });
  server.listen(0, "0.0.0.0");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

function addressOf(generation: number): string {
  return `127.${128 + (generation >> 16)}.${(generation >> 8) & 0xff}.${generation & 0xff}`;
}

function toGeneration(from: PodHandle, generation: number, port: number): DialDecision {
  return {
    kind: "dial",
    label: generation,
    targets: [{ destination: { address: addressOf(generation), port }, weight: 1 }],
    from,
    purpose: "leave",
    baggage: "",
  };
}

/** Changes decisions until there were enough changes and connections; what the callers saw of it. */
async function flipUnderLoad(
  target: SocketAddress,
  arrivals: () => number,
  flip: (generation: number) => void,
): Promise<CallerResult> {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  flip(1);
  Atomics.store(shared, 0, 1);
  const work: CallerWork = { target, shared, lanes: 12 };
  const callers = new Worker(new URL("support/caller-worker.ts", import.meta.url), { workerData: work });
  const result = once(callers, "message") as Promise<[CallerResult]>;
  await once(callers, "online");
  for (let generation = 2; generation <= flips || arrivals() < fewestConnections; generation += 1) {
    // Before the change is told, and only after it was told does it count.
    flip(generation);
    Atomics.store(shared, 0, generation);
    // A few connections between two changes: some are repeated from memory, some are judged while the next change comes.
    const until = arrivals() + (generation % 5);
    for (let turns = 0; turns < 8 && arrivals() < until; turns += 1) await nextTurn();
  }
  Atomics.store(shared, 1, 1);
  const [seen] = await result;
  await callers.terminate();
  return seen;
}

function checkSeen(seen: CallerResult): void {
  expect(seen.stale).toEqual([]);
  expect(seen.unanswered).toBe(0);
  expect(seen.connections).toBeGreaterThanOrEqual(fewestConnections);
}

describe.each(engines)("decisions of the $name engine that change under load", (kind: EngineKind) => {
  it("are never repeated for a connection made after the change", async () => {
    const port = await startGenerations();
    const pki = await MeshPki.create();
    const who = identity("caller");
    const node = new NodeUnderTest(withWorkers(kind, 2));
    const pod = await node.addPod(node.addCredential(await pki.credential(who)), who);
    let current = 0;
    node.decideFlow = () => ({
      ...toGeneration(pod.handle, current, port),
      remember: { fields: ["destination"], epoch: current },
    });
    const seen = await flipUnderLoad(
      pod.outbound,
      () => node.engine.stats().flowsTotal,
      (generation) => {
        current = generation;
        node.engine.advanceEpoch(generation);
      },
    );
    checkSeen(seen);
    // Both ways were taken often: repeated from memory, and asked for.
    const stats = node.engine.stats();
    expect(stats.rememberedHitsTotal).toBeGreaterThan(fewestConnections / 20);
    expect(stats.decisionsTotal).toBeGreaterThan(fewestConnections / 20);
  });
});

describe.each(enginePairs)("decisions for CONNECTs from $name that change under load", (kinds) => {
  it("are never repeated for a connection made after the change", async () => {
    const port = await startGenerations();
    const { client, server, caller, callee } = await startMesh({
      client: withWorkers(kinds.client, 2),
      server: withWorkers(kinds.server, 2),
    });
    const carry = client.decideFlow;
    client.decideFlow = (event) => {
      const decision = carry(event);
      return decision && { ...decision, remember: { fields: ["destination"], epoch: 1 } };
    };
    let current = 0;
    server.decideConnect = () => ({
      ...toGeneration(callee.handle, current, port),
      remember: { fields: ["authority", "peer-identity"], epoch: current },
    });
    const seen = await flipUnderLoad(
      caller.outbound,
      () => server.engine.stats().flowsTotal,
      (generation) => {
        current = generation;
        server.engine.advanceEpoch(generation, callee.handle);
      },
    );
    checkSeen(seen);
    expect(server.engine.stats().rememberedHitsTotal).toBeGreaterThan(fewestConnections / 20);
    expect(client.engine.stats().decisionsTotal).toBeLessThan(200);
  });
});
