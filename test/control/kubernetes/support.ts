/** What tests of control on a cluster share: a client of a test's API server, and a log that keeps everything. */
import { onTestFinished } from "vitest";
import { ApiClient, apiClientDefaults } from "../../../src/control/kubernetes/api-client.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { kubeconfig } from "../../support/kubernetes-api/cluster.ts";
import { RecordedLog } from "../../support/recorded-log.ts";

export class KubernetesLog extends RecordedLog {
  readonly debug = (fields: object, message: string): void => {
    this.lines.push({ level: "debug", fields: { ...fields }, message });
  };
}

/** Waits of milliseconds where a cluster waits for seconds. */
export const quick = {
  backoff: { firstMs: 5, factor: 2, longestMs: 50, jitter: 0.5 },
  missingRetryMs: 20,
} as const;

export const until = { timeout: 30_000, interval: 10 };

export async function clientOf(
  cluster: { readonly url: string; readonly root: string; readonly adminToken: string },
  token = cluster.adminToken,
) {
  const api = new ApiClient({ ...apiClientDefaults, kubeconfig: await kubeconfig(cluster, { token }) });
  return { api, clock: systemClock, random: Math.random, log: new KubernetesLog() };
}

/** Stopped when the test ends, too. */
export function stopLater<T extends { stop(): Promise<void> }>(part: T): T {
  onTestFinished(() => part.stop());
  return part;
}
