import { describe, expect, it, vi } from "vitest";
import type { Answer, AnswerKind } from "../../../src/node/inspection/inspection-session.ts";
import { trafficAnswers } from "../../../src/node/inspection/traffic-answers.ts";
import { ObservedTraffic } from "../../../src/telemetry/observed/observed-traffic.ts";
import { RefusedRequests } from "../../../src/telemetry/observed/refused-requests.ts";
import { TapSource } from "../../../src/telemetry/tap/tap-source.ts";
import type { CutConnections, ListTraffic, Tap } from "../../../src/xds/gen/warren/inspect/v1/inspect_pb.ts";
import { requestRecord } from "../../telemetry/fixtures.ts";
import { closed, label, localPod } from "../../telemetry/support.ts";

const limits = { maxRate: 1000, queue: 100, taps: 1, lookEvery: 1000 };

function agent() {
  const taps = new TapSource({ now: Date.now, openFlows: () => [], workloadByAddress: () => undefined }, limits);
  const observed = new ObservedTraffic({ now: Date.now }, { rows: 1000, peersPerPort: 1000 });
  const refused = new RefusedRequests(
    { now: Date.now, workloadByAddress: () => undefined },
    { rows: 1000, peersPerPort: 1000 },
  );
  const cut = vi.fn(async () => 2);
  const sockets = { list: async () => ({ uncarried: [], listening: [] }), cut };
  const answers = trafficAnswers({
    taps,
    observed,
    refused,
    sockets,
    driver: () => undefined,
    hostAddresses: async () => ["10.244.1.1"],
  });
  return { taps, observed, refused, cut, answers };
}

async function all(answer: Answer | undefined): Promise<AnswerKind[]> {
  const messages: AnswerKind[] = [];
  for await (const message of answer ?? []) messages.push(message);
  return messages;
}

const never = new AbortController().signal;

describe("what an agent answers about traffic", () => {
  it("tells of traffic in pages, the first with what it can't know", async () => {
    const { observed, answers } = agent();
    for (let port = 1; port <= 450; port++) {
      observed.flowClosed(
        closed({ destination: { address: "10.244.1.2", port }, arrivedAt: Date.now() }),
        label(),
        localPod("api"),
      );
    }
    const pages = await all(answers.listTraffic?.({ window: 0n, namespace: "" } as ListTraffic, never));
    const sizes = pages.map((page) =>
      page.case === "traffic" ? [page.value.rows?.length, page.value.coverage !== undefined] : [],
    );
    const [first] = pages;
    const told = first?.case === "traffic" ? first.value.coverage?.hostAddresses : [];
    expect(told).toEqual([Uint8Array.of(10, 244, 1, 1)]);
    expect(sizes).toEqual([
      [200, true],
      [200, false],
      [50, false],
    ]);
    const other = await all(answers.listTraffic?.({ window: 0n, namespace: "elsewhere" } as ListTraffic, never));
    expect(other).toMatchObject([{ case: "traffic", value: { rows: [] } }]);
  });

  it("tells of refused requests after the connections, in pages of their own", async () => {
    const { refused, answers } = agent();
    for (let n = 0; n < 201; n++) {
      refused.requestEnded(requestRecord({ address: `192.0.2.${n % 250}`, port: 40_000 }), localPod("api"));
    }
    const pages = await all(answers.listTraffic?.({ window: 0n, namespace: "production" } as ListTraffic, never));
    const told = pages.map((page) => (page.case === "traffic" ? (page.value.refusedRequests ?? []) : []));
    expect(told.map((rows) => rows.length)).toEqual([0, 200, 1]);
    expect(told[2]?.[0]).toMatchObject({
      podName: "api",
      port: 8080,
      requests: 1n,
      last: { method: "POST", host: "api", path: "/orders", status: 403 },
      lastReason: "policy-denied",
      lastPolicy: "production/api-authz",
    });
    const other = await all(answers.listTraffic?.({ window: 0n, namespace: "elsewhere" } as ListTraffic, never));
    expect(other).toHaveLength(1);
  });

  it("ends a tap with its ask, and leaves nothing behind", async () => {
    const { taps, answers } = agent();
    const stop = new AbortController();
    const tap = { filter: undefined, verdict: 0, maxRate: 0, maxEvents: 0n } as Tap;
    const messages = all(answers.tap?.(tap, stop.signal));
    await expect.poll(() => taps.watched).toBe(true);
    await expect(all(answers.tap?.(tap, never))).rejects.toMatchObject({ code: "MESH_INSPECT_BUSY" });
    taps.flowClosed(closed({ arrivedAt: Date.now() + 1 }), label(), localPod("api"));
    await expect.poll(() => taps.watched).toBe(true);
    stop.abort();
    await messages;
    expect(taps.watched).toBe(false);
  });

  it("ends a tap by itself after as many events as were asked for", async () => {
    const { taps, answers } = agent();
    const messages = all(answers.tap?.({ filter: undefined, verdict: 0, maxRate: 0, maxEvents: 2n } as Tap, never));
    await expect.poll(() => taps.watched).toBe(true);
    taps.flowClosed(closed({ arrivedAt: Date.now() + 1 }), label(), localPod("api"));
    expect(await messages).toMatchObject([
      { case: "tap", value: { events: [{ kind: { case: "opened" } }, { kind: { case: "ended" } }] } },
    ]);
    expect(taps.watched).toBe(false);
  });

  it("cuts nobody's connections when nobody is named", async () => {
    const { cut, answers } = agent();
    expect(await all(answers.cutConnections?.({ podUids: [] as string[] } as CutConnections, never))).toEqual([]);
    expect(cut).not.toHaveBeenCalled();
  });
});
