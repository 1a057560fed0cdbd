/** One object of the cluster, followed: told as it is at first, whenever it changes, and as undefined when it is not there. */
import type { Clock } from "../../lib/clock.ts";
import type { KubernetesApi, RawObject } from "./api.ts";
import { Reflector, type ReflectorLog, type ReflectorOptions, reflectorDefaults } from "./reflector.ts";
import { apiPath } from "./watched-kinds.ts";

export interface NamedObjectDeps {
  readonly api: KubernetesApi;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: ReflectorLog;
}

export interface NamedObjectOptions {
  readonly kind: string;
  readonly apiVersion: string;
  readonly plural: string;
  readonly namespace: string;
  readonly name: string;
  readonly reflector?: Partial<Omit<ReflectorOptions, "kind" | "path" | "optional" | "query">>;
}

/** A right to this one object is enough: the selection by name lets RBAC's `resourceNames` apply. */
export function followObject(
  deps: NamedObjectDeps,
  options: NamedObjectOptions,
  onObject: (object: RawObject | undefined) => void,
): Reflector {
  const { kind, apiVersion, plural, namespace, name, reflector = {} } = options;
  let current: RawObject | undefined;
  const followed = new Reflector(
    {
      ...deps,
      sink: {
        set: (_namespace, _name, object) => {
          current = object;
        },
        delete: () => {
          current = undefined;
        },
        settle: () => onObject(current),
      },
    },
    {
      ...reflectorDefaults,
      ...reflector,
      kind,
      path: apiPath(apiVersion, plural, namespace),
      optional: false,
      query: { fieldSelector: `metadata.name=${name}` },
    },
  );
  followed.start();
  return followed;
}
