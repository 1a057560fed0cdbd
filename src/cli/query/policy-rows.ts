/** Policies as `warren policies` lists them. Pure. */
import { labelsMatch } from "../../lib/labels.ts";
import type { AuthorizationPolicy } from "../../model/authorization.ts";
import type { MeshView } from "../../model/mesh.ts";
import type { PeerAuthentication } from "../../model/peer-authentication.ts";
import type { Workload } from "../../model/workload.ts";
import type { Listing } from "../output/listing.ts";

export interface PolicyRow {
  readonly namespace: string;
  readonly name: string;
  readonly kind: "AuthorizationPolicy" | "PeerAuthentication";
  /** ALLOW, DENY, AUDIT; or the mode. */
  readonly action: string;
  readonly dryRun: boolean;
  readonly scope: "mesh" | "namespace" | "workload";
  /** `app=api,tier=web`, or `service/api`; empty without a selector. */
  readonly selector: string;
  readonly rules: number;
  /** Modes by port, of a PeerAuthentication. */
  readonly portModes: Readonly<Record<string, string>>;
  /** Workloads that it holds for. */
  readonly selects: number;
  readonly problems: readonly string[];
}

/** With nodes, only what selects a workload there. */
export function policyRows(view: MeshView, nodes: ReadonlySet<string>): PolicyRow[] {
  const workloads = [...view.workloads()].filter(({ node }) => nodes.size === 0 || nodes.has(node));
  // By name: a policy is read anew for whoever asks, and is another object then.
  const selectedBy = new Map<string, number>();
  for (const workload of workloads)
    for (const { namespace, name } of view.authorizationFor(workload))
      selectedBy.set(`${namespace}/${name}`, (selectedBy.get(`${namespace}/${name}`) ?? 0) + 1);
  const { rootNamespace } = view.settings;
  const rows = [
    ...Array.from(view.authorizationPolicies(), (policy) =>
      authorizationRow(policy, rootNamespace, selectedBy.get(`${policy.namespace}/${policy.name}`) ?? 0),
    ),
    ...Array.from(view.peerAuthentications(), (policy) => peerRow(policy, rootNamespace, workloads)),
  ];
  return rows
    .filter(({ selects }) => nodes.size === 0 || selects > 0)
    .sort((one, other) => (keyOf(one) < keyOf(other) ? -1 : 1));
}

const keyOf = ({ namespace, kind, name }: PolicyRow) => `${namespace} ${kind} ${name}`;

function authorizationRow(policy: AuthorizationPolicy, rootNamespace: string, selects: number): PolicyRow {
  const { namespace, name, action, dryRun, matchLabels, targetServices, rules, problems, attached } = policy;
  const narrow = matchLabels !== undefined || targetServices.length > 0 || attached === true;
  return {
    namespace,
    name,
    kind: "AuthorizationPolicy",
    action,
    dryRun,
    scope: narrow ? "workload" : namespace === rootNamespace ? "mesh" : "namespace",
    selector: [labelsText(matchLabels), ...targetServices.map((service) => `service/${service}`)]
      .filter((text) => text !== "")
      .join(","),
    rules: rules.length,
    portModes: {},
    selects,
    problems,
  };
}

function peerRow(policy: PeerAuthentication, rootNamespace: string, workloads: readonly Workload[]): PolicyRow {
  const { namespace, name, mode, matchLabels, portModes } = policy;
  const meshWide = matchLabels === undefined && namespace === rootNamespace;
  const selected = workloads.filter(
    (workload) =>
      meshWide ||
      (workload.namespace === namespace && (matchLabels === undefined || labelsMatch(matchLabels, workload.labels))),
  );
  return {
    namespace,
    name,
    kind: "PeerAuthentication",
    action: mode,
    dryRun: false,
    scope: meshWide ? "mesh" : matchLabels === undefined ? "namespace" : "workload",
    selector: labelsText(matchLabels),
    rules: 0,
    portModes: Object.fromEntries([...portModes].map(([port, portMode]) => [String(port), portMode])),
    selects: selected.length,
    problems: [],
  };
}

function labelsText(labels: ReadonlyMap<string, string> | undefined): string {
  return [...(labels ?? [])].map(([key, value]) => `${key}=${value}`).join(",");
}

export const policiesListing: Listing<PolicyRow> = {
  schema: "warren.policies/v1",
  items: "policies",
  columns: [
    { title: "NAMESPACE", cell: ({ namespace }) => namespace },
    { title: "POLICY NAME", cell: ({ name }) => name },
    { title: "KIND", cell: ({ kind }) => kind },
    { title: "ACTION", cell: ({ action, dryRun }) => (dryRun ? `${action} (dry run)` : action) },
    { title: "SCOPE", cell: ({ scope, selector }) => (selector === "" ? scope : selector) },
    { title: "RULES", cell: ({ kind, rules }) => (kind === "AuthorizationPolicy" ? String(rules) : "") },
    { title: "SELECTS", cell: ({ selects }) => String(selects) },
    {
      title: "PORT MODES",
      cell: ({ portModes }) =>
        Object.entries(portModes)
          .map(([port, mode]) => `${port}=${mode}`)
          .join(","),
      wide: true,
    },
    {
      title: "PROBLEMS",
      cell: ({ problems }) => problems.join("; "),
      style: ({ problems }, colours) => (problems.length > 0 ? colours.red : undefined),
    },
  ],
  name: ({ kind, namespace, name }) => `${kind.toLowerCase()}/${name}.${namespace}`,
  none: "no policies",
};
