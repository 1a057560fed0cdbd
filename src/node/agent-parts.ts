/** What the agent is put together from where the kernel, the disk and other machines begin. `parts.ts` makes the real ones. */
import type { Capture } from "../capture/capture.ts";
import type { CertificateAuthority } from "../identity/certificate-store.ts";
import type { FlowLabel } from "../model/flow-label.ts";
import type { MeshView } from "../model/mesh.ts";
import type { LocalPod } from "../model/workload.ts";
import type { AccessExport } from "../telemetry/access-log.ts";
import type { FlowRecord } from "../telemetry/flow-record.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Driver, DriverDeps, DriverOptions } from "../tunnel/driver.ts";
import type { CniServerDeps } from "./cni/server.ts";
import type { ChosenEngine } from "./engine-choice.ts";
import type { EnrolmentDeps } from "./enrolment.ts";
import type { InspectionClientDeps } from "./inspection/inspection-client.ts";
import type { FoundNetns } from "./pod-capture.ts";
import type { ReportingSource, RequestTelemetry } from "./reporting.ts";
import type { Succession, SuccessionDeps } from "./succession.ts";
import type { TrafficWatchDeps } from "./traffic-watch.ts";
import type { ZdsClientDeps } from "./zds/zds-client.ts";

/** The parts that touch the kernel, the disk and other machines; replaced in tests. */
export interface AgentParts {
  readonly openCapture: () => Promise<Capture>;
  readonly findNetns: EnrolmentDeps["findNetns"];
  /** Where pods come from instead of the mesh; undefined where the mesh says which to capture. */
  readonly handover: (() => PodHandover) | undefined;
  /** The door for the CNI plugin and what installs that; undefined where pods are captured without it. */
  readonly cni: ((deps: Pick<CniServerDeps, "answer" | "log">) => CniDoor) | undefined;
  /** Other agents of this node; undefined where there can be none. */
  readonly succession?: (log: SuccessionDeps["log"]) => Succession;
  readonly source: ReportingSource;
  /** The cgroup whose probes are exempt; undefined while no kubelet is seen. */
  readonly findKubelet: (capture: Capture) => Promise<string | undefined>;
  readonly engine: (capture: Capture, warn: (message: string) => void) => Promise<ChosenEngine>;
  /** Reads requests where policy asks about them. */
  readonly requests: (capture: Capture, told: RequestTelemetry) => Promise<NonNullable<DriverDeps["requests"]>>;
  readonly driver: (deps: DriverDeps, options: DriverOptions) => Driver;
  readonly authority: CertificateAuthority & { stop(): void };
  /** What is sent to a collector; undefined where nothing is. */
  readonly otlp?: ((deps: OtlpDeps) => Promise<RunningExport>) | undefined;
  /** Looks into a captured pod's network namespace. */
  readonly podSockets: TrafficWatchDeps["podSockets"];
  /** The stream over which control asks for what people want to see. */
  readonly inspection: (deps: Pick<InspectionClientDeps, "answers" | "hello" | "log">) => {
    start(): void;
    stop(): Promise<void>;
  };
  /** Gives back what only the start needed of the C heap, and of the pages of the program; called once, at its end. */
  readonly trimMemory: () => void;
}

export interface OtlpDeps {
  readonly log: Logger;
  readonly version: string;
  /** The page of metrics, in the classic format. */
  readonly page: () => AsyncIterable<string | Buffer>;
}

export interface RunningExport extends AccessExport {
  flowClosed(record: FlowRecord, label: FlowLabel, pod: LocalPod | undefined): void;
  /** For `warren_otlp_*`. */
  stats(): Readonly<Record<string, number>>;
  /** Before what metrics are read from stops. */
  stopMetrics(): Promise<void>;
  stop(): Promise<void>;
}

/** Pods that another's CNI agent hands over. */
export interface PodHandover {
  localPods(view: MeshView): readonly LocalPod[];
  findNetns(pod: LocalPod): Promise<FoundNetns>;
  /** Resolves when it is known which pods there are. */
  start(deps: Pick<ZdsClientDeps, "enrolment" | "log">): Promise<void>;
  stop(): Promise<void>;
  close(): void;
}

/** What lets the container runtime ask before it starts a pod. */
export interface CniDoor {
  readonly server: { start(): Promise<void>; stop(): Promise<void> };
  readonly installer: { start(): Promise<void>; stop(): Promise<void>; uninstall(): Promise<void> } | undefined;
}
