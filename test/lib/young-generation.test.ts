import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const module = fileURLToPath(new URL("../../src/lib/young-generation.ts", import.meta.url));

/** Bytes of the young generation after a burst of objects that survive it. */
function afterBurst(prepare: string): number {
  const program = `
    import { getHeapSpaceStatistics } from "node:v8";
    import { keepYoungGenerationSmall } from ${JSON.stringify(module)};
    ${prepare}
    const held = [];
    for (let at = 0; at < 1_000_000; at++) held.push({ at });
    const { space_size } = getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space");
    process.stdout.write(String(held.length === 1_000_000 ? space_size : -1));
  `;
  return Number(execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" }));
}

describe("keepYoungGenerationSmall", () => {
  it("keeps the young generation at the size that it begins with, whatever burst comes", () => {
    const [grown, kept] = [afterBurst(""), afterBurst("keepYoungGenerationSmall();")];
    expect(kept).toBeGreaterThan(0);
    expect(kept * 4).toBeLessThanOrEqual(grown);
  });
});
