import { expect, test } from "vitest";
import { Channel } from "../../src/lib/channel.ts";

async function rest<T>(channel: Channel<T>): Promise<T[]> {
  const values: T[] = [];
  for await (const value of channel) values.push(value);
  return values;
}

test("what was put is read in order, also after the close", async () => {
  const channel = new Channel<number>(8);
  for (const value of [1, 2, 3]) expect(await channel.put(value)).toBe(true);
  channel.close();
  expect(await rest(channel)).toEqual([1, 2, 3]);
});

test("a writer waits while the reader is behind, and goes on as it reads", async () => {
  const channel = new Channel<number>(1);
  await channel.put(1);
  let put = false;
  const second = channel.put(2).then((taken) => {
    put = true;
    return taken;
  });
  await new Promise(setImmediate);
  expect(put).toBe(false);
  const reader = channel[Symbol.asyncIterator]();
  expect(await reader.next()).toEqual({ value: 1, done: false });
  expect(await second).toBe(true);
});

test("several waiting writers all get their turn", async () => {
  const channel = new Channel<number>(1);
  const writers = [1, 2, 3, 4].map((value) => channel.put(value));
  void Promise.all(writers).then(() => channel.close());
  expect((await rest(channel)).toSorted((one, other) => one - other)).toEqual([1, 2, 3, 4]);
});

test("a reader that leaves lets waiting writers go, who learn that nobody reads", async () => {
  const channel = new Channel<number>(1);
  await channel.put(1);
  const waiting = channel.put(2);
  for await (const _ of channel) break;
  // The one that waited may have found room by the first read; what comes later never does.
  await waiting;
  expect(await channel.put(3)).toBe(false);
});

test("a failure ends the reader's loop once what came was read", async () => {
  const channel = new Channel<number>(2);
  await channel.put(1);
  channel.close({ error: new Error("gone") });
  channel.close();
  const reader = channel[Symbol.asyncIterator]();
  expect((await reader.next()).value).toBe(1);
  await expect(reader.next()).rejects.toThrow("gone");
});
