/**
 * What an agent's main thread pays for taps when a connection ends: nothing there to be asked, asked while nobody watches, and while
 * one tap takes it all, in turns. Beside it the time that the thread has for a connection at 10 000 a second.
 *
 *   node bench/programs/tap-cost.ts [--rounds 9] [--connections 1000000] [--json]
 */
import { parseArgs } from "node:util";
import type { FlowRecord } from "../../src/telemetry/flow-record.ts";
import { type Tap, TapSource } from "../../src/telemetry/tap/tap-source.ts";
import { closed, label as flowLabel, localPod } from "../../test/telemetry/support.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "9" },
    connections: { type: "string", default: "1000000" },
    json: { type: "boolean", default: false },
  },
});
const connections = Number(values.connections);

const pod = localPod("api");
const label = flowLabel();
const record = closed({ arrivedAt: Date.now() });

const source = new TapSource(
  { now: Date.now, openFlows: () => [], workloadByAddress: () => undefined },
  { maxRate: 1_000_000_000, queue: 4096, taps: 1, lookEvery: 3_600_000 },
);

/** Nanoseconds a connection. Engines reuse their records, so this does. */
function timed(ended: (one: FlowRecord) => void): number {
  const one: { -readonly [Key in keyof FlowRecord]: FlowRecord[Key] } = { ...record };
  const startedAt = process.hrtime.bigint();
  for (let flow = 1; flow <= connections; flow++) {
    one.flow = flow;
    ended(one);
  }
  return Number(process.hrtime.bigint() - startedAt) / connections;
}

let seen = 0;
let tap: Tap | undefined;
const ways = {
  none: () =>
    timed((one) => {
      seen += one.flow;
    }),
  unwatched: () =>
    timed((one) => {
      seen += one.flow;
      source.flowClosed(one, label, pod);
    }),
  watched: () => {
    tap = source.open({ filter: {}, maxRate: 0, maxEvents: 0 });
    const took = timed((one) => {
      seen += one.flow;
      source.flowClosed(one, label, pod);
      // As often as a stream takes what has gathered, at such a rate.
      if (one.flow % 200 === 0) tap?.take();
    });
    tap?.close();
    return took;
  },
} as const;

const taken = { none: [] as number[], unwatched: [] as number[], watched: [] as number[] };
const names = Object.keys(ways) as (keyof typeof ways)[];
for (const name of names) ways[name]();
for (let round = 0; round < Number(values.rounds); round++) for (const name of names) taken[name].push(ways[name]());
source.stop();

function median(times: readonly number[]): number {
  return times.toSorted((one, other) => one - other)[Math.floor(times.length / 2)] ?? 0;
}

const none = median(taken.none);
const result = {
  connections,
  seen: seen > 0,
  unwatchedNs: Math.max(0, median(taken.unwatched) - none),
  watchedNs: Math.max(0, median(taken.watched) - none),
};
if (values.json) console.log(JSON.stringify(result));
else {
  console.log(`a connection's end while nobody taps      ${result.unwatchedNs.toFixed(1)} ns`);
  console.log(`the same while one tap takes them all     ${result.watchedNs.toFixed(1)} ns`);
}
