import { expect, test } from "vitest";
import {
  compilePathTemplate,
  isPathTemplate,
  pathTemplateProblem,
} from "../../../src/policy/authorization/path-template.ts";

test.each([
  ["/foo/{*}", "/foo/bar", true],
  ["/foo/{*}", "/foo/bar/baz", false],
  ["/foo/{*}", "/foo/", false],
  ["/foo/{**}/", "/foo/bar/", true],
  ["/foo/{**}/", "/foo/bar/baz/", true],
  ["/foo/{**}/", "/foo//", true],
  ["/foo/{**}/", "/foo/bar", false],
  ["/{*}/bar/{**}", "/foo/bar/buzz", true],
  ["/{*}/bar/{**}", "/foo/bar/", true],
  ["/{*}/bar/{**}", "/bar/baz", false],
  ["/a.b/{*}", "/aXb/c", false],
])("template %s on %s: %s", (template, path, matches) => {
  expect(pathTemplateProblem(template)).toBeUndefined();
  expect(compilePathTemplate(template)(path)).toBe(matches);
});

test.each([
  ["/{**}/{*}", "operator after"],
  ["/{**}/x/{**}", "operator after"],
  ["/a{*}", "whole segment"],
  ["/{*}b", "whole segment"],
  ["/a{**}", "whole segment"],
  ["/{*}/b*", "mixes"],
  ["/{name}/{*}", "mixes"],
  ["{*}/a", "must start"],
  ["/{name}", "neither"],
])("%s is refused: %s", (value, why) => {
  expect(pathTemplateProblem(value)).toContain(why);
});

test("values without operators are no templates", () => {
  expect(["/a", "/a/*", "*"].map(isPathTemplate)).toEqual([false, false, false]);
  expect(pathTemplateProblem("/a/*")).toBeUndefined();
});

test("a long path is matched in linear time", () => {
  const match = compilePathTemplate("/{*}/{*}/{*}/end/{**}/x");
  expect(match(`${"/a".repeat(20_000)}/y`)).toBe(false);
});
