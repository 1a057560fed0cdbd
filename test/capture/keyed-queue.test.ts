import { describe, expect, it } from "vitest";
import { KeyedQueue } from "../../src/capture/keyed-queue.ts";

describe("a keyed queue", () => {
  it("runs tasks of a key in order and tasks of other keys meanwhile", async () => {
    const queue = new KeyedQueue();
    const order: string[] = [];
    const gate = Promise.withResolvers<void>();
    const first = queue.run("a", async () => {
      await gate.promise;
      order.push("first");
    });
    const second = queue.run("a", async () => order.push("second"));
    await queue.run("b", async () => order.push("other"));
    gate.resolve();
    await Promise.all([first, second]);
    expect(order).toEqual(["other", "first", "second"]);
  });

  it("hands a failure to its caller alone", async () => {
    const queue = new KeyedQueue();
    const failed = queue.run("a", () => Promise.reject(new Error("broken")));
    const next = queue.run("a", async () => "fine");
    await expect(failed).rejects.toThrow("broken");
    expect(await next).toBe("fine");
  });

  it("is idle when nothing is under way, failures included", async () => {
    const queue = new KeyedQueue();
    const done: string[] = [];
    queue.run("a", () => Promise.reject(new Error("broken"))).catch(() => done.push("a"));
    queue.run("b", async () => done.push("b")).catch(() => {});
    await queue.idle();
    expect(done.toSorted()).toEqual(["a", "b"]);
  });
});
