import { describe, expect, test } from "vitest";
import { fieldSteps, readPlacedValues } from "../../../src/cli/query/yaml-places.ts";

const text = `# first line
kind: A
spec:
  rules:
  - from:
    - source:
        principals:
        - one
        - two
  portLevelMtls:
    8080: {mode: STRICT}
---
kind: List
items:
- kind: B
  metadata:
    labels:
      warren.dev/mode: odd
- kind: C
`;

describe("a field's line", () => {
  const { values } = readPlacedValues(text);
  test.each([
    [0, "", 2],
    [0, "spec.rules[0].from[0].source.principals[1]", 9],
    [0, "spec.rules[0].from[0].source.principals", 7],
    [0, "spec.portLevelMtls[8080]", 11],
    [0, "spec.rules[0].from[0].source.absent.deeper", 6],
    [0, "spec.rules[7]", 4],
    [1, "metadata.labels[warren.dev/mode]", 18],
    [2, "", 19],
  ])("of object %d, %j, is line %d", (index, field, line) => {
    expect(values[index]?.lineOf(field)).toBe(line);
  });

  test("prose behind a field is no part of it", () => {
    expect(fieldSteps("when[0] request.headers[x] values")).toEqual(["when", "0"]);
  });

  test("a document that is no YAML is told with its line, and hides no other", () => {
    const read = readPlacedValues("kind: A\n---\n{ broken\n");
    expect(read.values).toHaveLength(1);
    expect(read.unreadable).toMatchObject([{ line: expect.toSatisfy((line: number) => line >= 3) as number }]);
  });

  test("an alias that points nowhere is told", () => {
    expect(readPlacedValues("kind: *nobody\n").unreadable).toHaveLength(1);
  });

  test("an empty text has no objects", () => {
    expect(readPlacedValues("")).toEqual({ values: [], unreadable: [] });
  });
});
