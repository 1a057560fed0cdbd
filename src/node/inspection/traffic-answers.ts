/**
 * What the agent answers about traffic: what it has observed, what passes now, and which connections of its pods the mesh does not
 * carry. A tap lives as long as its ask; its reader's pace is the stream's, and what does not fit in between is counted.
 */
import type { PodSocketList } from "../../capture/pod-sockets.ts";
import { systemClock } from "../../lib/clock.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { pause } from "../../lib/pause.ts";
import type { LocalPod } from "../../model/workload.ts";
import type { ObservedTraffic } from "../../telemetry/observed/observed-traffic.ts";
import type { RefusedRequests } from "../../telemetry/observed/refused-requests.ts";
import { longestWindow } from "../../telemetry/observed/sliding-count.ts";
import type { TapSource } from "../../telemetry/tap/tap-source.ts";
import type { Driver } from "../../tunnel/driver.ts";
import type { CutConnections, ListSockets, ListTraffic, Tap } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import type { AnswerKind, Answers } from "./inspection-session.ts";
import {
  tapFilterOf,
  wireCoverage,
  wirePodSockets,
  wireRefusedRequests,
  wireTapEvent,
  wireTrafficRow,
} from "./traffic-messages.ts";

export interface PodSocketsSource {
  list(pod: LocalPod): Promise<PodSocketList>;
  /** Resolves to how many connections were closed. */
  cut(pod: LocalPod): Promise<number>;
}

export interface TrafficSources {
  readonly observed: ObservedTraffic;
  readonly refused: RefusedRequests;
  readonly taps: TapSource;
  readonly sockets: PodSocketsSource;
  /** The node's own, as they are now. */
  readonly hostAddresses: () => Promise<readonly string[]>;
  /** Undefined until the agent has come that far. */
  readonly driver: () => Driver | undefined;
}

/** Rows in one message. */
const pageRows = 200;
/** Events in one message. */
const pageEvents = 100;
/** What is gathered before a message is made: a person's eye is slower. Milliseconds. */
const gatherMs = 20;

export function trafficAnswers(
  sources: TrafficSources,
): Pick<Answers, "tap" | "listTraffic" | "listSockets" | "cutConnections"> {
  return {
    tap: (ask, signal) => tap(sources, ask, signal),
    listTraffic: (ask) => listTraffic(sources, ask),
    listSockets: (ask) => listSockets(sources, ask),
    cutConnections: (ask) => cutConnections(sources, ask),
  };
}

async function* listTraffic(
  { observed, refused, driver, hostAddresses }: TrafficSources,
  ask: ListTraffic,
): AsyncGenerator<AnswerKind> {
  const addresses = await hostAddresses();
  observed.countOpen(driver()?.flows() ?? []);
  const window = ask.window === 0n ? longestWindow : Math.min(Number(ask.window), longestWindow);
  const wanted = ({ pod }: { readonly pod: LocalPod }) => ask.namespace === "" || pod.namespace === ask.namespace;
  const rows = [...observed.rows(window)].filter(wanted);
  const requests = [...refused.rows(window)].filter(wanted);
  const coverage = wireCoverage(observed, addresses);
  yield { case: "traffic", value: { coverage, rows: rows.slice(0, pageRows).map(wireTrafficRow) } };
  for (let first = pageRows; first < rows.length; first += pageRows) {
    yield { case: "traffic", value: { rows: rows.slice(first, first + pageRows).map(wireTrafficRow) } };
  }
  for (let first = 0; first < requests.length; first += pageRows) {
    const refusedRequests = requests.slice(first, first + pageRows).map(wireRefusedRequests);
    yield { case: "traffic", value: { refusedRequests } };
  }
}

async function* listSockets(sources: TrafficSources, ask: ListSockets): AsyncGenerator<AnswerKind> {
  const wanted = (pod: LocalPod) => ask.namespace === "" || pod.namespace === ask.namespace;
  for (const pod of podsMeant(sources, ask.podUids).filter(wanted)) {
    const found = await sources.sockets.list(pod).catch(messageOf);
    yield { case: "sockets", value: { pods: [wirePodSockets(pod, found)] } };
  }
}

async function* cutConnections(sources: TrafficSources, { podUids }: CutConnections): AsyncGenerator<AnswerKind> {
  // Naming nobody must not mean everybody.
  if (podUids.length === 0) return;
  for (const pod of podsMeant(sources, podUids)) {
    let closed = 0;
    let error = "";
    try {
      closed = await sources.sockets.cut(pod);
    } catch (thrown) {
      error = messageOf(thrown);
    }
    yield { case: "connectionsCut", value: { podUid: pod.uid, closed: BigInt(closed), error } };
  }
}

function podsMeant({ driver }: TrafficSources, uids: readonly string[]): LocalPod[] {
  const pods = [...(driver()?.pods() ?? [])];
  return uids.length === 0 ? pods : pods.filter(({ uid }) => uids.includes(uid));
}

async function* tap(sources: TrafficSources, ask: Tap, signal: AbortSignal): AsyncGenerator<AnswerKind> {
  const { maxRate } = ask;
  const opened = sources.taps.open({ filter: tapFilterOf(ask), maxRate, maxEvents: Number(ask.maxEvents) });
  if (opened === undefined) throw new MeshError("MESH_INSPECT_BUSY", "this agent serves no more taps; end another one");
  let wake = (): void => {};
  signal.addEventListener("abort", () => wake(), { once: true });
  try {
    while (!signal.aborted) {
      const ready = new Promise<void>((resolve) => (wake = resolve));
      opened.onReady(wake);
      await ready;
      if (signal.aborted) return;
      await pause(systemClock, gatherMs, signal);
      const { events, dropped } = opened.take();
      for (let first = 0; first < Math.max(events.length, 1); first += pageEvents) {
        const page = events.slice(first, first + pageEvents);
        yield { case: "tap", value: { events: page.map(wireTapEvent), dropped: BigInt(first === 0 ? dropped : 0) } };
      }
      if (opened.ended) return;
    }
  } finally {
    opened.close();
  }
}
