/** EndpointSlice → endpoints with their conditions, as discovery.k8s.io/v1 defines them. */
import { z } from "zod";
import { canonicalIp } from "../../lib/ip.ts";
import type { KubernetesObject } from "./metadata.ts";
import { type FieldProblem, ignored, ok, problemsOf, rejected, type Translation } from "./translation.ts";

export const serviceNameLabel = "kubernetes.io/service-name";

const sliceSchema = z.object({
  addressType: z.enum(["IPv4", "IPv6", "FQDN"]),
  ports: z
    .array(
      z.object({
        name: z.string().nullish(),
        port: z.number().int().min(1).max(65535).nullish(),
        protocol: z.string().nullish(),
      }),
    )
    .nullish(),
  endpoints: z
    .array(
      z.object({
        addresses: z.array(z.string()),
        conditions: z
          .object({
            ready: z.boolean().nullish(),
            serving: z.boolean().nullish(),
            terminating: z.boolean().nullish(),
          })
          .nullish(),
        hints: z
          .object({
            forZones: z.array(z.object({ name: z.string() })).nullish(),
            forNodes: z.array(z.object({ name: z.string() })).nullish(),
          })
          .nullish(),
        nodeName: z.string().nullish(),
        targetRef: z
          .object({ kind: z.string().nullish(), namespace: z.string().nullish(), name: z.string().nullish() })
          .nullish(),
      }),
    )
    .nullish(),
});

export interface SliceEndpoint {
  readonly address: string;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  /** Empty where the slice does not say. */
  readonly node: string;
  /** A controller said for which zones or nodes this endpoint is meant. */
  readonly hinted: boolean;
  /** Name of the pod in the slice's namespace. */
  readonly pod: string | undefined;
}

export interface SlicePiece {
  readonly namespace: string;
  readonly service: string;
  /** By port name; an undefined number stands for "the same port that the Service has". */
  readonly ports: ReadonlyMap<string, number | undefined>;
  readonly endpoints: readonly SliceEndpoint[];
}

export function translateEndpointSlice(object: KubernetesObject, namespace: string): Translation<SlicePiece> {
  const parsed = sliceSchema.safeParse(object.raw);
  if (!parsed.success) return rejected(problemsOf(parsed.error));
  const { addressType, ports, endpoints } = parsed.data;
  const service = object.metadata.labels.get(serviceNameLabel);
  if (service === undefined || addressType === "FQDN") return ignored();
  const problems: FieldProblem[] = [];
  const translated = (endpoints ?? []).flatMap((endpoint, index): SliceEndpoint[] => {
    const { addresses, conditions, hints, nodeName, targetRef } = endpoint;
    // "Clients should only use the first address": the others are for one release of history.
    const [text] = addresses;
    if (text === undefined) return [];
    const address = canonicalIp(text);
    if (address === undefined) {
      const message = `${JSON.stringify(text)} is not an IP address`;
      problems.push({ field: `endpoints[${index}].addresses[0]`, message });
      return [];
    }
    // Unset conditions mean: ready unless said otherwise, serving as ready, not terminating.
    const ready = conditions?.ready ?? true;
    const pod = targetRef?.kind === "Pod" ? (targetRef.name ?? undefined) : undefined;
    return [
      {
        address,
        ready,
        serving: conditions?.serving ?? ready,
        terminating: conditions?.terminating ?? false,
        node: nodeName ?? "",
        hinted: (hints?.forZones ?? []).length > 0 || (hints?.forNodes ?? []).length > 0,
        pod,
      },
    ];
  });
  if (problems.length > 0) return rejected(problems);
  const tcp = (ports ?? []).filter(({ protocol }) => (protocol ?? "TCP") === "TCP");
  return ok({
    namespace,
    service,
    ports: new Map(tcp.map(({ name, port }) => [name ?? "", port ?? undefined])),
    endpoints: translated,
  });
}
