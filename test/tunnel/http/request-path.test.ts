import { describe, expect, test } from "vitest";
import { normaliseTarget } from "../../../src/tunnel/http/request-path.ts";

describe("a path is one text for policy and application", () => {
  test.for([
    ["/", "/"],
    ["/a/b", "/a/b"],
    ["/a/./b", "/a/b"],
    ["/a/../b", "/b"],
    ["/../a", "/a"],
    ["/a/..", "/"],
    ["/a/.", "/a/"],
    ["/a/b/../", "/a/"],
    ["/a/...", "/a/..."],
    ["/a/.b/..c", "/a/.b/..c"],
    ["/a/%2e%2E/b", "/b"],
    ["/a/.%2e/b", "/b"],
    ["/%41%7a%2D%5f%7E%30", "/Az-_~0"],
    ["/a\\b", "/a/b"],
    ["/a\\..\\b", "/b"],
    ["/a%2Fb%2f..", "/a%2Fb%2f.."],
    ["/a%5C..%5cb", "/a%5C..%5cb"],
    ["/a%25%32e", "/a%252e"],
    ["/a//b", "/a//b"],
    ["//a", "//a"],
    ["/a//../b", "/a/b"],
    ["/a;x=1/b", "/a;x=1/b"],
    ["/a/..;/b", "/a/..;/b"],
    ["/A", "/A"],
    ["/%C3%a9", "/%C3%a9"],
    ['/"<>^`{|}', '/"<>^`{|}'],
  ])("%s is %s", ([target = "", path = ""]) => {
    expect(normaliseTarget(target)).toEqual({ path, target: path });
    // Once is enough: whoever normalises again finds nothing to do.
    expect(normaliseTarget(path)?.path).toBe(path);
  });

  test("the query goes on as it is", () => {
    expect(normaliseTarget("/a/../b?x=%2e%2e&y=/../\\%zz?")).toEqual({
      path: "/b",
      target: "/b?x=%2e%2e&y=/../\\%zz?",
    });
  });

  test.for(["", "a", "*", "/a#b", "/a b", "/a\tb", "/\xe9", "/a\0", "/%00", "/a%2", "/a%zz", "/%%32%65", "/a%"])(
    "%j is none",
    (target) => {
      expect(normaliseTarget(target)).toBeUndefined();
    },
  );
});
