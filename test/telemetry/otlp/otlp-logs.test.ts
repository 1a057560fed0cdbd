import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../../src/lib/clock.ts";
import type { AccessEntry } from "../../../src/telemetry/access-log.ts";
import { OtlpLogs, type OtlpLogsOptions } from "../../../src/telemetry/otlp/otlp-logs.ts";

interface Taken {
  readonly path: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** What it answers next; undefined for never. */
let status: number | undefined;
let taken: Taken[];
let collector: Server;
let folder: string;
let exporter: OtlpLogs | undefined;
const told: string[] = [];
const log = {
  info: (...words: unknown[]) => void told.push(JSON.stringify(words)),
  warn: (...words: unknown[]) => void told.push(JSON.stringify(words)),
};

beforeEach(async () => {
  status = 200;
  taken = [];
  told.length = 0;
  folder = mkdtempSync(join(tmpdir(), "warren-otlp-"));
  collector = createServer((request, response) => {
    void buffer(request).then((body) => {
      taken.push({ path: request.url, headers: request.headers, body });
      if (status !== undefined) response.writeHead(status, { "content-type": "application/x-protobuf" }).end();
    });
  });
  await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
});

afterEach(async () => {
  collector.closeAllConnections();
  await exporter?.stop();
  collector.close();
  rmSync(folder, { recursive: true });
});

function start(change: Partial<OtlpLogsOptions> = {}): OtlpLogs {
  const { port } = collector.address() as AddressInfo;
  exporter = new OtlpLogs(
    { clock: systemClock, log: log as never },
    {
      endpoint: `http://127.0.0.1:${port}/`,
      headersFile: undefined,
      intervalMs: 10,
      queue: 1000,
      timeoutMs: 5000,
      node: "n1",
      version: "1.2.3",
      ...change,
    },
  );
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

/** A string as protobuf has it: field 1 or 2 of its message, its length, its bytes. */
function field(number: number, text: string): Buffer {
  return Buffer.concat([Buffer.from([number * 8 + 2, text.length]), Buffer.from(text)]);
}

describe("the access log by OTLP", () => {
  it("goes to v1/logs as protobuf, with its fields as attributes and those without a value left out", async () => {
    const out = start();
    out.accessEnded(entry());
    await expect.poll(() => out.stats()).toEqual({ otlpWaiting: 0, otlpExportedTotal: 1, otlpDroppedTotal: 0 });
    const [{ path, headers, body } = { path: "", headers: {}, body: Buffer.alloc(0) }] = taken;
    expect([path, headers["content-type"]]).toEqual(["/v1/logs", "application/x-protobuf"]);
    for (const text of ["service.name", "k8s.node.name", "src.addr", "bytes_sent", "reason"]) {
      expect(body.includes(field(1, text))).toBe(true);
    }
    for (const text of ["warren-node", "n1", "1.2.3", "10.244.1.5:38472", "policy-denied", "connection failed"]) {
      expect(body.includes(Buffer.from(text))).toBe(true);
    }
    expect(body.includes(field(1, "policy"))).toBe(false);
    expect(body.includes(field(1, "shadow"))).toBe(false);
    const nanoseconds = Buffer.alloc(8);
    nanoseconds.writeBigUInt64LE(1_700_000_000_250_000_000n);
    expect(body.includes(nanoseconds)).toBe(true);
  });

  it("hides what looks like a key, as lines do", async () => {
    const out = start();
    out.accessEnded(entry({ fields: [["detail", "authorization: Bearer abcdefghijklmnop"]] }));
    await expect.poll(() => out.stats().otlpExportedTotal).toBe(1);
    expect(taken[0]?.body.includes(Buffer.from("Bearer [redacted]"))).toBe(true);
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
      await expect.poll(() => out.stats().otlpExportedTotal).toBe(index + 1);
      expect(taken[index]?.headers["x-api-key"]).toBe(expected);
    }
    expect(told).toEqual([expect.stringContaining("line 1 is not a header")]);
  });

  it("sends many in batches, one at a time", async () => {
    const out = start({ queue: 2000 });
    for (let index = 0; index < 1300; index++) out.accessEnded(entry());
    await expect.poll(() => out.stats().otlpExportedTotal).toBe(1300);
    expect(taken).toHaveLength(3);
  });

  it("drops and counts what a full queue does not hold while the collector does not answer, and ends in time", async () => {
    status = undefined;
    const out = start({ queue: 3 });
    out.accessEnded(entry());
    await expect.poll(() => taken).toHaveLength(1);
    for (let index = 0; index < 5; index++) out.accessEnded(entry());
    expect(out.stats()).toEqual({ otlpWaiting: 3, otlpExportedTotal: 0, otlpDroppedTotal: 2 });
    await out.stop();
    out.accessEnded(entry());
    expect(out.stats()).toMatchObject({ otlpWaiting: 0, otlpExportedTotal: 0, otlpDroppedTotal: 6 });
  });

  it("counts what the collector refuses, says so once, and says when it is over", async () => {
    status = 400;
    const out = start();
    for (let count = 1; count <= 2; count++) {
      out.accessEnded(entry());
      await expect.poll(() => out.stats().otlpDroppedTotal).toBe(count);
    }
    status = 200;
    out.accessEnded(entry());
    await expect.poll(() => out.stats().otlpExportedTotal).toBe(1);
    expect(told).toEqual([expect.stringContaining("takes no"), expect.stringContaining("again")]);
  });

  it("sends what waits when it stops", async () => {
    const out = start({ intervalMs: 1_000_000 });
    out.accessEnded(entry());
    await out.stop();
    expect(out.stats()).toEqual({ otlpWaiting: 0, otlpExportedTotal: 1, otlpDroppedTotal: 0 });
  });
});
