/**
 * The native engine under churn, for as long as wanted: connections of all kinds, certificates renewed, states advanced, tunnels cut, pods
 * added and removed. At rest after each cycle it must be where it was after the first: what it counts and its descriptors exactly, its
 * anonymous memory within a bound. `WARREN_SOAK_SECONDS` for longer than the half minute of a CI run.
 */
import { describe, expect, it } from "vitest";
import { Child, echoChild } from "../conformance/support/child.ts";
import { identity, MeshPki } from "../conformance/support/mesh-pki.ts";
import { churn, seeded } from "./churn.ts";

const seconds = Number(process.env["WARREN_SOAK_SECONDS"] ?? 30);
const cycleSeconds = 3;
const disturbEveryMs = 400;
const seed = 20_261_122;
/** Of the anonymous memory at the first rests: what V8 and the C library keep differs from rest to rest by a few percent. */
const mostGrowth = 1.05;
const rests = 3;

interface Rest {
  readonly descriptors: number[];
  readonly anonymous: number[];
}

describe("the native engine under churn", () => {
  it("is at each rest where it was at the first", { timeout: (seconds + 600) * 1_000 }, async () => {
    const pki = await MeshPki.create();
    const app = await echoChild();
    const options = {
      limits: { flows: 20_000, flowsPerPod: 20_000, tunnelsPerGroup: 16 },
      timeouts: { tunnelIdle: 200, connectAnswer: 20_000, decision: 20_000, peerBackoff: 1, peerBackoffMax: 5 },
    };
    const [{ child: server }, { child: client }] = await Promise.all([Child.start("native"), Child.start("native")]);
    const nodes = [client, server];
    const papers = {
      caller: await pki.credential(identity("caller")),
      callee: await pki.credential(identity("callee")),
    };
    const { hbone } = await server.startEngine(papers.callee, { kind: "dial", app }, options, true);
    const carry = { kind: "carry", peer: hbone, identity: papers.callee.identity } as const;
    const { outbound } = await client.startEngine(papers.caller, carry, options, true);
    const reports = () => Promise.all(nodes.map((node) => node.report()));
    const fresh = await reports();

    const rest = async (): Promise<Rest> => {
      await expect
        .poll(
          async () =>
            (await reports()).map(({ stats, descriptors }, i) => ({
              flows: stats.flowsOpen,
              tunnels: stats.tunnelsOpen,
              buffered: stats.bufferedBytes,
              counted: stats.memoryBytes - (fresh[i]?.stats.memoryBytes ?? 0),
              // Node has closed one of its own since its start.
              leaked: Math.max(0, descriptors - (fresh[i]?.descriptors ?? 0)),
            })),
          { interval: 50, timeout: 60_000 },
        )
        .toEqual(nodes.map(() => ({ flows: 0, tunnels: 0, buffered: 0, counted: 0, leaked: 0 })));
      const all = await reports();
      for (const [i, { stats, ended }] of all.entries()) {
        // Every flow ended with exactly one record; those that were shed have one and were none.
        const records = Object.values(ended).reduce((sum, count) => sum + count, 0);
        expect(records).toBe(stats.flowsTotal + stats.shedTotal);
        expect(stats).toMatchObject({ pods: fresh[i]?.stats.pods, credentials: 1 });
      }
      return {
        descriptors: all.map(({ descriptors }) => descriptors),
        anonymous: await Promise.all(nodes.map((node) => node.anonymousMemory())),
      };
    };

    const random = seeded(seed);
    const seen: Rest[] = [];
    const tally = { opened: 0, whole: 0, broken: 0 };
    const end = performance.now() + seconds * 1_000;
    while (performance.now() < end || seen.length < 2 * rests) {
      const until = performance.now() + cycleSeconds * 1_000;
      const moved = churn(outbound, { until, callers: 32, idle: 400, random });
      while (performance.now() < until) {
        await new Promise((resolve) => {
          setTimeout(resolve, disturbEveryMs);
        });
        if (random() < 0.5) await client.disturb(await pki.credential(identity("caller")));
        else await server.disturb(await pki.credential(identity("callee")));
      }
      const { opened, whole, broken } = await moved;
      tally.opened += opened;
      tally.whole += whole;
      tally.broken += broken;
      seen.push(await rest());
    }
    // Most connections live through it: only those that were in a tunnel when it was cut may break.
    expect(tally.whole, JSON.stringify(tally)).toBeGreaterThan(tally.opened / 2);
    const hits = (await reports()).map(({ stats }) => stats.rememberedHitsTotal);
    expect(Math.min(...hits)).toBeGreaterThan(tally.opened / 4);
    expect(new Set(seen.slice(1).map(({ descriptors }) => descriptors.join("/"))).size).toBe(1);
    for (const [i, name] of ["client", "server"].entries()) {
      const memory = seen.map(({ anonymous }) => anonymous[i] ?? 0);
      const first = Math.max(...memory.slice(0, rests));
      const last = Math.min(...memory.slice(-rests));
      expect(
        last / first,
        `${name}: ${memory.map((bytes) => Math.round(bytes / 1024)).join(" ")} KiB`,
      ).toBeLessThanOrEqual(mostGrowth);
    }
    process.stdout.write(
      `soak: ${seen.length} cycles, ${tally.opened} connections, ${tally.broken} broken by cuts; anonymous KiB ${seen.map(({ anonymous }) => anonymous.map((bytes) => Math.round(bytes / 1024)).join("/")).join(" ")}\n`,
    );
  });
});
