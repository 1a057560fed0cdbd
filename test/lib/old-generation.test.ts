import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const module = fileURLToPath(new URL("../../src/lib/old-generation.ts", import.meta.url));

/** The most bytes of the old generation while what lives is replaced again and again. */
function mostBytes(prepare: string): number {
  const program = `
    import { getHeapSpaceStatistics } from "node:v8";
    import { keepOldGenerationSmall } from ${JSON.stringify(module)};
    ${prepare}
    let most = 0;
    const held = [];
    for (let round = 0; round < 20; round++) {
      for (let at = 0; at < 200_000; at++) held[at] = { at, list: [at, round] };
      const { space_size } = getHeapSpaceStatistics().find(({ space_name }) => space_name === "old_space");
      most = Math.max(most, space_size);
    }
    process.stdout.write(String(held.length > 0 ? most : -1));
  `;
  return Number(execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" }));
}

describe("keepOldGenerationSmall", () => {
  it("collects the old generation before there is much more than lives in it", () => {
    const [grown, kept] = [mostBytes(""), mostBytes("keepOldGenerationSmall();")];
    expect(kept).toBeGreaterThan(0);
    expect(kept).toBeLessThan(grown);
  });
});
