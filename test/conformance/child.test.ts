/** The other process of the tests that measure one engine alone. */
import { expect, onTestFinished, test } from "vitest";
import { Child } from "./support/child.ts";

test("a child can be asked any number of times, and asking leaves nothing behind", async () => {
  const warnings: string[] = [];
  const listen = ({ name }: Error) => warnings.push(name);
  process.on("warning", listen);
  onTestFinished(() => void process.off("warning", listen));
  const { child } = await Child.start("typescript");
  // One more than Node lets listeners of an event be without a warning.
  for (let times = 0; times < 11; times += 1) await expect(child.report()).rejects.toThrow("not started");
  // Warnings are told at a turn of their own.
  await new Promise((resolve) => setImmediate(resolve));
  expect(warnings).toEqual([]);
});
