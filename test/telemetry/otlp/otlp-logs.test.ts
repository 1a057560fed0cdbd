import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../../src/lib/clock.ts";
import type { AccessEntry } from "../../../src/telemetry/access-log.ts";
import { Collector, type CollectorOptions } from "../../../src/telemetry/otlp/collector.ts";
import { OtlpLogs } from "../../../src/telemetry/otlp/otlp-logs.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { CollectorDouble } from "./collector-double.ts";

let double: CollectorDouble;
let port: number;
let folder: string;
let exporter: OtlpLogs | undefined;
/** What exporters of this test said: one of an earlier test may still learn that its collector is gone. */
let told: string[];

function logTo(lines: string[]) {
  const tell = (...words: unknown[]) => void lines.push(JSON.stringify(words));
  return { info: tell, warn: tell } as never;
}

beforeEach(async () => {
  told = [];
  folder = mkdtempSync(join(tmpdir(), "warren-otlp-"));
  double = new CollectorDouble();
  port = await double.start();
});

afterEach(async () => {
  double.stop();
  await exporter?.stop();
  rmSync(folder, { recursive: true });
});

function start(
  change: Partial<CollectorOptions> = {},
  queue: { intervalMs?: number; queue?: number } = {},
  clock: Clock = systemClock,
): OtlpLogs {
  const log = logTo(told);
  const to = { headersFile: undefined, caFile: undefined, timeoutMs: 30_000, node: "n1", version: "1.2.3" };
  const collector = new Collector({ log }, { ...to, endpoint: `http://127.0.0.1:${port}/`, ...change });
  exporter = new OtlpLogs({ clock, log, collector }, { intervalMs: 10, queue: 1000, ...queue });
  return exporter;
}

function entry(change: Partial<AccessEntry> = {}): AccessEntry {
  return {
    time: 1_700_000_000_250,
    level: "warn",
    message: "connection failed",
    fields: [
      ["src.addr", "10.244.1.5:38472"],
      ["bytes_sent", 120],
      ["policy", ""],
      ["shadow", undefined],
      ["reason", "policy-denied"],
    ],
    ...change,
  };
}

describe("the access log by OTLP", () => {
  it("goes to v1/logs as protobuf, with its fields as attributes and those without a value left out", async () => {
    const out = start();
    out.accessEnded(entry());
    await expect.poll(() => out.stats()).toEqual({ waiting: 0, exported: 1, dropped: 0 });
    expect(double.requests).toMatchObject([
      { path: "/v1/logs", headers: { "content-type": "application/x-protobuf" } },
    ]);
    expect(double.logs).toEqual([
      {
        resource: {
          "service.name": "warren-node",
          "service.version": "1.2.3",
          "service.instance.id": "n1",
          "k8s.node.name": "n1",
        },
        scope: "warren.access",
        time: 1_700_000_000_250_000_000n,
        severity: 13,
        severityText: "warn",
        body: "connection failed",
        attributes: { "src.addr": "10.244.1.5:38472", bytes_sent: 120, reason: "policy-denied" },
      },
    ]);
  });

  it("hides what looks like a key, as lines do", async () => {
    const out = start();
    out.accessEnded(entry({ fields: [["detail", "authorization: Bearer abcdefghijklmnop"]] }));
    await expect.poll(() => double.logs[0]?.attributes).toEqual({ detail: "authorization: Bearer [redacted]" });
  });

  it("reads the headers before each batch, and keeps the last good ones", async () => {
    const headersFile = join(folder, "headers");
    const out = start({ headersFile });
    for (const [index, [text, expected]] of [
      ["# key of the collector\nX-Api-Key: first one\n", "first one"],
      ["x-api-key: second\r\n", "second"],
      ["x-api-key\n", "second"],
    ].entries()) {
      writeFileSync(headersFile, text ?? "");
      out.accessEnded(entry());
      await expect.poll(() => out.stats().exported).toBe(index + 1);
      expect(double.requests[index]?.headers["x-api-key"]).toBe(expected);
    }
    expect(told).toEqual([expect.stringContaining("line 1 is not a header")]);
  });

  it("sends many in batches, one at a time", async () => {
    const out = start({}, { queue: 2000 });
    for (let index = 0; index < 300; index++) out.accessEnded(entry());
    await expect.poll(() => out.stats().exported).toBe(300);
    expect(double.requests).toHaveLength(3);
  });

  it("drops and counts what a full queue does not hold while the collector does not answer, and ends in time", async () => {
    double.status = undefined;
    const out = start({}, { queue: 3 });
    out.accessEnded(entry());
    await expect.poll(() => double.requests).toHaveLength(1);
    for (let index = 0; index < 5; index++) out.accessEnded(entry());
    expect(out.stats()).toEqual({ waiting: 3, exported: 0, dropped: 2 });
    await out.stop();
    out.accessEnded(entry());
    expect(out.stats()).toMatchObject({ waiting: 0, exported: 0, dropped: 6 });
  });

  it("counts what the collector refuses, says so once, and says when it is over", async () => {
    double.status = 400;
    const out = start();
    for (let count = 1; count <= 2; count++) {
      out.accessEnded(entry());
      await expect.poll(() => out.stats().dropped).toBe(count);
    }
    double.status = 200;
    out.accessEnded(entry());
    await expect.poll(() => out.stats().exported).toBe(1);
    expect(told).toEqual([expect.stringContaining("takes no"), expect.stringContaining("again")]);
  });

  it("sends what waits when it stops", async () => {
    // By a clock that stands still: a stop gives up what a machine that is late did not send in time.
    const out = start({}, { intervalMs: 1_000_000 }, new FakeClock());
    out.accessEnded(entry());
    await out.stop();
    expect(out.stats()).toEqual({ waiting: 0, exported: 1, dropped: 0 });
  });
});
