import { describe, expect, test } from "vitest";
import { Leader, type LeaderOptions, leaderDefaults } from "../../../src/control/kubernetes/leader.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { clusterKinds, clusterTimeout, startApiServer } from "../../support/kubernetes-api/cluster.ts";
import { clientOf, stopLater, until } from "./support.ts";

type Reached = { readonly url: string; readonly root: string; readonly adminToken: string };

async function candidate(cluster: Reached, identity: string, options: Partial<LeaderOptions> = {}) {
  const turns: boolean[] = [];
  const { api, log } = await clientOf(cluster);
  const leader = stopLater(
    new Leader(
      { api, clock: systemClock, random: Math.random, log, onChange: (leading) => turns.push(leading) },
      {
        ...leaderDefaults,
        leaseMs: 2000,
        renewWithinMs: 1000,
        retryMs: 20,
        ...options,
        namespace: "default",
        identity,
      },
    ),
  );
  return { leader, turns, log };
}

describe.each(clusterKinds)("against $name", clusterTimeout, ({ start }) => {
  test("one of many leads, and when it gives up another does", async () => {
    const cluster = await start();
    const all = await Promise.all(
      ["a", "b", "c"].map((name) => candidate(cluster, name, { leaseMs: 60_000, renewWithinMs: 30_000 })),
    );
    for (const { leader } of all) leader.start();
    const leading = () => all.filter(({ leader }) => leader.leading);
    await expect.poll(() => leading().length, until).toBe(1);
    const [first] = leading();
    await first?.leader.stop();
    expect(first?.turns).toEqual([true, false]);
    // Without waiting for the Lease to end: that is a minute.
    await expect.poll(() => leading().length, until).toBe(1);
    expect(leading()[0]).not.toBe(first);
  });
});

test("who vanishes without a word is followed by another after the Lease has ended, not before", async () => {
  const server = await startApiServer();
  server.apply({
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name: "warren-control" },
    spec: { holderIdentity: "gone", leaseDurationSeconds: 1, renewTime: "2001-01-01T00:00:00.000000Z" },
  });
  const { leader, turns } = await candidate(server, "b");
  const began = performance.now();
  leader.start();
  await expect.poll(() => turns[0], until).toBe(true);
  // An old date proves nothing: the holder's clock may be wrong. Only the time that nothing was renewed counts.
  expect(performance.now() - began).toBeGreaterThan(1990);
  const lease = server.object("coordination.k8s.io/v1", "Lease", "default", "warren-control");
  expect(lease?.["spec"]).toMatchObject({ holderIdentity: "b", leaseTransitions: 1 });
});

test("who cannot renew stops leading, and leads again when it can", async () => {
  const server = await startApiServer();
  const { leader, turns, log } = await candidate(server, "a", { leaseMs: 6000, renewWithinMs: 3000 });
  leader.start();
  await expect.poll(() => turns.at(-1), until).toBe(true);
  await server.restart(async () => {
    await expect.poll(() => turns.at(-1), until).toBe(false);
    expect(log.messages("warn").join()).toMatch(/no longer leading/);
  });
  await expect.poll(() => turns.at(-1), until).toBe(true);
});

test("a moment without the API costs nobody the lead", async () => {
  const server = await startApiServer();
  const { leader, turns } = await candidate(server, "a", { renewWithinMs: 30_000 });
  leader.start();
  await expect.poll(() => turns, until).toEqual([true]);
  server.faults.add({ verb: "get", plural: "leases", times: 3 }, { kind: "reset" });
  const before = server.requests.length;
  await expect.poll(() => server.requests.length - before, until).toBeGreaterThan(8);
  expect(turns).toEqual([true]);
});
