/** PeerAuthentications and AuthorizationPolicies as objects: what is known of each beside what it says. */
import type { Piece } from "../../manifests/cluster-state.ts";
import type { FieldProblem, Translation } from "../../manifests/translate/translation.ts";
import type { RawObject } from "./api.ts";

export type PolicyKind = "PeerAuthentication" | "AuthorizationPolicy";

export function policyKind(kind: string): kind is PolicyKind {
  return kind === "PeerAuthentication" || kind === "AuthorizationPolicy";
}

/** One entry of `status.conditions`, as `metav1.Condition`. */
export interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
  readonly lastTransitionTime: string;
}

/** The condition that says whether Warren enforces an object as it is written. */
export const acceptedType = "Accepted";

export interface PolicyObject {
  readonly kind: PolicyKind;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly apiVersion: string;
  readonly resourceVersion: string;
  readonly generation: number;
  readonly outcome: Translation<unknown>["kind"];
  readonly problems: readonly FieldProblem[];
  /** Names of the Services that an AuthorizationPolicy is about. */
  readonly targetServices: readonly string[];
  /** Ours, as it stands in the object. */
  readonly accepted: Condition | undefined;
}

export class PolicyObjects {
  readonly #objects = new Map<string, PolicyObject>();
  readonly #listeners = new Set<() => void>();
  #changed = false;

  [Symbol.iterator](): Iterator<PolicyObject> {
    return this.#objects.values();
  }

  get(kind: PolicyKind, namespace: string, name: string): PolicyObject | undefined {
    return this.#objects.get(`${kind} ${namespace}/${name}`);
  }

  set(kind: PolicyKind, namespace: string, name: string, object: RawObject, translation: Translation<Piece>): void {
    const { uid, resourceVersion, generation } = (object["metadata"] ?? {}) as Record<string, unknown>;
    this.#objects.set(`${kind} ${namespace}/${name}`, {
      kind,
      namespace,
      name,
      uid: typeof uid === "string" ? uid : "",
      apiVersion: typeof object["apiVersion"] === "string" ? object["apiVersion"] : "security.istio.io/v1",
      resourceVersion: typeof resourceVersion === "string" ? resourceVersion : "",
      generation: typeof generation === "number" ? generation : 0,
      outcome: translation.kind,
      problems: translation.problems,
      targetServices:
        translation.kind === "ok" && translation.value.kind === "AuthorizationPolicy"
          ? translation.value.value.targetServices
          : [],
      accepted: conditionsOf(object).find(({ type }) => type === acceptedType),
    });
    this.#changed = true;
  }

  delete(kind: PolicyKind, namespace: string, name: string): void {
    this.#changed = this.#objects.delete(`${kind} ${namespace}/${name}`) || this.#changed;
  }

  /** Called after changes that came together; the listener is not told which. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  settle(): void {
    if (!this.#changed) return;
    this.#changed = false;
    for (const listener of this.#listeners) listener();
  }
}

/** The well-formed ones: other controllers write there too. */
export function conditionsOf(object: RawObject): Condition[] {
  const { conditions } = (object["status"] ?? {}) as { conditions?: unknown };
  return Array.isArray(conditions) ? conditions.flatMap((one) => readCondition(one)) : [];
}

function readCondition(value: unknown): Condition[] {
  if (typeof value !== "object" || value === null) return [];
  const { type, status, reason, message, observedGeneration, lastTransitionTime } = value as Record<string, unknown>;
  if (typeof type !== "string") return [];
  const text = (part: unknown) => (typeof part === "string" ? part : "");
  return [
    {
      type,
      status: status === "True" || status === "False" ? status : "Unknown",
      reason: text(reason),
      message: text(message),
      // Istio's own schema lets it be a text as well.
      observedGeneration: Number.isSafeInteger(Number(observedGeneration)) ? Number(observedGeneration) : 0,
      lastTransitionTime: text(lastTransitionTime),
    },
  ];
}
