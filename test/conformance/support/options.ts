/**
 * Engine options of the suite: the wire values that the mesh uses, and times that good peers keep on a machine that stalls for seconds, too.
 * Tests that wait for one of them to pass set it.
 */
import type {
  EngineLimits,
  EngineOptions,
  EngineTimeouts,
  TlsSettings,
  TraceOptions,
} from "../../../src/tunnel/engine.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

const timeouts: EngineTimeouts = {
  decision: 20_000,
  credential: 10_000,
  connect: 10_000,
  tls: 10_000,
  http2: 10_000,
  connectAnswer: 15_000,
  idle: 0,
  halfClosed: 0,
  pingInterval: 10_000,
  pingTimeout: 20_000,
  tunnelIdle: 60_000,
  peerBackoff: 100,
  peerBackoffMax: 1_000,
};

const limits: EngineLimits = {
  flows: 10_000,
  flowsPerPod: 5_000,
  flowsPerTunnel: 100,
  streamsPerInboundTunnel: 200,
  tunnelsPerGroup: 4,
  inboundTunnelsPerPod: 64,
  outboundTunnelsPerPod: 1_024,
  streamWindow: 4 * MiB,
  connectionWindow: 16 * MiB,
  frameSize: MiB,
  headerListSize: 64 * KiB,
  bufferPerFlow: 256 * KiB,
  memoryPerTunnel: 64 * MiB,
  memoryPerPod: 128 * MiB,
  memory: 512 * MiB,
  descriptors: 0,
};

const tls: TlsSettings = {
  groups: "X25519MLKEM768:X25519:P-256",
  ciphers: "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
  resumption: false,
};

export interface OptionOverrides {
  readonly timeouts?: Partial<EngineTimeouts>;
  readonly limits?: Partial<EngineLimits>;
  readonly tls?: Partial<TlsSettings>;
  /** For tests that count what one worker makes: several open a tunnel each. */
  readonly workers?: number;
  readonly traces?: TraceOptions;
}

export function engineOptions(overrides: OptionOverrides = {}): EngineOptions {
  return {
    timeouts: { ...timeouts, ...overrides.timeouts },
    limits: { ...limits, ...overrides.limits },
    tls: { ...tls, ...overrides.tls },
    traces: overrides.traces ?? { carried: false, share: 0 },
    workers: overrides.workers ?? Number(process.env["WARREN_TEST_WORKERS"] ?? 1),
  };
}
