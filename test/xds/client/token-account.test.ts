import { expect, test } from "vitest";
import { tokenAccount } from "../../../src/xds/client/token-account.ts";

const jwt = (claims: unknown) =>
  ["header", Buffer.from(JSON.stringify(claims)).toString("base64url"), "signature"].join(".");
const account = "system:serviceaccount:mesh:warren-node";

test.each<[string, string, ReturnType<typeof tokenAccount>]>([
  [
    "a bound token",
    `${jwt({ sub: account, "kubernetes.io": { namespace: "mesh", pod: { name: "agent-x", uid: "1" } } })}\n`,
    { namespace: "mesh", pod: "agent-x" },
  ],
  ["one that is bound to no pod", jwt({ sub: account }), { namespace: "mesh", pod: undefined }],
  ["a person's", jwt({ sub: "jane" }), undefined],
  ["one without a subject", jwt({ iss: "somebody" }), undefined],
  ["what is no JSON", "a.b.c", undefined],
  ["a token of a file", "secret", undefined],
  ["nothing", "", undefined],
])("of %s the account is read if it names one", (_what, token, expected) => {
  expect(tokenAccount(token)).toEqual(expected);
});
