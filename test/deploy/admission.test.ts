import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { Environment } from "@marcbachmann/cel-js";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";
import { parseCidr } from "../../src/lib/ip.ts";
import { lintCodes } from "../../src/policy/lint-codes.ts";
import { denied, silent, warned } from "./judged-objects.ts";

const policySchema = z.object({
  kind: z.literal("ValidatingAdmissionPolicy"),
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    failurePolicy: z.enum(["Fail", "Ignore"]),
    matchConstraints: z.object({
      resourceRules: z.array(z.object({ apiVersions: z.array(z.string()), resources: z.array(z.string()) })),
    }),
    variables: z.array(z.strictObject({ name: z.string(), expression: z.string() })),
    validations: z.array(z.strictObject({ expression: z.string(), message: z.string() })),
  }),
});
const bindingSchema = z.object({
  kind: z.literal("ValidatingAdmissionPolicyBinding"),
  spec: z.object({ policyName: z.string(), validationActions: z.array(z.string()) }),
});

const documents = parseAllDocuments(readFileSync(new URL("../../deploy/admission.yaml", import.meta.url), "utf8")).map(
  (document) => document.toJS() as { kind: string },
);
const policies = documents
  .filter(({ kind }) => kind === "ValidatingAdmissionPolicy")
  .map((one) => policySchema.parse(one));
const bindings = documents
  .filter(({ kind }) => kind === "ValidatingAdmissionPolicyBinding")
  .map((one) => bindingSchema.parse(one));

/** With the functions that Kubernetes adds to CEL. */
const cel = new Environment({ homogeneousAggregateLiterals: false })
  .registerVariable("object", "dyn")
  .registerVariable("variables", "dyn")
  .registerFunction("isIP(string): bool", (text: string) => isIP(text) !== 0)
  .registerFunction("isCIDR(string): bool", (text: string) => text.includes("/") && parseCidr(text) !== undefined);

/** Messages of the validations that an object fails. */
function failures(name: string, object: object): string[] {
  const policy = policies.find(({ metadata }) => metadata.name === name);
  if (policy === undefined) throw new Error(`there is no policy ${name}`);
  const variables: Record<string, unknown> = {};
  for (const { name: variable, expression } of policy.spec.variables) {
    variables[variable] = cel.evaluate(expression, { object, variables });
  }
  return policy.spec.validations.flatMap(({ expression, message }) =>
    cel.evaluate(expression, { object, variables }) === true ? [] : [message],
  );
}

test("what is wrong is refused, what is odd is warned about", () => {
  expect(bindings.map(({ spec }) => [spec.policyName, spec.validationActions])).toEqual([
    ["warren-policies", ["Deny"]],
    ["warren-policy-lints", ["Warn"]],
  ]);
  expect(policies.map(({ spec }) => spec.failurePolicy)).toEqual(["Fail", "Ignore"]);
});

test("warnings carry codes of warren lint", () => {
  const codes = policies[1]?.spec.validations.map(({ message }) => message.split(":")[0] ?? "") ?? [];
  expect(codes.length).toBeGreaterThan(0);
  expect(codes.filter((code) => !Object.hasOwn(lintCodes, code))).toEqual([]);
});

describe("nothing is said of", () => {
  test.each(["api-authz", "legacy-exception", "permissive", "strict"])("examples/policies/%s.yaml", (name) => {
    const object = parse(
      readFileSync(new URL(`../../examples/policies/${name}.yaml`, import.meta.url), "utf8"),
    ) as object;
    expect(policies.flatMap(({ metadata }) => failures(metadata.name, object))).toEqual([]);
  });

  test.each(silent)("%j", (object) => {
    expect(policies.flatMap(({ metadata }) => failures(metadata.name, object))).toEqual([]);
  });
});

describe("warren-policies refuses", () => {
  test.each(denied)("%j", (object, why) => {
    const [only = "", ...more] = failures("warren-policies", object);
    expect(only).toMatch(why);
    expect(more).toEqual([]);
  });
});

describe("warren-policy-lints warns about", () => {
  test.each(warned)("%j", (object, code) => {
    expect(failures("warren-policy-lints", object).map((message) => message.split(":")[0])).toEqual([code]);
  });
});
