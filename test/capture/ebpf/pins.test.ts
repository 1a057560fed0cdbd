import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PodPins, pinName, uidOfPin } from "../../../src/capture/ebpf/pins.ts";

describe("the name of a pin", () => {
  it.each([
    ["8a6f2b1c-0d3e-4f5a-9b7c-1d2e3f4a5b6c", "8a6f2b1c-0d3e-4f5a-9b7c-1d2e3f4a5b6c"],
    ["has.dot", "has%2edot"],
    ["../../escape", "%2e%2e%2f%2e%2e%2fescape"],
    ['quote" and blank', "quote%22%20and%20blank"],
    ["%2e", "%252e"],
    ["ü", "%c3%bc"],
  ])("of %s is %s, and back", (uid, name) => {
    expect(pinName(uid)).toBe(name);
    expect(uidOfPin(name)).toBe(uid);
  });
});

describe("pins of pods", () => {
  let directory: string;
  let pins: PodPins;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "pins-"));
    mkdirSync(join(directory, "pods"));
    pins = new PodPins(directory);
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it("are listed with uid and cookie, which may be larger than a double holds", async () => {
    const pin = await pins.prepare("a.b", 2n ** 63n + 1n);
    writeFileSync(pin.path, "");
    expect(await pins.list()).toEqual([pin]);
    expect(await pins.of("a.b")).toEqual([pin]);
    expect(await pins.of("other")).toEqual([]);
  });

  it("take their folder with them when the last one goes, and may be removed twice", async () => {
    const first = await pins.prepare("pod", 1n);
    const second = await pins.prepare("pod", 2n);
    writeFileSync(first.path, "");
    writeFileSync(second.path, "");
    await pins.remove(first);
    expect(readdirSync(join(directory, "pods"))).toEqual(["pod"]);
    await pins.remove(second);
    await pins.remove(second);
    expect(readdirSync(join(directory, "pods"))).toEqual([]);
  });

  it("are listed also while a pod goes", async () => {
    const pin = await pins.prepare("stays", 1n);
    writeFileSync(pin.path, "");
    // What a folder is that went after its name was read: a name that leads nowhere.
    symlinkSync(join(directory, "nowhere"), join(directory, "pods", "goes"));
    expect(await pins.list()).toEqual([pin]);
    expect(await pins.of("goes")).toEqual([]);
    await pins.removeAll("never came");
  });

  it("leave no empty folder of an agent that crashed before pinning", async () => {
    await new PodPins(directory).prepare("crashed", 1n);
    const pin = await pins.prepare("fine", 2n);
    writeFileSync(pin.path, "");
    await pins.removeEmptyFolders();
    expect(readdirSync(join(directory, "pods"))).toEqual(["fine"]);
  });

  it("find their folder, whatever is cleaned up before they are made", async () => {
    const pin = await pins.prepare("coming", 1n);
    await pins.removeEmptyFolders();
    writeFileSync(pin.path, "");
    await pins.removeAll("coming");
    expect(readdirSync(join(directory, "pods"))).toEqual([]);
  });

  it("take the folder of an attempt that failed before pinning", async () => {
    await pins.prepare("failed", 1n);
    await pins.removeAll("failed");
    expect(readdirSync(join(directory, "pods"))).toEqual([]);
  });
});
