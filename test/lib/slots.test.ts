import { describe, expect, it } from "vitest";
import { Slots } from "../../src/lib/slots.ts";

describe("slots", () => {
  const never = new AbortController().signal;

  it("run no more than their number at a time, in order of arrival", async () => {
    const slots = new Slots(2);
    const order: string[] = [];
    const gates = ["a", "b", "c", "d"].map((name) => ({ name, ...Promise.withResolvers<void>() }));
    const runs = gates.map(({ name, promise }) =>
      slots.run(async () => {
        order.push(name);
        await promise;
      }, never),
    );
    await Promise.resolve();
    expect(order).toEqual(["a", "b"]);
    gates[1]?.resolve();
    await runs[1];
    await expect.poll(() => order).toEqual(["a", "b", "c"]);
    for (const { resolve } of gates) resolve();
    await Promise.all(runs);
    expect(order).toEqual(["a", "b", "c", "d"]);
  });

  it("free a slot when the work fails", async () => {
    const slots = new Slots(1);
    await expect(slots.run(() => Promise.reject(new Error("no")), never)).rejects.toThrow("no");
    expect(await slots.run(async () => "next", never)).toBe("next");
  });

  it("let a waiter give up without losing the slot", async () => {
    const slots = new Slots(1);
    const gate = Promise.withResolvers<void>();
    const first = slots.run(() => gate.promise, never);
    const impatient = new AbortController();
    const second = slots.run(async () => "second", impatient.signal);
    const third = slots.run(async () => "third", never);
    impatient.abort(new Error("tired"));
    await expect(second).rejects.toThrow("tired");
    gate.resolve();
    await first;
    expect(await third).toBe("third");
    expect(await slots.run(async () => "fourth", never)).toBe("fourth");
  });

  it("pass the slot on when a waiter gives up in the moment it is handed over", async () => {
    const slots = new Slots(1);
    const gate = Promise.withResolvers<void>();
    const first = slots.run(() => gate.promise, never);
    const impatient = new AbortController();
    const second = slots.run(async () => "second", impatient.signal);
    gate.resolve();
    await first;
    impatient.abort(new Error("tired"));
    await second.catch(() => undefined);
    expect(await slots.run(async () => "third", never)).toBe("third");
  });
});
