/** Service → virtual IPs and ports; ExternalName has neither. */
import { z } from "zod";
import { canonicalIp } from "../../lib/ip.ts";
import type { Service, TrafficPreference } from "../../model/service.ts";
import type { KubernetesObject } from "./metadata.ts";
import { ignored, ok, problemsOf, rejected, type Translation } from "./translation.ts";

const portNumber = z.number().int().min(1).max(65535);
const virtualIp = z.union([
  z.enum(["None", ""]),
  z.string().refine((text) => canonicalIp(text) !== undefined, "is not an IP address"),
]);

const serviceSchema = z.object({
  spec: z.object({
    type: z.string().nullish(),
    clusterIP: virtualIp.nullish(),
    clusterIPs: z.array(virtualIp).nullish(),
    selector: z.record(z.string(), z.string()).nullish(),
    publishNotReadyAddresses: z.boolean().nullish(),
    internalTrafficPolicy: z.string().nullish(),
    trafficDistribution: z.string().nullish(),
    ports: z
      .array(
        z.object({
          name: z.string().nullish(),
          port: portNumber,
          protocol: z.string().nullish(),
          targetPort: z.union([portNumber, z.string().min(1)]).nullish(),
          appProtocol: z.string().nullish(),
        }),
      )
      .nullish(),
  }),
  status: z
    .object({
      loadBalancer: z
        .object({
          ingress: z.array(z.object({ ip: z.string().nullish(), ipMode: z.string().nullish() })).nullish(),
        })
        .nullish(),
    })
    .nullish(),
});

export interface ServicePiece {
  readonly service: Omit<Service, "hostname">;
  readonly selector: ReadonlyMap<string, string> | undefined;
  readonly publishNotReadyAddresses: boolean;
  /** What holds while every endpoint has a hint for whom it is meant, as the controller of EndpointSlices decides. */
  readonly hintedTraffic: TrafficPreference | undefined;
  /** By service port: the pods' port, or the name that each pod gives it. */
  readonly targetPorts: ReadonlyMap<number, number | string>;
}

export function translateService(object: KubernetesObject, namespace: string): Translation<ServicePiece> {
  const parsed = serviceSchema.safeParse(object.raw);
  if (!parsed.success) return rejected(problemsOf(parsed.error));
  const { spec, status } = parsed.data;
  if (spec.type === "ExternalName") return ignored();
  const addresses = new Set<string>();
  for (const text of [spec.clusterIP, ...(spec.clusterIPs ?? [])]) addVirtualIp(addresses, text);
  for (const { ip, ipMode } of status?.loadBalancer?.ingress ?? []) {
    // Nodes deliver a load balancer's address themselves unless its mode is Proxy (KEP-1860).
    if (ipMode !== "Proxy") addVirtualIp(addresses, ip);
  }
  const ports = (spec.ports ?? []).filter(({ protocol }) => (protocol ?? "TCP") === "TCP");
  const selector = Object.entries(spec.selector ?? {});
  return ok({
    service: {
      name: object.metadata.name,
      namespace,
      addresses: [...addresses],
      ports: ports.map(({ name, port, appProtocol }) => ({ name: name ?? "", port, appProtocol: appProtocol ?? "" })),
      ...trafficOf(spec),
    },
    selector: selector.length === 0 ? undefined : new Map(selector),
    publishNotReadyAddresses: spec.publishNotReadyAddresses ?? false,
    hintedTraffic: topologyModes.some((key) => /^auto$/i.test(object.metadata.annotations.get(key) ?? ""))
      ? sameZone
      : undefined,
    targetPorts: new Map(ports.map(({ port, targetPort }) => [port, targetPort ?? port])),
  });
}

/** Topology-aware routing by annotation, and its older name: in force while the slices carry hints. */
const topologyModes = ["service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"];

const sameZone: TrafficPreference = { scopes: ["region", "zone"], mode: "failover" };
const sameNode: TrafficPreference = { scopes: ["region", "zone", "node"], mode: "failover" };
const nodeOnly: TrafficPreference = { scopes: ["node"], mode: "strict" };

/** `internalTrafficPolicy: Local` is a promise, `trafficDistribution` a wish (KEP-2086, KEP-4444): the first wins. */
function trafficOf(spec: {
  internalTrafficPolicy?: string | null | undefined;
  trafficDistribution?: string | null | undefined;
}): { traffic?: TrafficPreference } {
  if (spec.internalTrafficPolicy === "Local") return { traffic: nodeOnly };
  switch (spec.trafficDistribution ?? "") {
    case "PreferClose":
    case "PreferSameZone":
      return { traffic: sameZone };
    case "PreferSameNode":
      return { traffic: sameNode };
    default:
      return {};
  }
}

function addVirtualIp(addresses: Set<string>, text: string | null | undefined): void {
  const ip = text ? canonicalIp(text) : undefined;
  if (ip !== undefined) addresses.add(ip);
}
