import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { authorizationPolicySpecSchema } from "../../src/manifests/translate/authorization-policy.ts";
import { peerAuthenticationSpecSchema } from "../../src/manifests/translate/peer-authentication.ts";
import { accepted, type PolicyKind, refused } from "./judged-objects.ts";
import { fieldsOf, type Schema, schemaSchema, violations } from "./structural-schema.ts";

const read = (path: string): unknown => parse(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8"));

const definition = z.object({
  spec: z.object({
    group: z.literal("security.istio.io"),
    scope: z.literal("Namespaced"),
    names: z.object({ kind: z.string(), plural: z.string(), shortNames: z.array(z.string()) }),
    versions: z.array(
      z.object({
        name: z.string(),
        served: z.boolean(),
        storage: z.boolean(),
        subresources: z.object({ status: z.object({}) }),
        additionalPrinterColumns: z.array(z.object({ name: z.string() })),
        schema: z.object({ openAPIV3Schema: schemaSchema }),
      }),
    ),
  }),
});

function load(plural: string) {
  const { spec } = definition.parse(read(`deploy/crds/${plural}.yaml`));
  const schema = spec.versions[0]?.schema.openAPIV3Schema.properties?.["spec"];
  if (schema === undefined) throw new Error("the CRD has no spec");
  return { spec, schema };
}

const peer = load("peerauthentications");
const authorization = load("authorizationpolicies");
const schemaOf = (kind: PolicyKind) => (kind === "PeerAuthentication" ? peer : authorization).schema;

describe.each([
  ["PeerAuthentication", "pa", "Mode", peer],
  ["AuthorizationPolicy", "ap", "Action", authorization],
] as const)("the CRD of %s", (kind, short, column, { spec }) => {
  test("has the names that manifests and people use", () => {
    expect(spec.names).toMatchObject({ kind, shortNames: [short] });
  });

  test("serves v1 and v1beta1, stores v1, with status and columns", () => {
    expect(spec.versions.map(({ name, served, storage }) => [name, served, storage])).toEqual([
      ["v1", true, true],
      ["v1beta1", true, false],
    ]);
    for (const { additionalPrinterColumns } of spec.versions) {
      expect(additionalPrinterColumns.map(({ name }) => name)).toEqual([column, "Age"]);
    }
  });
});

/** The fields of what the translator reads, written like those of a CRD. */
function fieldsRead(schema: z.ZodType): string[] {
  return fieldsOf(withoutNull(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as JsonSchema));
}

interface JsonSchema {
  readonly anyOf?: readonly JsonSchema[];
  readonly type?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly additionalProperties?: JsonSchema | boolean;
}

/** Fields that may be null are written as a choice; the CRD has no nulls. */
function withoutNull(schema: JsonSchema): Schema {
  const real = schema.anyOf?.find(({ type }) => type !== "null") ?? schema;
  if (real.anyOf !== undefined) return withoutNull(real);
  const { properties, items, additionalProperties: any } = real;
  const below =
    properties && Object.fromEntries(Object.entries(properties).map(([key, one]) => [key, withoutNull(one)]));
  return {
    properties: below,
    items: items && withoutNull(items),
    additionalProperties: typeof any === "object" ? withoutNull(any) : undefined,
  };
}

test.each([
  ["PeerAuthentication", peer, peerAuthenticationSpecSchema],
  ["AuthorizationPolicy", authorization, authorizationPolicySpecSchema],
] as const)("the CRD of %s has exactly the fields that are read", (_kind, { schema }, spec) => {
  const known = fieldsOf(schema).sort();
  expect(known.length).toBeGreaterThan(4);
  expect(known).toEqual(fieldsRead(spec).sort());
});

describe("objects that are let in", () => {
  test.each(["api-authz", "legacy-exception", "permissive", "strict"])("examples/policies/%s.yaml", (name) => {
    const { kind, spec } = read(`examples/policies/${name}.yaml`) as { kind: PolicyKind; spec: unknown };
    expect(violations(schemaOf(kind), spec)).toEqual([]);
  });

  test.each(accepted)("%s %#: %s", (kind, text) => {
    expect(violations(schemaOf(kind), parse(text))).toEqual([]);
  });
});

describe("objects that are refused, saying why", () => {
  test.each(refused)("%s %#: %s", (kind, text, why) => {
    expect(violations(schemaOf(kind), parse(text)).join("\n")).toMatch(why);
  });
});
