import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { authorizationPolicySpecSchema } from "../../src/manifests/translate/authorization-policy.ts";
import { peerAuthenticationSpecSchema } from "../../src/manifests/translate/peer-authentication.ts";
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
    const { kind, spec } = read(`examples/policies/${name}.yaml`) as { kind: string; spec: unknown };
    expect(violations(kind === "PeerAuthentication" ? peer.schema : authorization.schema, spec)).toEqual([]);
  });

  test.each([
    [authorization, "{}"],
    [authorization, "{rules: []}"],
    [authorization, "{rules: [{}]}"],
    [authorization, "{action: DENY, rules: [{from: [{source: {namespaces: [a, 'b*', '*c', '*']}}]}]}"],
    [authorization, "{targetRefs: [{kind: Service, name: api}, {group: '', kind: Service, name: b}]}"],
    [authorization, "{targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: gw}}"],
    [authorization, "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8, 10.1.2.3, 'fd00::/8', '::1']}}]}]}"],
    [
      authorization,
      "{rules: [{to: [{operation: {ports: ['1', '65535'], paths: ['/a/{*}/b', '/c/{**}', '/d*', '*']}}]}]}",
    ],
    [authorization, "{rules: [{when: [{key: 'request.headers[x-tenant]', values: [blue]}]}]}"],
    [authorization, "{rules: [{when: [{key: source.ip, notValues: [10.0.0.1]}]}]}"],
    [authorization, "{action: AUDIT, rules: [{from: [{source: {serviceAccounts: [a/b, c]}}]}]}"],
    [peer, "{}"],
    [peer, "{mtls: {mode: UNSET}}"],
    [peer, "{selector: {matchLabels: {app: a}}, portLevelMtls: {8080: {mode: DISABLE}, 65535: {}}}"],
  ] as const)("%#: %s", ({ schema }, text) => {
    expect(violations(schema, parse(text))).toEqual([]);
  });
});

describe("objects that are refused, saying why", () => {
  const source = (fields: string) => `{rules: [{from: [{source: {${fields}}}]}]}`;
  const operation = (fields: string) => `{rules: [{to: [{operation: {${fields}}}]}]}`;
  test.each([
    [authorization, "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: x}]}", /at most one of/],
    [authorization, "{targetRef: {kind: Service, name: x}, targetRefs: [{kind: Service, name: x}]}", /at most one of/],
    [authorization, "{targetRef: {kind: Pod, name: x}}", /targets are Services/],
    [authorization, "{targetRef: {kind: Service, name: x, namespace: other}}", /own namespace/],
    [authorization, "{action: CUSTOM, rules: [{}]}", /external authorizer/],
    [authorization, "{provider: {name: x}}", /provider belongs to action CUSTOM/],
    [authorization, "{action: DENY}", /at least one rule/],
    [authorization, "{action: AUDIT, rules: []}", /at least one rule/],
    [authorization, "{action: BLOCK}", /is none of ALLOW/],
    [authorization, "{selector: {matchLabels: {app: 'a*'}}}", /no wildcard/],
    [authorization, "{selector: {matchLabels: {'': a}}}", /no empty key/],
    [authorization, source(""), /has 0 fields/],
    [authorization, source("principals: []"), /has 0 items/],
    [authorization, source("principals: ['']"), /has 0 characters/],
    [authorization, source("principals: ['a*b']"), /does not match/],
    [authorization, source("principal: [a]"), /unknown field/],
    [authorization, source("ipBlocks: [10.0.0.0/33]"), /does not match/],
    [authorization, source("ipBlocks: [host]"), /does not match/],
    [authorization, source("notRemoteIpBlocks: ['fd00::/129']"), /does not match/],
    [authorization, source("requestPrincipals: [x]"), /JWT/],
    [authorization, source("serviceAccounts: [a/b], namespaces: [c]"), /cannot stand beside/],
    [authorization, source("serviceAccounts: ['a*']"), /does not match/],
    [authorization, source("trustDomains: [a/b]"), /does not match/],
    [authorization, "{rules: [{from: [{}]}]}", /source: is missing/],
    [authorization, operation("ports: ['0']"), /does not match/],
    [authorization, operation("ports: ['65536']"), /does not match/],
    [authorization, operation("ports: [80]"), /is no string/],
    [authorization, operation("paths: ['/a/{name}']"), /does not match/],
    [authorization, "{rules: [{when: [{key: source.ip}]}]}", /values or notValues/],
    [authorization, "{rules: [{when: [{key: connection.sni, values: [a]}]}]}", /SNI/],
    [authorization, "{rules: [{when: [{key: 'request.auth.claims[x]', values: [a]}]}]}", /JWT claims/],
    [peer, "{portLevelMtls: {8080: {mode: STRICT}}}", /needs a selector/],
    [peer, "{selector: {}, portLevelMtls: {8080: {mode: STRICT}}}", /needs a selector/],
    [peer, "{selector: {matchLabels: {a: b}}, portLevelMtls: {}}", /has 0 fields/],
    [peer, "{selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: STRICT}}}", /ports of 1 to 65535/],
    [peer, "{selector: {matchLabels: {a: b}}, portLevelMtls: {70000: {mode: STRICT}}}", /ports of 1 to 65535/],
    [peer, "{mtls: {mode: STRIKT}}", /is none of UNSET/],
    [peer, "{mtsl: {mode: STRICT}}", /unknown field/],
  ] as const)("%#: %s", ({ schema }, text, why) => {
    expect(violations(schema, parse(text)).join("\n")).toMatch(why);
  });
});
