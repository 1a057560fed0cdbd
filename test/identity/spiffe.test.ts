import { describe, expect, test } from "vitest";
import {
  asIdentity,
  formatIdentity,
  IdentityError,
  identityOfNames,
  isTrustDomain,
  parseIdentity,
  principalOf,
  trustDomainOf,
  uriNames,
} from "../../src/identity/spiffe.ts";

const frontend = "spiffe://cluster.local/ns/production/sa/frontend";

describe("parseIdentity", () => {
  test("takes a workload's id apart", () => {
    expect(parseIdentity(frontend)).toEqual({
      trustDomain: "cluster.local",
      namespace: "production",
      serviceAccount: "frontend",
    });
  });

  test.each([
    ["nothing", ""],
    ["no scheme", "cluster.local/ns/production/sa/frontend"],
    ["another scheme", "https://cluster.local/ns/production/sa/frontend"],
    ["an upper-case scheme", "SPIFFE://cluster.local/ns/production/sa/frontend"],
    ["an empty trust domain", "spiffe:///ns/production/sa/frontend"],
    ["an upper-case trust domain", "spiffe://Cluster.local/ns/production/sa/frontend"],
    ["a port", "spiffe://cluster.local:80/ns/production/sa/frontend"],
    ["user info", "spiffe://me@cluster.local/ns/production/sa/frontend"],
    ["a trust domain of 256 bytes", `spiffe://${"a".repeat(256)}/ns/production/sa/frontend`],
    ["an id over 2048 bytes", `spiffe://cluster.local/ns/${"a".repeat(2048)}/sa/frontend`],
    ["an empty namespace", "spiffe://cluster.local/ns//sa/frontend"],
    ["an empty service account", "spiffe://cluster.local/ns/production/sa/"],
    ["a trailing slash", `${frontend}/`],
    ["a further segment", `${frontend}/x`],
    ["a missing segment", "spiffe://cluster.local/ns/production/sa"],
    ["other words", "spiffe://cluster.local/namespace/production/sa/frontend"],
    ["swapped words", "spiffe://cluster.local/sa/production/ns/frontend"],
    ["a dot segment", "spiffe://cluster.local/ns/../sa/frontend"],
    ["percent-encoding", "spiffe://cluster.local/ns/prod%2Fuction/sa/frontend"],
    ["a query", `${frontend}?x=1`],
    ["a fragment", `${frontend}#x`],
    ["white space", `${frontend} `],
    ["a line break", `${frontend}\n`],
    ["a NUL", `${frontend}\0`],
  ])("refuses %s", (_what, text) => {
    expect(parseIdentity(text)).toBeUndefined();
    expect(asIdentity(text)).toBeUndefined();
  });
});

describe("formatIdentity", () => {
  test("prints what parseIdentity takes apart", () => {
    const parts = { trustDomain: "mesh_1.example-org", namespace: "a", serviceAccount: "b.c" };
    expect(parseIdentity(formatIdentity(parts))).toEqual(parts);
  });

  test.each([
    ["trust domain", { trustDomain: "A", namespace: "b", serviceAccount: "c" }],
    ["namespace", { trustDomain: "a", namespace: "b/c", serviceAccount: "c" }],
    ["service account", { trustDomain: "a", namespace: "b", serviceAccount: "" }],
  ])("names a bad %s", (what, parts) => {
    expect(() => formatIdentity(parts)).toThrow(IdentityError);
    expect(() => formatIdentity(parts)).toThrow(what);
  });
});

test("principals are ids without the scheme", () => {
  const identity = formatIdentity({
    trustDomain: "cluster.local",
    namespace: "production",
    serviceAccount: "frontend",
  });
  expect(principalOf(identity)).toBe("cluster.local/ns/production/sa/frontend");
  expect(trustDomainOf(identity)).toBe("cluster.local");
});

test.each([
  ["cluster.local", true],
  ["a".repeat(255), true],
  ["a".repeat(256), false],
  ["a/b", false],
  ["", false],
])("isTrustDomain(%s) is %s", (text, expected) => {
  expect(isTrustDomain(text)).toBe(expected);
});

describe("names of a certificate", () => {
  test.each([
    [undefined, []],
    ["", []],
    [`URI:${frontend}`, [frontend]],
    [`DNS:api, URI:${frontend}, IP Address:10.0.0.1`, [frontend]],
    [`URI:${frontend}, URI:spiffe://b/ns/c/sa/d`, [frontend, "spiffe://b/ns/c/sa/d"]],
    // Node quotes what contains a comma or a quote: the inner `URI:` is text of a DNS name.
    [`DNS:"x, URI:${frontend}"`, []],
    [String.raw`DNS:"x\", URI:${frontend}"`, []],
    [`URI:"spiffe://a, URI:${frontend}"`, [`spiffe://a, URI:${frontend}`]],
    [`URI:${frontend}, ???, URI:spiffe://b/ns/c/sa/d`, []],
    [`othername:<unsupported>, URI:${frontend}`, [frontend]],
  ])("%s has %j", (text, names) => {
    expect(uriNames(text)).toEqual(names);
  });

  test("two URI names prove nothing", () => {
    expect(identityOfNames(`URI:${frontend}`)).toBe(frontend);
    expect(identityOfNames(`URI:${frontend}, URI:https://example.org`)).toBeUndefined();
    expect(identityOfNames("DNS:api")).toBeUndefined();
  });
});
