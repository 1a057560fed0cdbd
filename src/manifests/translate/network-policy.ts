/** NetworkPolicy: whom it selects, and whether tunnels pass. One that cannot be read counts as selecting its whole namespace. */
import { z } from "zod";
import type { NetworkPolicy, PortVerdict } from "../../model/network-policy.ts";
import { hbonePort } from "../../model/ports.ts";
import type { KubernetesObject } from "./metadata.ts";
import { ok, problemsOf, rejected, type Translation } from "./translation.ts";

const port = z.looseObject({
  protocol: z.string().nullish(),
  port: z.union([z.int(), z.string()]).nullish(),
  endPort: z.int().nullish(),
});
const rules = z.array(z.looseObject({ ports: z.array(port).nullish() })).nullish();
const schema = z.looseObject({
  spec: z
    .looseObject({
      policyTypes: z.array(z.string()).nullish(),
      ingress: rules,
      egress: rules,
      podSelector: z.looseObject({ matchLabels: z.record(z.string(), z.string()).nullish() }).nullish(),
    })
    .nullish(),
});

export function translateNetworkPolicy(object: KubernetesObject, namespace: string): Translation<NetworkPolicy> {
  const { name } = object.metadata;
  const parsed = schema.safeParse(object.raw);
  if (!parsed.success) return rejected(problemsOf(parsed.error), { name, namespace, matchLabels: new Map() });
  const { podSelector, policyTypes, ingress, egress } = parsed.data.spec ?? {};
  const labels = podSelector?.matchLabels ?? {};
  // Without policyTypes it is about ingress, and about egress when it has such rules (NetworkPolicySpec).
  const types = policyTypes ?? ["Ingress", ...(egress ? ["Egress"] : [])];
  const hbone = {
    ingress: types.includes("Ingress") ? verdictOf(ingress) : "untouched",
    egress: types.includes("Egress") ? verdictOf(egress) : "untouched",
  } as const;
  return ok({ name, namespace, matchLabels: new Map(Object.entries(labels)), hbone });
}

/** Whom a rule is about is left out: what is sought is a port that nobody may pass. */
function verdictOf(list: z.infer<typeof rules>): PortVerdict {
  return (list ?? []).some(({ ports }) => (ports?.length ?? 0) === 0 || ports?.some(passesHbone)) ? "opens" : "closes";
}

function passesHbone({ protocol, port: first, endPort }: z.infer<typeof port>): boolean {
  if ((protocol ?? "TCP") !== "TCP") return false;
  if (first === undefined || first === null) return true;
  return typeof first === "number" && first <= hbonePort && hbonePort <= (endPort ?? first);
}
