import { beforeEach, describe, expect, it } from "vitest";
import { Readiness } from "../../src/node/readiness.ts";

describe("readiness", () => {
  let now = 0;
  let lines: { fields: object; message: string }[] = [];
  let readiness: Readiness;
  beforeEach(() => {
    now = 1000;
    lines = [];
    const log = { info: (fields: object, message: string) => void lines.push({ fields, message }) };
    readiness = new Readiness({ now: () => now, log });
  });

  it("waits for every blocker and says how long each took and what is left", async () => {
    const capture = readiness.block("capture");
    const state = readiness.block("mesh-state");
    let told = false;
    void readiness.whenReady().then(() => {
      told = true;
    });
    now += 120;
    capture();
    expect(readiness.ready).toBe(false);
    expect(readiness.blockers()).toEqual([{ name: "mesh-state", forMs: 120 }]);
    now += 80;
    await Promise.resolve();
    expect(told).toBe(false);
    state();
    await readiness.whenReady();
    expect(told).toBe(true);
    expect(readiness.ready).toBe(true);
    expect(lines).toEqual([
      { fields: { took: "120ms", left: "mesh-state" }, message: "capture is ready" },
      { fields: { took: "200ms", sinceStart: "200ms" }, message: "mesh-state is ready, and so is the agent" },
    ]);
  });

  it("takes a second release as nothing, and a second block of the same name as the first", () => {
    const first = readiness.block("capture");
    now += 5;
    readiness.block("capture");
    expect(readiness.blockers()).toEqual([{ name: "capture", forMs: 5 }]);
    first();
    first();
    expect(lines).toHaveLength(1);
  });

  it("is lost again while the agent drains", () => {
    readiness.block("start")();
    expect(readiness.ready).toBe(true);
    readiness.block("draining");
    expect(readiness.ready).toBe(false);
  });
});
