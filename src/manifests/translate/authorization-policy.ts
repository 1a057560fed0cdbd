/**
 * AuthorizationPolicy → model. Nothing is dropped in silence: an unknown field, an empty list or a value that cannot be understood
 * becomes a problem of the policy, and a policy with problems denies what it selects. Only an object whose shape cannot be read
 * at all is rejected; its last good version stays, and where there is none it denies its whole namespace.
 */
import { z } from "zod";
import type {
  AuthorizationAction,
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationPolicy,
  AuthorizationRule,
  AuthorizationSource,
} from "../../model/authorization.ts";
import { valueProblems } from "../../policy/authorization/value-problems.ts";
import type { KubernetesObject } from "./metadata.ts";
import { readMatchLabels } from "./selector.ts";
import { type FieldProblem, fieldPath, ignored, ok, rejected, type Translation } from "./translation.ts";

/** Istio's annotation: the policy is recorded but not enforced. */
export const dryRunAnnotation = "istio.io/dry-run";

const list = z.array(z.string()).nullish();

function specSchema(object: typeof z.object | typeof z.strictObject) {
  const source = object({
    principals: list,
    notPrincipals: list,
    serviceAccounts: list,
    notServiceAccounts: list,
    namespaces: list,
    notNamespaces: list,
    trustDomains: list,
    notTrustDomains: list,
    ipBlocks: list,
    notIpBlocks: list,
    remoteIpBlocks: list,
    notRemoteIpBlocks: list,
    requestPrincipals: list,
    notRequestPrincipals: list,
  });
  const operation = object({
    ports: list,
    notPorts: list,
    hosts: list,
    notHosts: list,
    methods: list,
    notMethods: list,
    paths: list,
    notPaths: list,
  });
  const condition = object({ key: z.string(), values: list, notValues: list });
  const targetRef = object({
    group: z.string().nullish(),
    kind: z.string(),
    name: z.string(),
    namespace: z.string().nullish(),
  });
  const rule = object({
    from: z.array(object({ source: source.nullish() })).nullish(),
    to: z.array(object({ operation: operation.nullish() })).nullish(),
    when: z.array(condition).nullish(),
  });
  return object({
    selector: object({ matchLabels: z.record(z.string(), z.string()).nullish() }).nullish(),
    targetRef: targetRef.nullish(),
    targetRefs: z.array(targetRef).nullish(),
    action: z.enum(["ALLOW", "DENY", "AUDIT", "CUSTOM"]).nullish(),
    provider: object({ name: z.string().nullish() }).nullish(),
    rules: z.array(rule.nullish()).nullish(),
  }).nullish();
}

const strict = specSchema(z.strictObject);
/** Every field that is read; the CRD in `deploy/` must have the same. */
export const authorizationPolicySpecSchema = strict;
const stripping = specSchema(z.object);
type Spec = NonNullable<z.output<typeof strict>>;

export function translateAuthorizationPolicy(
  object: KubernetesObject,
  namespace: string,
): Translation<AuthorizationPolicy> {
  const raw = object.raw.spec;
  const parsed = stripping.safeParse(raw);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => ({
      field: fieldPath(["spec", ...issue.path]),
      message: issue.message,
    }));
    return rejected(problems, closed(object, namespace, problems));
  }
  const spec: Spec = parsed.data ?? {};
  const problems: FieldProblem[] = unknownFields(raw);
  const target = readTarget(spec, namespace, problems);
  if (target === undefined) return ignored(problems);
  const action: AuthorizationAction = spec.action ?? "ALLOW";
  checkAction(action, spec, problems);
  checkEmptyLists(knownPart(raw), problems);
  const rules = (spec.rules ?? []).map(readRule);
  const dryRun = readDryRun(object, problems);
  problems.push(...valueProblems(rules));
  const distinct = [...new Map(problems.toReversed().map((problem) => [problem.field, problem])).values()].toReversed();
  return ok(
    {
      name: object.metadata.name,
      namespace,
      createdAt: object.metadata.creationTimestamp,
      action,
      dryRun,
      matchLabels: target.matchLabels,
      targetServices: target.services,
      rules,
      problems: distinct.map(problemText),
    },
    distinct,
  );
}

function problemText({ field, message }: FieldProblem): string {
  return `${field}: ${message}`;
}

/** Denies all that the unreadable object could have selected. */
function closed(object: KubernetesObject, namespace: string, problems: readonly FieldProblem[]): AuthorizationPolicy {
  return {
    name: object.metadata.name,
    namespace,
    createdAt: object.metadata.creationTimestamp,
    action: "DENY",
    dryRun: false,
    matchLabels: undefined,
    targetServices: [],
    rules: [],
    problems: problems.map(problemText),
  };
}

function unknownFields(raw: unknown): FieldProblem[] {
  const parsed = strict.safeParse(raw);
  return (parsed.error?.issues ?? []).flatMap((issue) =>
    issue.code === "unrecognized_keys"
      ? issue.keys.map((key) => ({ field: fieldPath(["spec", ...issue.path, key]), message: unknownField(key) }))
      : [],
  );
}

/** Some meshes' policies have rules for what leaves a pod too; who writes them must not believe that they hold here. */
function unknownField(key: string): string {
  return key === "egress" || key === "egressRules"
    ? "unknown field: policy is about what a workload accepts; for what it may send use a NetworkPolicy, or policies of the destinations"
    : "unknown field";
}

/** The fields that are read at all: of an unknown one no more is to be said than that. */
function knownPart(raw: unknown): unknown {
  if (typeof raw !== "object" || raw === null) return raw;
  const known = new Set(Object.keys(strict.unwrap().unwrap().shape));
  return Object.fromEntries(Object.entries(raw).filter(([key]) => known.has(key)));
}

/** Undefined when the policy is meant for things that are not workloads of this mesh. */
function readTarget(
  spec: Spec,
  namespace: string,
  problems: FieldProblem[],
): { matchLabels: AuthorizationPolicy["matchLabels"]; services: readonly string[] } | undefined {
  const refs = [...(spec.targetRef ? [spec.targetRef] : []), ...(spec.targetRefs ?? [])];
  const matchLabels = readMatchLabels(spec.selector, problems);
  if (refs.length === 0) return { matchLabels, services: [] };
  if (spec.selector) problems.push({ field: "spec.targetRefs", message: "cannot stand beside selector" });
  const services = new Set<string>();
  const foreign: FieldProblem[] = [];
  for (const { kind, group, name, namespace: other } of refs) {
    if (kind !== "Service" || (group ?? "") !== "") {
      foreign.push({
        field: "spec.targetRefs",
        message: `${kind} ${name} is not something Warren enforces for; use selector or a Service`,
      });
    } else if ((other ?? namespace) !== namespace) {
      problems.push({ field: "spec.targetRefs", message: `Service ${name} must be in the policy's own namespace` });
    } else {
      services.add(name);
    }
  }
  problems.push(...foreign);
  if (services.size === 0 && foreign.length === refs.length && !spec.selector) return undefined;
  return { matchLabels, services: [...services] };
}

function checkAction(action: AuthorizationAction, spec: Spec, problems: FieldProblem[]): void {
  const rules = spec.rules ?? [];
  if (action === "CUSTOM") {
    problems.push({ field: "spec.action", message: "CUSTOM needs an external authorizer, which Warren doesn't call" });
  } else if (spec.provider) {
    problems.push({ field: "spec.provider", message: "belongs to action CUSTOM only" });
  }
  if (action !== "ALLOW" && rules.length === 0) {
    problems.push({
      field: "spec.rules",
      message: `${action} without rules is meaningless; give it at least one rule`,
    });
  }
}

function readDryRun(object: KubernetesObject, problems: FieldProblem[]): boolean {
  const text = object.metadata.annotations.get(dryRunAnnotation);
  if (text === undefined || text === "false") return false;
  if (text === "true") return true;
  problems.push({
    field: `metadata.annotations[${dryRunAnnotation}]`,
    message: `${JSON.stringify(text)} is neither "true" nor "false"`,
  });
  return false;
}

/**
 * An empty list or an empty source reads like "nobody" and would mean "anybody". Istio's admission refuses most of them; here they
 * never take effect.
 */
function checkEmptyLists(raw: unknown, problems: FieldProblem[], path: readonly PropertyKey[] = ["spec"]): void {
  if (Array.isArray(raw)) {
    for (const [index, item] of raw.entries()) {
      if (item === "") problems.push({ field: fieldPath([...path, index]), message: "is empty" });
      else checkEmptyLists(item, problems, [...path, index]);
    }
    return;
  }
  if (typeof raw !== "object" || raw === null) return;
  for (const [key, value] of Object.entries(raw)) {
    const here = [...path, key];
    const emptyObject = value === null || (typeof value === "object" && Object.keys(value as object).length === 0);
    if (Array.isArray(value) && value.length === 0 && !(key === "rules" && path.length === 1)) {
      problems.push({ field: fieldPath(here), message: "is an empty list: leave it out, or name somebody" });
    } else if (emptyObject && (key === "source" || key === "operation")) {
      problems.push({ field: fieldPath(here), message: "is empty: leave it out, or name something" });
    } else {
      checkEmptyLists(value, problems, here);
    }
  }
  const holder = path.at(-2);
  if ((holder === "from" || holder === "to") && !Object.hasOwn(raw, holder === "from" ? "source" : "operation")) {
    problems.push({ field: fieldPath(path), message: `has no ${holder === "from" ? "source" : "operation"}` });
  }
}

function readRule(rule: NonNullable<Spec["rules"]>[number]): AuthorizationRule {
  return {
    from: (rule?.from ?? []).map(({ source }) => readSource(source ?? {})),
    to: (rule?.to ?? []).map(({ operation }) => readOperation(operation ?? {})),
    when: (rule?.when ?? []).map(
      ({ key, values, notValues }): AuthorizationCondition => ({
        key,
        values: values ?? [],
        notValues: notValues ?? [],
      }),
    ),
  };
}

type RuleInput = NonNullable<NonNullable<Spec["rules"]>[number]>;
type SourceInput = NonNullable<NonNullable<RuleInput["from"]>[number]["source"]>;
type OperationInput = NonNullable<NonNullable<RuleInput["to"]>[number]["operation"]>;

function readSource(source: SourceInput): AuthorizationSource {
  return {
    principals: source.principals ?? [],
    notPrincipals: source.notPrincipals ?? [],
    serviceAccounts: source.serviceAccounts ?? [],
    notServiceAccounts: source.notServiceAccounts ?? [],
    namespaces: source.namespaces ?? [],
    notNamespaces: source.notNamespaces ?? [],
    trustDomains: source.trustDomains ?? [],
    notTrustDomains: source.notTrustDomains ?? [],
    ipBlocks: source.ipBlocks ?? [],
    notIpBlocks: source.notIpBlocks ?? [],
    remoteIpBlocks: source.remoteIpBlocks ?? [],
    notRemoteIpBlocks: source.notRemoteIpBlocks ?? [],
    requestPrincipals: source.requestPrincipals ?? [],
    notRequestPrincipals: source.notRequestPrincipals ?? [],
  };
}

function readOperation(operation: OperationInput): AuthorizationOperation {
  return {
    ports: operation.ports ?? [],
    notPorts: operation.notPorts ?? [],
    hosts: operation.hosts ?? [],
    notHosts: operation.notHosts ?? [],
    methods: operation.methods ?? [],
    notMethods: operation.notMethods ?? [],
    paths: operation.paths ?? [],
    notPaths: operation.notPaths ?? [],
  };
}
