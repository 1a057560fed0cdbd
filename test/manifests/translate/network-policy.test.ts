import { describe, expect, test } from "vitest";
import { frameSchema } from "../../../src/manifests/translate/metadata.ts";
import { translateNetworkPolicy } from "../../../src/manifests/translate/network-policy.ts";

function translate(spec: unknown) {
  const raw = { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { name: "np" }, spec };
  const { apiVersion, kind, metadata } = frameSchema.parse(raw);
  return translateNetworkPolicy({ apiVersion, kind, metadata, raw }, "shop");
}

describe("a NetworkPolicy", () => {
  test.each([
    [{ podSelector: { matchLabels: { app: "api" } }, policyTypes: ["Ingress"] }, [["app", "api"]]],
    [{ podSelector: {} }, []],
    [{}, []],
    [
      { podSelector: { matchLabels: { app: "api" }, matchExpressions: [{ key: "tier", operator: "Exists" }] } },
      [["app", "api"]],
    ],
    [{ podSelector: { matchExpressions: [{ key: "tier", operator: "Exists" }] } }, []],
  ])("%j selects by %j", (spec, labels) => {
    expect(translate(spec)).toMatchObject({
      kind: "ok",
      value: { name: "np", namespace: "shop", matchLabels: new Map(labels as [string, string][]) },
    });
  });

  test("that cannot be read selects its whole namespace", () => {
    expect(translate({ podSelector: { matchLabels: ["app"] } })).toMatchObject({
      kind: "rejected",
      otherwise: { namespace: "shop", matchLabels: new Map() },
    });
  });
});
