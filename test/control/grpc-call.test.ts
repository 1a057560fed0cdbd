import { EventEmitter } from "node:events";
import { status } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { type Ending, ending, readMessages } from "../../src/control/grpc-call.ts";

/** A call with its reader, who finds "wrong" wrong and throws over "broken". */
function reading() {
  const call = new EventEmitter();
  const endings: Ending[] = [];
  const taken: string[] = [];
  const failures: unknown[] = [];
  call.on("error", (one: Ending) => endings.push(one));
  readMessages<string>(call, {
    take: (message) => {
      taken.push(message);
      if (message === "broken") throw new TypeError("nothing is there yet");
      return message === "wrong" ? "that is wrong" : undefined;
    },
    failed: (error) => failures.push(error),
  });
  return { say: (message: string) => call.emit("data", message), endings, taken, failures };
}

describe("the messages of a stream", () => {
  test("are read in order", () => {
    const { say, taken, endings } = reading();
    for (const message of ["one", "two"]) say(message);
    expect([taken, endings]).toEqual([["one", "two"], []]);
  });

  test("end it at the first that is wrong, and none is read after that", () => {
    const { say, taken, endings, failures } = reading();
    for (const message of ["one", "wrong", "two"]) say(message);
    expect(taken).toEqual(["one", "wrong"]);
    expect(endings).toEqual([{ code: status.INVALID_ARGUMENT, details: "that is wrong" }]);
    expect(failures).toEqual([]);
  });

  test("end it at the first that its reader throws over, which is told, and none is read after that", () => {
    const { say, taken, endings, failures } = reading();
    for (const message of ["broken", "broken"]) say(message);
    expect(taken).toEqual(["broken"]);
    expect(endings).toEqual([{ code: status.INTERNAL, details: "nothing is there yet" }]);
    expect(failures).toEqual([new TypeError("nothing is there yet")]);
  });
});

test.each([
  ["a text", "not allowed"],
  ["half a character", "a name \ud83d"],
  ["a text cut in the middle of a character", `${"x".repeat(999)}😀`],
  ["a text of megabytes", "y".repeat(1 << 22)],
])("%s becomes details that a trailer can carry", (_name, text) => {
  const { details } = ending(status.INTERNAL, text);
  expect(encodeURI(details).length).toBeLessThan(9000);
  expect(details.slice(0, 7)).toBe(text.slice(0, 7));
});
