/**
 * Who may do what with the Kubernetes API. Agents may nothing. Control reads what it watches, answers who a caller is, and writes the
 * status of policies, Events about them, and three objects of its own namespace. What people need for `warren`'s verbs is a role to bind.
 */
import { operatorAccess } from "../../src/control/kubernetes/operator-review.ts";
import { operatorAccount } from "../../src/control/kubernetes/operator-tunnel.ts";
import { watchedKinds } from "../../src/control/kubernetes/watched-kinds.ts";
import { releaseNamespace, type Templated } from "./knob.ts";
import { clusterMetadata, controlName, metadata } from "./labels.ts";

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

const groupOf = (apiVersion: string) => (apiVersion.includes("/") ? apiVersion.slice(0, apiVersion.indexOf("/")) : "");

/** One rule for each API group, in the order of the kinds. */
function watchRules(): Rule[] {
  const plurals = new Map<string, string[]>();
  for (const { apiVersion, plural } of watchedKinds) {
    const group = groupOf(apiVersion);
    plurals.set(group, [...(plurals.get(group) ?? []), plural]);
  }
  return [...plurals].map(([group, resources]) => ({ apiGroups: [group], resources, verbs: ["list", "watch"] }));
}

const policies = ["peerauthentications", "authorizationpolicies"];

const controlRules: readonly Rule[] = [
  ...watchRules(),
  { apiGroups: ["security.istio.io"], resources: policies, verbs: ["get"] },
  { apiGroups: ["security.istio.io"], resources: policies.map((name) => `${name}/status`), verbs: ["patch"] },
  { apiGroups: ["events.k8s.io"], resources: ["events"], verbs: ["create"] },
  { apiGroups: ["authentication.k8s.io"], resources: ["tokenreviews"], verbs: ["create"] },
  { apiGroups: ["authorization.k8s.io"], resources: ["subjectaccessreviews"], verbs: ["create"] },
];

/** In its own namespace. A name cannot bound `create`: it is not known yet when that is judged. */
const ownRules: readonly Rule[] = [
  { apiGroups: [""], resources: ["secrets", "configmaps"], verbs: ["create"] },
  { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
  { apiGroups: [""], resources: ["secrets"], resourceNames: ["warren-ca"], verbs: ["get", "list", "watch", "patch"] },
  { apiGroups: [""], resources: ["secrets"], resourceNames: ["cacerts"], verbs: ["get", "list", "watch"] },
  {
    apiGroups: [""],
    resources: ["configmaps"],
    resourceNames: ["warren-ca-root"],
    verbs: ["list", "watch", "patch"],
  },
  {
    apiGroups: ["coordination.k8s.io"],
    resources: ["leases"],
    resourceNames: [controlName],
    verbs: ["get", "update"],
  },
];

/** The way to control: its pods, a port-forward to one, and the roots; and what our pods wrote, for a support archive. */
const viewerRules: readonly Rule[] = [
  { apiGroups: [""], resources: ["pods"], verbs: ["get", "list"] },
  { apiGroups: [""], resources: ["pods/portforward"], verbs: ["create", "get"] },
  { apiGroups: [""], resources: ["pods/log"], verbs: ["get"] },
  { apiGroups: [""], resources: ["configmaps"], resourceNames: ["warren-ca-root"], verbs: ["get"] },
];

/** And a token for it. */
const operatorRules: readonly Rule[] = [
  ...viewerRules,
  { apiGroups: [""], resources: ["serviceaccounts/token"], resourceNames: [operatorAccount], verbs: ["create"] },
];

function access(actions: readonly (keyof typeof operatorAccess)[]): Rule[] {
  return actions.map((action) => {
    const { verb, resource } = operatorAccess[action];
    return { apiGroups: ["warren.dev"], resources: [resource], verbs: [verb] };
  });
}

const asTemplated = (rules: readonly Rule[]): Templated => rules.map((rule) => ({ ...rule }));
const rbac = "rbac.authorization.k8s.io";

function binding(
  kind: "ClusterRole" | "Role",
  name: string,
  account: string,
  component: "control" | "operator",
): Templated {
  const cluster = kind === "ClusterRole";
  return {
    apiVersion: `${rbac}/v1`,
    kind: `${kind}Binding`,
    metadata: cluster ? clusterMetadata(name, component) : metadata(name, component),
    roleRef: { apiGroup: rbac, kind, name },
    subjects: [{ kind: "ServiceAccount", name: account, namespace: releaseNamespace }],
  };
}

function clusterRole(name: string, component: "control" | "operator", rules: readonly Rule[]): Templated {
  const apiVersion = `${rbac}/v1`;
  return { apiVersion, kind: "ClusterRole", metadata: clusterMetadata(name, component), rules: asTemplated(rules) };
}

function role(name: string, component: "control" | "operator", rules: readonly Rule[]): Templated {
  const apiVersion = `${rbac}/v1`;
  return { apiVersion, kind: "Role", metadata: metadata(name, component), rules: asTemplated(rules) };
}

export const controlAccess: readonly Templated[] = [
  { apiVersion: "v1", kind: "ServiceAccount", metadata: metadata(controlName, "control") },
  clusterRole(controlName, "control", controlRules),
  binding("ClusterRole", controlName, controlName, "control"),
  role(controlName, "control", ownRules),
  binding("Role", controlName, controlName, "control"),
];

export const operatorObjects: readonly Templated[] = [
  {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: metadata(operatorAccount, "operator"),
    automountServiceAccountToken: false,
  },
  clusterRole(operatorAccount, "operator", access(["inspect", "manage-agents", "manage-authority"])),
  binding("ClusterRole", operatorAccount, operatorAccount, "operator"),
  // For people who may only look: bind their own user to it.
  clusterRole("warren-viewer", "operator", access(["inspect"])),
  role("warren-operator-access", "operator", operatorRules),
  role("warren-viewer-access", "operator", viewerRules),
];
