/** Metrics of what control asks of a cluster: whether each kind of object is followed, how many there are, who leads. */
import { Gauge, type Registry } from "prom-client";
import type { ReflectorState } from "./reflector.ts";

export interface KubernetesFacts {
  kinds(): ReadonlyMap<string, ReflectorState>;
  /** Objects' problems, by field. */
  problems(): number;
  leading(): boolean;
}

export function registerKubernetesMetrics(registry: Registry, facts: KubernetesFacts): void {
  const gauge = (name: string, help: string, collect: (gauge: Gauge<"kind">) => void) =>
    new Gauge({
      name,
      help,
      labelNames: ["kind"],
      registers: [registry],
      collect() {
        collect(this);
      },
    });
  gauge(
    "warren_kubernetes_watch_up",
    "1 while objects of this kind are followed, 0 while they cannot be read or their CRD is missing.",
    (up) => {
      for (const [kind, state] of facts.kinds()) up.set({ kind }, state.kind === "watching" ? 1 : 0);
    },
  );
  gauge(
    "warren_kubernetes_watch_objects",
    "Objects of this kind in the cluster, as far as they were told.",
    (objects) => {
      for (const [kind, state] of facts.kinds()) if (state.kind === "watching") objects.set({ kind }, state.objects);
    },
  );
  gauge("warren_kubernetes_object_problems", "Fields of objects that cannot be used as they are.", (problems) =>
    problems.set(facts.problems()),
  );
  gauge("warren_control_leading", "1 on the replica that writes to the cluster.", (leading) =>
    leading.set(facts.leading() ? 1 : 0),
  );
}
