import { expect, it } from "vitest";
import { Pace } from "../../src/telemetry/pace.ts";

it("those who share a pace rest one after the other, and the event loop turns in each rest", async () => {
  const pace = new Pace();
  const told: string[] = [];
  let turns = 0;
  let done = false;
  const turn = () => {
    turns++;
    if (!done) setImmediate(turn);
  };
  setImmediate(turn);
  const turnsAt: number[] = [];
  const scrape = async (name: string) => {
    for (let step = 0; step < 3; step++) {
      await pace.rest();
      told.push(name);
      turnsAt.push(turns);
    }
  };
  await Promise.all([scrape("a"), scrape("b")]);
  done = true;
  expect(told).toEqual(["a", "b", "a", "b", "a", "b"]);
  expect(new Set(turnsAt).size).toBe(turnsAt.length);
});
