import { expect, test } from "vitest";
import { abortable } from "../../src/lib/abort.ts";

test("the promise's outcome comes through", async () => {
  const { signal } = new AbortController();
  await expect(abortable(Promise.resolve(1), signal)).resolves.toBe(1);
  await expect(abortable(Promise.reject(new Error("no")), signal)).rejects.toThrow("no");
});

test("the signal ends the wait with its reason, before and during it", async () => {
  const controller = new AbortController();
  const wait = abortable(new Promise<never>(() => {}), controller.signal);
  controller.abort(new Error("enough"));
  await expect(wait).rejects.toThrow("enough");
  await expect(abortable(Promise.resolve(1), controller.signal)).rejects.toThrow("enough");
});

test("a promise that fails after the wait was given up is nobody's unhandled rejection", async () => {
  const { promise, reject } = Promise.withResolvers<never>();
  await expect(abortable(promise, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
  reject(new Error("late"));
});
