/** NetworkPolicy: whom it selects. One that cannot be read counts as selecting its whole namespace. */
import { z } from "zod";
import type { NetworkPolicy } from "../../model/network-policy.ts";
import type { KubernetesObject } from "./metadata.ts";
import { ok, problemsOf, rejected, type Translation } from "./translation.ts";

const schema = z.looseObject({
  spec: z
    .looseObject({
      podSelector: z.looseObject({ matchLabels: z.record(z.string(), z.string()).nullish() }).nullish(),
    })
    .nullish(),
});

export function translateNetworkPolicy(object: KubernetesObject, namespace: string): Translation<NetworkPolicy> {
  const { name } = object.metadata;
  const parsed = schema.safeParse(object.raw);
  if (!parsed.success) return rejected(problemsOf(parsed.error), { name, namespace, matchLabels: new Map() });
  const labels = parsed.data.spec?.podSelector?.matchLabels ?? {};
  return ok({ name, namespace, matchLabels: new Map(Object.entries(labels)) });
}
