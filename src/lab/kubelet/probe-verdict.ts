/** When a probe's results change what is thought of a container: counting as the kubelet counts. */

export interface ProbeThresholds {
  readonly successThreshold: number;
  readonly failureThreshold: number;
}

export interface ProbeVerdict {
  /** Undefined until either threshold was reached. */
  readonly healthy: boolean | undefined;
  /** The last result, and how often it came in a row. */
  readonly last: boolean;
  readonly run: number;
}

/** Readiness is shown by a first success, liveness is believed until it fails, of a start nothing is known. */
export function initialVerdict(kind: "readiness" | "liveness" | "startup"): ProbeVerdict {
  return { healthy: kind === "startup" ? undefined : kind === "liveness", last: kind === "liveness", run: 0 };
}

export function judge(verdict: ProbeVerdict, ok: boolean, thresholds: ProbeThresholds): ProbeVerdict {
  const run = verdict.last === ok ? verdict.run + 1 : 1;
  const reached = run >= (ok ? thresholds.successThreshold : thresholds.failureThreshold);
  return { healthy: reached ? ok : verdict.healthy, last: ok, run };
}
