import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { EventQueue } from "../../../src/control/kubernetes/event-queue.ts";

function queue(take: (event: number) => void = () => {}) {
  const taken: number[] = [];
  const failures: unknown[] = [];
  const of = new EventQueue<number>(
    {
      take: (event) => {
        take(event);
        taken.push(event);
      },
      failed: (error) => failures.push(error),
    },
    { atOnce: 3 },
  );
  return { of, taken, failures };
}

test("hands on so many in one turn, all of them in order, and one that comes alone at once", async () => {
  const { of, taken } = queue();
  for (let at = 0; at < 8; at += 1) of.push(at);
  expect(taken).toEqual([0, 1, 2]);
  const drained = of.drained();
  await setImmediate();
  expect(taken).toEqual([0, 1, 2, 3, 4, 5]);
  of.push(8);
  await drained;
  expect(taken).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  await setImmediate();
  of.push(9);
  expect(taken.at(-1)).toBe(9);
  await of.drained();
});

test("what fails ends it: told to whoever pushes, or else to the owner, and nothing comes after", async () => {
  const wrong = new Error("not this one");
  const { of, taken, failures } = queue((event) => {
    if (event === 1 || event === 6) throw wrong;
  });
  of.push(0);
  expect(() => of.push(1)).toThrow(wrong);
  for (let at = 2; at < 9; at += 1) of.push(at);
  await of.drained();
  expect(taken).toEqual([0, 2, 3, 4, 5]);
  expect(failures).toEqual([wrong]);
  of.push(10);
  await setImmediate();
  expect(taken.at(-1)).toBe(5);
});

test("closed, it drops what waits", async () => {
  const { of, taken } = queue();
  for (let at = 0; at < 8; at += 1) of.push(at);
  const drained = of.drained();
  of.close();
  await drained;
  await setImmediate();
  expect(taken).toEqual([0, 1, 2]);
});
