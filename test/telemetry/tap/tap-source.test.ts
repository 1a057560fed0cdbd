import { setImmediate } from "node:timers/promises";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { ObservedFlow } from "../../../src/telemetry/observed/observed-traffic.ts";
import type { TapEvent } from "../../../src/telemetry/tap/tap-event.ts";
import type { TapFilter } from "../../../src/telemetry/tap/tap-filter.ts";
import { type Tap, TapSource, type TapSourceOptions } from "../../../src/telemetry/tap/tap-source.ts";
import { closed, label, localPod } from "../support.ts";

const start = Date.UTC(2026, 0, 1);
const everything = { filter: {}, maxRate: 0, maxEvents: 0 };
const sources: TapSource[] = [];

afterEach(() => {
  for (const source of sources.splice(0)) source.stop();
});

function tapped(change: Partial<TapSourceOptions> = {}) {
  const open: ObservedFlow[] = [];
  let listings = 0;
  const source = new TapSource(
    {
      now: () => start,
      openFlows: () => {
        listings++;
        return open;
      },
      workloadByAddress: () => undefined,
    },
    { maxRate: 1000, queue: 100, taps: 4, lookEvery: 1, ...change },
  );
  sources.push(source);
  const close = (record = closed({ arrivedAt: start }), judged = label()) =>
    source.flowClosed(record, judged, localPod("api"));
  return { source, open, close, listings: () => listings };
}

function kinds(tap: Tap | undefined): string[] {
  return (tap?.take().events ?? []).map(({ happened }) => happened.kind);
}

describe("TapSource", () => {
  it("looks at nothing while nobody watches, nor after the last watcher left", () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const { source, close, listings } = tapped();
    close();
    vi.advanceTimersByTime(1000);
    expect(listings()).toBe(0);
    const tap = source.open(everything);
    vi.advanceTimersByTime(1000);
    const looked = listings();
    expect(looked).toBeGreaterThan(0);
    tap?.close();
    vi.advanceTimersByTime(1000);
    expect(listings()).toBe(looked);
    expect(source.watched).toBe(false);
  });

  it("tells of a flow's beginning once, whether it was seen open or only at its end", async () => {
    const { source, open, close } = tapped();
    const tap = source.open(everything);
    const record = closed({ arrivedAt: start });
    open.push({ ...record, judged: label(), localPod: localPod("api") });
    await expect.poll(() => kinds(tap)).toEqual(["opened"]);
    open.splice(0);
    close(record);
    expect(kinds(tap)).toEqual(["ended"]);
    close();
    expect(kinds(tap)).toEqual(["opened", "ended"]);
  });

  it("tells of a flow's beginning once it is known how it is secured", async () => {
    const { source, open, listings } = tapped();
    const tap = source.open(everything);
    const target = { address: "10.0.0.9", port: 15_008 };
    const outbound = { role: "outbound", target, arrivedAt: start } as const;
    const flow = (over: Parameters<typeof closed>[0]) => ({
      ...closed({ ...outbound, ...over }),
      judged: label(),
      localPod: localPod("web"),
    });
    open.push(flow({ peer: "", tunnel: 0 }));
    const looked = listings();
    await expect.poll(() => listings()).toBeGreaterThan(looked + 2);
    expect(kinds(tap)).toEqual([]);
    open.splice(0, 1, flow({ tunnel: 3 }));
    const told: TapEvent[] = [];
    await expect.poll(() => told.push(...(tap?.take().events ?? []))).toBe(1);
    expect(told).toMatchObject([{ security: "mutual_tls", happened: { kind: "opened" } }]);
  });

  it("tells of beginning and end once each when flows end between the slices of a look", async () => {
    const many = Array.from({ length: 300 }, () => closed({ arrivedAt: start }));
    const told = new Map<number, string[]>();
    const looks = { begun: 0, over: 0 };
    const gone = new Set<unknown>();
    const source = new TapSource(
      {
        now: () => start,
        workloadByAddress: () => undefined,
        *openFlows() {
          looks.begun += 1;
          for (const record of many) {
            if (gone.has(record)) continue;
            // A flow that takes this long to read ends the slice.
            for (const began = performance.now(); performance.now() - began < 0.1; );
            yield { ...record, judged: label(), localPod: localPod("api") };
          }
          looks.over += 1;
        },
      },
      { maxRate: 10_000, queue: 10_000, taps: 1, lookEvery: 1 },
    );
    sources.push(source);
    const tap = source.open(everything);
    const end = (record: (typeof many)[number] | undefined) => {
      gone.add(record);
      if (record !== undefined) source.flowClosed(record, label(), localPod("api"));
    };
    // Soon enough to be in the middle of the look.
    await expect.poll(() => looks.begun, { interval: 1 }).toBeGreaterThan(0);
    // From both ends of what is looked through: some were told of already, some are still to come.
    for (let index = 0; index < many.length / 2; index++) {
      end(many[index]);
      end(many[many.length - 1 - index]);
      if (index % 10 === 0) await setImmediate();
    }
    await expect.poll(() => looks.over).toBe(looks.begun);
    for (const { flow, happened } of tap?.take().events ?? [])
      told.set(flow, [...(told.get(flow) ?? []), happened.kind]);
    expect(told.size).toBe(many.length);
    for (const kinds of told.values()) expect(kinds).toEqual(["opened", "ended"]);
  });

  it("does not call new what was open before anybody watched", async () => {
    const { source, open, close, listings } = tapped();
    const record = closed({ arrivedAt: start - 1 });
    open.push({ ...record, judged: label(), localPod: localPod("api") });
    const tap = source.open(everything);
    await expect.poll(() => listings()).toBeGreaterThan(1);
    close(record);
    expect(kinds(tap)).toEqual(["ended"]);
  });

  it("tells of a refusal as one event", () => {
    const { source, close } = tapped();
    const tap = source.open(everything);
    close(
      closed({ arrivedAt: start, target: undefined, reason: "strict-plaintext", peer: "", role: "inbound-plaintext" }),
    );
    expect(tap?.take().events).toMatchObject([
      { reason: "strict-plaintext", security: "none", happened: { kind: "refused" } },
    ]);
  });

  it("drops what exceeds the rate or the queue, counts it, and goes on", async () => {
    const { source, close } = tapped({ queue: 10 });
    const slow = source.open({ ...everything, maxRate: 4, filter: { verdict: "allowed" } });
    const full = source.open(everything);
    for (let n = 0; n < 10; n++) close();
    const slowBatch = slow?.take();
    expect(slowBatch?.events.length).toBeGreaterThanOrEqual(4);
    expect((slowBatch?.events.length ?? 0) + (slowBatch?.dropped ?? 0)).toBe(20);
    expect(full?.take()).toMatchObject({ dropped: 10, events: { length: 10 } });
    close();
    expect(kinds(full)).toEqual(["opened", "ended"]);
    const more = () => {
      close();
      return kinds(slow).length;
    };
    await expect.poll(more).toBeGreaterThan(0);
  });

  it("ends a tap after as many events as were asked for, and refuses more taps than it may have", () => {
    const { source, close } = tapped({ taps: 1 });
    const tap = source.open({ ...everything, maxEvents: 3 });
    expect(source.open(everything)).toBeUndefined();
    close();
    expect(tap?.ended).toBe(false);
    close();
    expect(tap?.ended).toBe(true);
    close();
    expect(kinds(tap)).toHaveLength(3);
  });

  it("tells a reader once that there is something to take", () => {
    const { source, close } = tapped();
    const tap = source.open(everything);
    const ready = vi.fn();
    tap?.onReady(ready);
    close();
    close();
    expect(ready).toHaveBeenCalledTimes(1);
    tap?.take();
    close();
    expect(ready).toHaveBeenCalledTimes(2);
  });

  it("tells a listener that came late of what waits, whoever was told before", () => {
    const { source, close } = tapped();
    const tap = source.open(everything);
    tap?.onReady(() => undefined);
    close();
    const late = vi.fn();
    tap?.onReady(late);
    expect(late).toHaveBeenCalledTimes(1);
    expect(kinds(tap)).toEqual(["opened", "ended"]);
  });

  const wanted: [string, TapFilter, number][] = [
    ["everything", {}, 2],
    ["a source by its pod", { source: { namespace: "production", workload: "web" } }, 2],
    ["a source by its owner", { source: { workload: "Deployment/web" } }, 2],
    ["another source", { source: { workload: "Deployment/api" } }, 0],
    ["a destination", { destination: { workload: "api" } }, 2],
    ["either end", { party: { workload: "Deployment/api" } }, 2],
    ["nobody of these", { party: { workload: "Deployment/other" } }, 0],
    ["another namespace", { party: { namespace: "outside" } }, 0],
    ["its port", { destinationPort: 8080 }, 2],
    ["another port", { destinationPort: 80 }, 0],
    ["its security", { security: "mutual_tls" }, 2],
    ["another security", { security: "none" }, 0],
    ["the destination's side", { side: "destination" }, 2],
    ["the source's side", { side: "source" }, 0],
    ["the pod", { podUid: "uid-api" }, 2],
    ["another pod", { podUid: "uid-web" }, 0],
    ["refusals", { verdict: "refused" }, 0],
  ];
  it.each(wanted)("filters by %s", (_name, filter, count) => {
    const { source, close } = tapped();
    const tap = source.open({ ...everything, filter });
    close();
    expect(tap?.take().events).toHaveLength(count);
  });

  it("copies what it keeps: records are reused", () => {
    const { source, close } = tapped();
    const tap = source.open(everything);
    const at = { address: "10.244.0.7", port: 1 };
    close(closed({ arrivedAt: start, source: at }));
    at.port = 2;
    const sources = (tap?.take().events ?? []).map((event: TapEvent) => event.source.address.port);
    expect(sources).toEqual([1, 1]);
  });
});
