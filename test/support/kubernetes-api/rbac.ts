/** Role-based access as rbac.authorization.k8s.io/v1 defines it, evaluated over the Roles and bindings that the store holds. */
import { type ApiObject, isTree } from "./objects.ts";
import { type Resource, resourceOf } from "./resources.ts";
import type { Store } from "./store.ts";

export interface User {
  readonly username: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

export interface Access {
  readonly verb: string;
  readonly group: string;
  /** `pods`, or with its subresource `pods/status`. */
  readonly resource: string;
  /** Empty for the cluster. */
  readonly namespace: string;
  /** Empty where the request names none: collections and creations. */
  readonly name: string;
}

interface Rule {
  readonly verbs?: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
}

const rbacGroup = "rbac.authorization.k8s.io";

export class AccessRules {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  allows(user: User, access: Access): boolean {
    if (user.groups.includes("system:masters")) return true;
    // What every authenticated user may do by the bindings that a cluster starts with.
    if (/^self(subject|.*review)/.test(access.resource) && access.verb === "create") return true;
    const cluster = this.#bindings("clusterrolebindings").filter((binding) => names(binding, user));
    if (cluster.some((binding) => this.#grants(binding, "", access))) return true;
    if (access.namespace === "") return false;
    return this.#bindings("rolebindings")
      .filter(({ metadata }) => metadata.namespace === access.namespace)
      .filter((binding) => names(binding, user))
      .some((binding) => this.#grants(binding, access.namespace, access));
  }

  #bindings(plural: string): ApiObject[] {
    return this.#store.all(rbacResource(plural));
  }

  #grants(binding: ApiObject, namespace: string, access: Access): boolean {
    const reference = binding["roleRef"];
    if (!isTree(reference)) return false;
    const name = String(reference["name"]);
    const role =
      reference["kind"] === "ClusterRole"
        ? this.#store.get(rbacResource("clusterroles"), "", name)
        : this.#store.get(rbacResource("roles"), namespace, name);
    return ((role?.["rules"] ?? []) as readonly Rule[]).some((rule) => ruleAllows(rule, access));
  }
}

function rbacResource(plural: string): Resource {
  const found = resourceOf(rbacGroup, plural);
  if (found === undefined) throw new Error(`${plural} is no resource of RBAC`);
  return found;
}

function ruleAllows(rule: Rule, { verb, group, resource, name }: Access): boolean {
  const { verbs = [], apiGroups = [], resources = [], resourceNames = [] } = rule;
  if (!verbs.includes(verb) && !verbs.includes("*")) return false;
  if (!apiGroups.includes(group) && !apiGroups.includes("*")) return false;
  const slash = resource.indexOf("/");
  const anySub = slash === -1 ? resource : `*${resource.slice(slash)}`;
  if (!["*", resource, anySub].some((pattern) => resources.includes(pattern))) return false;
  return resourceNames.length === 0 || resourceNames.includes(name);
}

function names(binding: ApiObject, { username, groups }: User): boolean {
  return ((binding["subjects"] ?? []) as readonly { kind: string; name: string; namespace?: string }[]).some(
    ({ kind, name, namespace = "" }) => {
      if (kind === "User") return name === username;
      if (kind === "Group") return groups.includes(name);
      return kind === "ServiceAccount" && username === `system:serviceaccount:${namespace}:${name}`;
    },
  );
}
