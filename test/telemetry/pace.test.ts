import { expect, it } from "vitest";
import { Pace } from "../../src/telemetry/pace.ts";
import { countTurns } from "../support/loop-turns.ts";

it("those who share a pace rest one after the other, and the event loop turns in each rest", async () => {
  const pace = new Pace();
  const told: string[] = [];
  const loop = countTurns();
  const turnsAt: number[] = [];
  const scrape = async (name: string) => {
    for (let step = 0; step < 3; step++) {
      await pace.rest();
      told.push(name);
      turnsAt.push(loop.turns);
    }
  };
  await Promise.all([scrape("a"), scrape("b")]);
  loop.stop();
  expect(told).toEqual(["a", "b", "a", "b", "a", "b"]);
  expect(new Set(turnsAt).size).toBe(turnsAt.length);
});
