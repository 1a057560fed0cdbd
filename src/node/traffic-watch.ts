/**
 * Everything of the agent that watches traffic for people: what was observed of each port and peer, live taps, and a look at what pods
 * do past the mesh. It hears what the access log hears; taps and looks cost something only while somebody asks.
 */
import type { PodSocketsReader } from "../capture/pod-sockets.ts";
import { hostAddresses } from "../lib/host-addresses.ts";
import type { FlowLabel } from "../model/flow-label.ts";
import type { MeshView } from "../model/mesh.ts";
import type { LocalPod } from "../model/workload.ts";
import type { FlowRecord } from "../telemetry/flow-record.ts";
import { ObservedTraffic } from "../telemetry/observed/observed-traffic.ts";
import { RefusedRequests } from "../telemetry/observed/refused-requests.ts";
import type { RequestRecord } from "../telemetry/request-record.ts";
import { TapSource } from "../telemetry/tap/tap-source.ts";
import type { Driver } from "../tunnel/driver.ts";
import type { Answers } from "./inspection/inspection-session.ts";
import { trafficAnswers } from "./inspection/traffic-answers.ts";
import type { PodCaptureDeps } from "./pod-capture.ts";
import { PodNamespaces } from "./pod-namespaces.ts";

export interface TrafficWatchDeps {
  readonly now: () => number;
  readonly view: () => MeshView;
  /** Undefined until the agent has come that far. */
  readonly driver: () => Driver | undefined;
  readonly podSockets: () => Pick<PodSocketsReader, "list" | "cut">;
}

/** About 6 MB when full, some 1.5 KB a row: 250 pods with 16 ports-and-peers each. */
const observedLimits = { rows: 4096, peersPerPort: 256 };
/** About 1 MB when full. */
const refusedLimits = { rows: 512, peersPerPort: 64 };
/** A queue of 4096 events is about 2 MB. */
const tapLimits = { maxRate: 10_000, queue: 4096, taps: 8, lookEvery: 250 };

export class TrafficWatch {
  readonly answers: Answers;
  readonly #observed: ObservedTraffic;
  readonly #refused: RefusedRequests;
  readonly #taps: TapSource;
  readonly #namespaces: PodNamespaces;

  constructor(deps: TrafficWatchDeps) {
    const { now, view, driver } = deps;
    this.#observed = new ObservedTraffic({ now }, observedLimits);
    const workloadByAddress = (address: string) => view().workloadByAddress(address);
    this.#refused = new RefusedRequests({ now, workloadByAddress }, refusedLimits);
    this.#taps = new TapSource({ now, openFlows: () => driver()?.openFlows() ?? [], workloadByAddress }, tapLimits);
    this.#namespaces = new PodNamespaces({ reader: deps.podSockets });
    this.answers = trafficAnswers({
      observed: this.#observed,
      refused: this.#refused,
      taps: this.#taps,
      sockets: this.#namespaces,
      driver,
      hostAddresses: () => hostAddresses(),
    });
  }

  flowClosed(record: FlowRecord, label: FlowLabel, pod: LocalPod | undefined): void {
    this.#observed.flowClosed(record, label, pod);
    this.#taps.flowClosed(record, label, pod);
  }

  requestEnded(record: RequestRecord, pod: LocalPod | undefined): void {
    this.#refused.requestEnded(record, pod);
    this.#taps.requestEnded(record, pod);
  }

  /** The driver, as enrolment sees it. */
  watching(tunnels: PodCaptureDeps["tunnels"]): PodCaptureDeps["tunnels"] {
    return this.#namespaces.watching(tunnels);
  }

  /** Ends all taps. May be called twice. */
  stop(): void {
    this.#taps.stop();
  }
}
