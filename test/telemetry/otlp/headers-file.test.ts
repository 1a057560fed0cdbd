import { describe, expect, it } from "vitest";
import { parseHeaders } from "../../../src/telemetry/otlp/headers-file.ts";

describe("a file of headers", () => {
  it.each([
    ["nothing", "", {}],
    ["comments and empty lines", "# key\n\n  \n", {}],
    [
      "names in any case, values with spaces and colons",
      "X-Api-Key:  a b:c \r\nauthorization: Bearer x\n",
      { "x-api-key": "a b:c", authorization: "Bearer x" },
    ],
    ["one name twice, the last of which holds", "a: 1\nA: 2", { a: "2" }],
  ])("holds %s", (_what, text, headers) => {
    expect(parseHeaders(text)).toEqual(headers);
  });

  it.each([
    ["no colon", "secret"],
    ["no value", "secret:"],
    ["a name with a space", "secret key: 1"],
    ["a line that goes on", "a: 1\r secret"],
    ["a value that is not ASCII", "a: secreté"],
  ])("is refused for %s, by the line's number and without its words", (_what, line) => {
    let message = "";
    try {
      parseHeaders(`ok: 1\n${line}`);
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain("line 2 is not a header");
    expect(message).not.toContain("secret");
  });
});
