import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLineSink } from "../../src/telemetry/line-sink.ts";

describe("a line sink", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "warren-sink-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("writes every line in order when the reader keeps up", async () => {
    const destination = join(folder, "log");
    const sink = createLineSink({ destination, buffer: 1 << 20 });
    const lines = Array.from({ length: 2000 }, (_, index) => `line ${index}\n`);
    for (const line of lines) sink.write(line);
    await sink.close(60_000);
    expect(await readFile(destination, "utf8")).toBe(lines.join(""));
    expect(sink.dropped).toBe(0);
  });

  it("drops and counts lines, and still returns at once, when nobody reads", async () => {
    const fifo = join(folder, "fifo");
    execFileSync("mkfifo", [fifo]);
    // Both ends open and never read: the pipe takes 64 KiB and then stalls.
    const reader = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
    const sink = createLineSink({ destination: fifo, buffer: 256 * 1024 });
    const line = `${"x".repeat(1023)}\n`;
    for (let count = 0; count < 2000; count++) sink.write(line);
    expect(sink.dropped).toBeGreaterThan(1000);
    expect(sink.dropped).toBeLessThan(2000);
    await sink.close(50);
    // Frees the writer's thread, which the kernel holds in write(2).
    const buffer = Buffer.alloc(1 << 20);
    while (tryRead(reader, buffer) > 0);
    closeSync(reader);
  });

  it("takes lines after its end as lost, and a second close as nothing", async () => {
    const sink = createLineSink({ destination: join(folder, "log"), buffer: 1 << 20 });
    await sink.close(60_000);
    sink.write("late\n");
    await sink.close(60_000);
    expect(sink.dropped).toBe(1);
  });
});

function tryRead(fd: number, buffer: Buffer): number {
  try {
    return readSync(fd, buffer);
  } catch {
    return 0;
  }
}
