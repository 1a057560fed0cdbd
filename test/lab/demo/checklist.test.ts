import { expect, test } from "vitest";
import { type Check, Checklist, expectThat } from "../../../src/lab/demo/checklist.ts";

function checklist(): { list: Checklist; seen: Check[] } {
  const seen: Check[] = [];
  return { list: new Checklist({ onCheck: (check) => seen.push(check), onScene: () => {} }), seen };
}

test("a list without checks holds nothing", () => {
  expect(checklist().list.ok).toBe(false);
});

test("a check that throws is a failed line and the list goes on", async () => {
  const { list, seen } = checklist();
  await list.check("first", async () => {
    expectThat(1 + 1 === 3, "measured 2");
    return "unreached";
  });
  await list.check("second", async () => "measured");
  expect(seen).toEqual([
    { name: "first", ok: false, detail: "measured 2" },
    { name: "second", ok: true, detail: "measured" },
  ]);
  expect(list.ok).toBe(false);
});

test("a scene that cannot go on is a failed line of its own", async () => {
  const { list, seen } = checklist();
  await list.scene("Enrolment", async () => {
    await list.check("before", async () => "measured");
    throw new Error("no lab");
  });
  expect(seen).toEqual([
    { name: "before", ok: true, detail: "measured" },
    { name: "Enrolment: could not go on", ok: false, detail: "no lab" },
  ]);
});
