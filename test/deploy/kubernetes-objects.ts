import { parseAllDocuments } from "yaml";

/** What tests of manifests look at. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> };
  readonly data?: Record<string, string>;
  readonly roleRef?: { readonly name: string };
  readonly subjects?: readonly { readonly name: string }[];
  readonly spec?: { readonly template?: { readonly spec: PodSpec } };
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly volumes: readonly { readonly name: string; readonly configMap?: { readonly name: string } }[];
  readonly [key: string]: unknown;
}

export interface Container {
  readonly command: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly [key: string]: unknown;
}

/** Of a YAML stream; documents that say nothing are passed over. */
export function objectsIn(yaml: string): KubernetesObject[] {
  const documents = parseAllDocuments(yaml);
  return "empty" in documents
    ? []
    : documents.map((one) => one.toJS({ maxAliasCount: -1 }) as KubernetesObject | null).filter((one) => one !== null);
}

/** In an order of their own: a tool puts out objects as it likes. */
export function byName(objects: readonly KubernetesObject[]): Readonly<Record<string, KubernetesObject>> {
  const named = objects.map((one) => [`${one.kind} ${one.metadata.name}`, one] as const);
  if (new Set(named.map(([name]) => name)).size < named.length) throw new Error("two objects have one name");
  return Object.fromEntries(named);
}
