/**
 * The typed face of `native/engine`: what the addon takes and gives, declared by hand beside its only user. Arguments are plain
 * numbers, texts and bytes; events come back as records in a buffer (`records.ts`).
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { MeshError, messageOf } from "../../lib/errors.ts";
import type { SocketAddress } from "../../model/address.ts";
import type { ReasonInfo } from "../../model/reason.ts";
import type {
  CredentialHandle,
  CredentialSpec,
  EngineOptions,
  EngineStats,
  FlowId,
  GroupHandle,
  GroupSpec,
  PodHandle,
  PodLoad,
  PodSpec,
} from "../engine.ts";

export interface NativeOptions extends EngineOptions {
  /** The reason table in index order. */
  readonly reasons: readonly { readonly code: string; readonly status: ReasonInfo["status"] }[];
}

export interface NativeFlowFilter {
  /** 0 for any. */
  readonly pod: number;
  readonly tunnel: number;
  /** Index of the role, -1 for any. */
  readonly role: number;
  /** Empty for any. */
  readonly peer: string;
}

export interface NativePodChange {
  readonly addresses: readonly string[] | undefined;
  /** 0 for unchanged. */
  readonly credential: CredentialHandle | 0;
}

/** `Engine` of the addon. Reasons are indexes of the table; epochs, handles and ids are numbers. */
export interface NativeEngine {
  addPod(spec: PodSpec): PodHandle;
  updatePod(pod: PodHandle, change: NativePodChange): void;
  /** A `podGone` record follows. */
  removePod(pod: PodHandle, graceMs: number, reason: number): void;
  addCredential(): CredentialHandle;
  setCredential(credential: CredentialHandle, spec: CredentialSpec): void;
  removeCredential(credential: CredentialHandle): void;
  group(spec: { pod: GroupSpec["pod"]; peer: SocketAddress; expectedIdentities: readonly string[] }): GroupHandle;
  releaseGroup(group: GroupHandle): void;
  /** Records as `decision-encoder.ts` writes them; false if the addon could not read them. */
  decide(records: Uint8Array, length: number): boolean;
  /** Pod 0: all. */
  advanceEpoch(epoch: number, pod: PodHandle | 0): void;
  flows(filter: NativeFlowFilter): Uint8Array;
  /** One row for each class of flows, how many each has, and their ids class by class. */
  flowClasses(outbound: boolean): { rows: Uint8Array; counts: Float64Array; flows: Float64Array };
  closeFlows(flows: Float64Array, reason: number): void;
  /** The reader of a handed-over flow is done with it: what it wrote is delivered first if it `finished` writing. */
  leaveFlow(flow: FlowId, reason: number, finished: boolean): void;
  /** The end of a handed-over flow has been heard: its socket may go. */
  heard(flow: FlowId): void;
  tunnels(): Uint8Array;
  closeTunnels(tunnels: Float64Array, reason: number): void;
  stats(): EngineStats;
  podLoads(): readonly PodLoad[];
  drain(): void;
  /** Synchronous; events of it can still be taken. */
  stop(): void;
  /** Copies whole records; 0 when there are none left, and then `wake` is called for the next. */
  takeEvents(into: Uint8Array): number;
}

export interface EngineAddon {
  readonly Engine: new (options: NativeOptions, wake: () => void) => NativeEngine;
  /** Versions of the headers that the addon was compiled against. */
  readonly nghttp2Header: string;
  readonly openSslHeader: string;
}

/** The addon cannot run in this process: `--engine typescript` can. */
export class EngineUnavailable extends MeshError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("MESH_ENGINE_UNAVAILABLE", message, options);
  }
}

/** The built addon, three folders above this file from `src/` and from `dist/` alike. */
export const addonPath: string = fileURLToPath(
  new URL("../../../build/native/addons/warren_engine.node", import.meta.url),
);

/** Loads the addon; the same object for every caller in the process. Throws EngineUnavailable. */
export function loadEngineAddon(path: string = process.env["WARREN_ENGINE_ADDON"] ?? addonPath): EngineAddon {
  let addon: EngineAddon;
  try {
    addon = createRequire(import.meta.url)(path) as EngineAddon;
  } catch (error) {
    throw new EngineUnavailable(
      `cannot load the native engine from ${path}: ${messageOf(error)}; build it with \`make\`, or use --engine typescript`,
      { cause: error },
    );
  }
  checkOpenSsl(addon.openSslHeader ?? "", process.versions["openssl"] ?? "");
  checkNghttp2(addon.nghttp2Header, process.versions["nghttp2"] ?? "");
  return addon;
}

/** OpenSSL keeps its binary interface between the patches of one minor version, and that is all that is relied on. */
export function checkOpenSsl(header: string, runtime: string): void {
  const series = (version: string) => /^\d+\.\d+(?=\.|$)/.exec(version)?.[0];
  if (series(header) !== undefined && series(header) === series(runtime)) return;
  throw new EngineUnavailable(
    `the native engine was built for OpenSSL ${header || "of an unknown version"} and this Node has ${runtime || "none"}; build it with this Node (\`make\`), or use --engine typescript`,
  );
}

/** nghttp2 only adds to its interface within one major version, so the one in Node must not be older than the header. */
export function checkNghttp2(header: string, runtime: string): void {
  const [major = 0, minor = 0] = header.split(".").map(Number);
  const [nodeMajor = 0, nodeMinor = 0] = runtime.split(".").map(Number);
  if (nodeMajor === major && nodeMinor >= minor) return;
  throw new EngineUnavailable(
    `the native engine was built for nghttp2 ${header} and this Node has ${runtime || "none"}; use --engine typescript`,
  );
}
