import { describe, expect, test } from "vitest";
import { translatePeerAuthentication } from "../../../src/manifests/translate/peer-authentication.ts";
import { framed, policyObject } from "../objects.ts";

function translate(spec: unknown) {
  return translatePeerAuthentication(framed(policyObject("PeerAuthentication", "p", spec)), "shop");
}

describe("PeerAuthentication", () => {
  test("is read whole", () => {
    const spec = {
      selector: { matchLabels: { app: "api" } },
      mtls: { mode: "STRICT" },
      portLevelMtls: { "8080": { mode: "DISABLE" }, 9090: {} },
    };
    expect(translate(spec)).toMatchObject({
      kind: "ok",
      value: {
        name: "p",
        namespace: "shop",
        matchLabels: new Map([["app", "api"]]),
        mode: "STRICT",
        portModes: new Map([
          [8080, "DISABLE"],
          [9090, "UNSET"],
        ]),
      },
    });
  });

  test.each([[undefined], [{}], [{ mtls: {} }], [{ mtls: { mode: "UNSET" } }]])("%j says nothing", (spec) => {
    expect(translate(spec)).toMatchObject({ kind: "ok", value: { mode: "UNSET", matchLabels: undefined } });
  });

  test.each([
    ["an unknown mode", { mtls: { mode: "strict" } }, "spec.mtls.mode"],
    ["a misspelt field", { mtls: { mdoe: "STRICT" } }, "spec.mtls.mdoe"],
    ["ports without a selector", { portLevelMtls: { 80: { mode: "DISABLE" } } }, "spec.portLevelMtls"],
    ["ports with an empty selector", { selector: {}, portLevelMtls: { 80: {} } }, "spec.portLevelMtls"],
    ["no ports at all", { selector: { matchLabels: { a: "b" } }, portLevelMtls: {} }, "spec.portLevelMtls"],
    [
      "an impossible port",
      { selector: { matchLabels: { a: "b" } }, portLevelMtls: { 70000: {} } },
      "spec.portLevelMtls[70000]",
    ],
    ["a wildcard in the selector", { selector: { matchLabels: { a: "*" } } }, "spec.selector.matchLabels[a]"],
  ])("%s is rejected, names the field, and reads as STRICT where nothing was in force", (_name, spec, field) => {
    expect(translate(spec)).toMatchObject({ kind: "rejected", problems: [{ field }], otherwise: { mode: "STRICT" } });
  });

  test("the safe reading keeps a readable selector and selects the namespace without one", () => {
    expect(translate({ selector: { matchLabels: { a: "b" } }, mtls: { mode: "x" } })).toMatchObject({
      otherwise: { matchLabels: new Map([["a", "b"]]) },
    });
    expect(translate({ selector: { labels: { a: "b" } } })).toMatchObject({ otherwise: { matchLabels: undefined } });
  });
});
