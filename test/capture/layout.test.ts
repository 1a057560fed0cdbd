import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

interface Layout {
  readonly origin: string;
  readonly name: string;
  readonly size: number;
  readonly fields: Readonly<Record<string, number>>;
}

const program = fileURLToPath(new URL("../../build/native/testing/warren_layout", import.meta.url));
const layouts = execFileSync(program, { encoding: "utf8" })
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Layout);
const native = layouts.filter(({ origin }) => origin === "native");

describe("structs shared between BPF programs and native code", () => {
  it.each(native)("$name has the same size and offsets on both sides", ({ name, size, fields }) => {
    const inPrograms = layouts.filter((layout) => layout.name === name && layout.origin !== "native");
    expect(inPrograms).not.toEqual([]);
    for (const layout of inPrograms) {
      expect(layout).toEqual({ origin: layout.origin, name, size, fields });
    }
  });

  it("pin what the engine reads: the layout of orig_dst", () => {
    expect(native.find(({ name }) => name === "warren_orig_dst_key")).toMatchObject({
      size: 32,
      fields: { netns_cookie: 0, source_addr: 8, source_port_be: 24, family: 26, pad: 28 },
    });
    expect(native.find(({ name }) => name === "warren_orig_dst")).toMatchObject({
      size: 32,
      fields: { addr: 0, port_be: 16, family: 18, pad: 20, created_ns: 24 },
    });
  });
});
