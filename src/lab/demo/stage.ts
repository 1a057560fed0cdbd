/** What the demo's scenes share: the lab, the ledger, and the few things that every scene does with pods. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Lab } from "../lab.ts";
import type { RunResult } from "../machine/launch.ts";
import { CheckFailed, type Checklist } from "./checklist.ts";
import { type Segment, tcpSegments } from "./packets.ts";

/** The pods that play in the demo, as `examples/shop.yaml` names them. */
export const cast = {
  frontend: "production/frontend",
  api: "production/deploy/api",
  database: "production/deploy/database",
  iperfClient: "production/iperf-client",
  outsider: "outside/client",
} as const;

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
  readonly seconds: number;
}

export class Stage {
  readonly lab: Lab;
  readonly checklist: Checklist;

  constructor(lab: Lab, checklist: Checklist) {
    this.lab = lab;
    this.checklist = checklist;
  }

  /** Applies one of the policies in `examples/policies/`, as it is. */
  applyPolicy(name: string): Promise<void> {
    const path = new URL(`../../../examples/policies/${name}`, import.meta.url);
    return this.lab.apply({ name, text: readFileSync(path, "utf8") });
  }

  /** A word that occurs nowhere else. */
  marker(): string {
    return `warren-marker-${randomBytes(12).toString("hex")}`;
  }

  /** One HTTP request with curl inside a pod. Throws naming curl's error when no answer came. */
  async http(pod: string, url: string, extra: readonly string[] = []): Promise<HttpAnswer> {
    const result = await this.curl(pod, url, extra);
    if (result.code !== 0) throw new CheckFailed(`curl in ${pod}: exit ${result.code}: ${result.stderr.trim()}`);
    const cut = result.stdout.lastIndexOf("\n");
    const [status = "0", seconds = "0"] = result.stdout.slice(cut + 1).split(" ");
    return { status: Number(status), body: result.stdout.slice(0, Math.max(cut, 0)), seconds: Number(seconds) };
  }

  curl(pod: string, url: string, extra: readonly string[] = []): Promise<RunResult> {
    const flags = ["--silent", "--show-error", "--max-time", "8", "--write-out", "\n%{http_code} %{time_total}"];
    return this.lab.exec(pod, ["curl", ...flags, ...extra, url], { timeoutMs: 15_000 });
  }

  /** Everything that crossed the fabric while `during` ran. */
  async onTheWire<T>(during: () => Promise<T>): Promise<{ segments: Segment[]; result: T }> {
    const capture = await this.lab.capturePackets({ where: "fabric" });
    try {
      const result = await during();
      const { bytes, complete } = await capture.stop();
      if (!complete) throw new CheckFailed("the capture lost packets, so that absence proves nothing");
      return { segments: tcpSegments(bytes), result };
    } finally {
      await capture.stop();
    }
  }
}

/** Waits until `probe` answers something, asking every 50 ms; throws with the last thing seen when it takes too long. */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  probe: () => Promise<T | undefined>,
): Promise<{ value: T; afterMs: number }> {
  const startedAt = performance.now();
  let last = "nothing yet";
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined) return { value, afterMs: performance.now() - startedAt };
    } catch (error) {
      last = String(error);
    }
    if (performance.now() - startedAt > timeoutMs)
      throw new CheckFailed(`${what}: not within ${timeoutMs / 1000} s (${last})`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
