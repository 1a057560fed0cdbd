import { expect, test } from "vitest";
import { bundleText } from "../../../src/cli/query/support-bundle.ts";

const pem = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----";
const webToken = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";

test.each([
  ["a key in a text", { lastError: `while reading ${pem}` }, "MIGHAgEAMBMG"],
  ["a key by its name", { certificate: { privateKey: "whatever it looks like" } }, "whatever it looks like"],
  ["a token by its name", { control: { token: "plain-token-text" } }, "plain-token-text"],
  ["a web token in a text", { message: `refused ${webToken}` }, "eyJzdWIiOiJ4In0"],
  ["an authorization header", { headers: ["authorization: Bearer abcdefgh12345678"] }, "abcdefgh12345678"],
  ["what hides in a map", new Map([["password", "hunter-two"]]), "hunter-two"],
])("%s is left out", (_what, value, secret) => {
  const text = bundleText(value);
  expect(text).not.toContain(secret);
  expect(text).toContain("[redacted");
});

test("paths of secrets, identities and numbers of any size stay", () => {
  const value = {
    tokenFile: "/var/run/secrets/token",
    identity: "spiffe://cluster.local/ns/a/sa/token",
    bytes: 2n ** 60n,
    set: new Set(["a"]),
    labels: new Map([["app", "api"]]),
  };
  expect(JSON.parse(bundleText(value))).toEqual({
    tokenFile: "/var/run/secrets/token",
    identity: "spiffe://cluster.local/ns/a/sa/token",
    bytes: "1152921504606846976",
    set: ["a"],
    labels: { app: "api" },
  });
});
