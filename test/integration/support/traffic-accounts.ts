/** What the access logs and the metrics of all agents tell of the connections to one workload, in the words of its clients: sent is to it. */
import { expect } from "vitest";
import type { Lab } from "../../../src/lab/lab.ts";

export interface Moved {
  readonly sent: number;
  readonly received: number;
}

export interface Account extends Moved {
  readonly count: number;
}

export function summed(rows: readonly Moved[]): Account {
  const sum = { count: rows.length, sent: 0, received: 0 };
  for (const { sent, received } of rows) {
    sum.sent += sent;
    sum.received += received;
  }
  return sum;
}

/** Where each agent's log ends now. */
export async function endsOfLogs(lab: Lab): Promise<ReadonlyMap<string, number>> {
  const ends = lab.nodes().map(async (node) => [node, (await lab.agentLog(node)).length] as const);
  return new Map(await Promise.all(ends));
}

/** Of the lines behind `from`; without it, of all. */
export async function logged(
  lab: Lab,
  workload: string,
  direction: "inbound" | "outbound",
  from: ReadonlyMap<string, number> = new Map(),
): Promise<Account> {
  const lines: Moved[] = [];
  for (const node of lab.nodes()) {
    for (const text of (await lab.agentLog(node)).slice(from.get(node) ?? 0).split("\n")) {
      if (!text.includes('"access"') || !text.endsWith("}")) continue;
      const line = JSON.parse(text) as Record<string, string | number>;
      if (line["direction"] !== direction || !String(line["dst.workload"]).startsWith(workload)) continue;
      const [ours, theirs] = [Number(line["bytes_sent"]), Number(line["bytes_recv"])];
      lines.push(direction === "outbound" ? { sent: ours, received: theirs } : { sent: theirs, received: ours });
    }
  }
  return summed(lines);
}

/** Sums over all agents, by family and reporter: `istio_tcp_sent_bytes_total source`. */
export async function metricsOf(lab: Lab, workload: string): Promise<ReadonlyMap<string, number>> {
  const sums = new Map<string, number>();
  for (const node of lab.nodes()) {
    const { stdout: text } = await lab.execOnNode(node, ["curl", "-s", "http://127.0.0.1:15020/metrics"]);
    expect(text).toMatch(/^warren_log_access_dropped_total 0$/m);
    for (const line of text.split("\n")) {
      const [, family = "", labels = "", value = ""] = /^(istio_tcp_\w+)\{(.*)\} (\S+)$/.exec(line) ?? [];
      if (!labels.includes(`destination_workload="${workload}"`)) continue;
      const [, reporter = ""] = /reporter="(\w+)"/.exec(labels) ?? [];
      const key = `${family} ${reporter}`;
      sums.set(key, (sums.get(key) ?? 0) + Number(value));
    }
  }
  return sums;
}

/** Resolves to whether everything that the metrics tell of is in the logs, and has ended, since the look before this one. */
export function restOf(lab: Lab, workload: string): () => Promise<true | undefined> {
  let before = "";
  return async () => {
    const sums = await metricsOf(lab, workload);
    const lines = [await logged(lab, workload, "outbound"), await logged(lab, workload, "inbound")];
    const now = JSON.stringify([[...sums], lines]);
    const [same, ended] = [now === before, ["source", "destination"].every((reporter) => hasEnded(sums, reporter))];
    before = now;
    return same && ended ? true : undefined;
  };
}

function hasEnded(sums: ReadonlyMap<string, number>, reporter: string): boolean {
  const [opened, closed] = ["opened", "closed"].map((what) =>
    sums.get(`istio_tcp_connections_${what}_total ${reporter}`),
  );
  return opened !== undefined && opened === closed;
}
