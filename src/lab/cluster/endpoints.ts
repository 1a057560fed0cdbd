/** The endpoint controller as a function: the EndpointSlices that belong to a Service with a selector. */
import { isIPv6 } from "node:net";
import { isGoing } from "./deployments.ts";
import { type EndpointSlice, matches, type Pod, type Service } from "./objects.ts";
import { isReady } from "./pod-status.ts";
import { familiesOf } from "./service-addresses.ts";

export const serviceNameLabel = "kubernetes.io/service-name";
const managedByLabel = "endpointslice.kubernetes.io/managed-by";
const manager = "endpointslice-controller.k8s.io";

type EndpointPort = EndpointSlice["ports"][number];

/** True for slices that this controller made, as opposed to those that somebody wrote by hand. */
export function isManaged(slice: EndpointSlice): boolean {
  return slice.metadata.labels?.[managedByLabel] === manager;
}

/**
 * One slice per address family, and per set of port numbers when pods number a named port differently. Names are stable, so that a
 * change replaces its slice.
 */
export function endpointSlicesOf(service: Service, pods: readonly Pod[]): EndpointSlice[] {
  const { selector } = service.spec;
  if (selector === undefined || service.spec.type === "ExternalName") return [];
  const members = pods.filter(
    (pod) =>
      pod.metadata.namespace === service.metadata.namespace &&
      matches(selector, pod.metadata.labels) &&
      (pod.status?.phase === "Running" || pod.status?.phase === "Pending") &&
      (pod.status.podIPs?.length ?? 0) > 0,
  );
  const slices: EndpointSlice[] = [];
  for (const family of familiesOf(service)) {
    const groups = new Map<string, { ports: EndpointPort[]; pods: Pod[] }>();
    // A slice without endpoints still says that the Service is known to have none.
    if (members.length === 0) groups.set("", { ports: [], pods: [] });
    for (const pod of members) {
      const ports = portsOf(service, pod);
      const key = JSON.stringify(ports);
      const group = groups.get(key) ?? { ports, pods: [] };
      group.pods.push(pod);
      groups.set(key, group);
    }
    let number = 0;
    for (const group of groups.values()) {
      slices.push(sliceOf(service, family, number, group.ports, group.pods));
      number++;
    }
  }
  return slices;
}

function portsOf(service: Service, pod: Pod): EndpointPort[] {
  return service.spec.ports.flatMap((servicePort) => {
    const port = targetPortOf(servicePort.targetPort ?? servicePort.port, pod);
    if (port === undefined) return [];
    const { protocol, appProtocol } = servicePort;
    return [{ name: servicePort.name ?? "", port, protocol, ...(appProtocol === undefined ? {} : { appProtocol }) }];
  });
}

/** Undefined when no container of the pod has a port of that name. */
function targetPortOf(target: number | string, pod: Pod): number | undefined {
  if (typeof target === "number") return target;
  return pod.spec.containers.flatMap((container) => container.ports).find((port) => port.name === target)
    ?.containerPort;
}

function sliceOf(
  service: Service,
  family: "IPv4" | "IPv6",
  number: number,
  ports: readonly EndpointPort[],
  pods: readonly Pod[],
): EndpointSlice {
  const { name, namespace, uid } = service.metadata;
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: `${name}-${family.toLowerCase()}${number === 0 ? "" : `-${number}`}`,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { ...service.metadata.labels, [serviceNameLabel]: name, [managedByLabel]: manager },
      ownerReferences: [{ apiVersion: "v1", kind: "Service", name, uid, controller: true, blockOwnerDeletion: true }],
    },
    addressType: family,
    ports: [...ports],
    endpoints: pods.flatMap((pod) => endpointOf(pod, service, family)),
  };
}

function endpointOf(pod: Pod, service: Service, family: "IPv4" | "IPv6"): EndpointSlice["endpoints"] {
  const address = pod.status?.podIPs?.find(({ ip }) => isIPv6(ip) === (family === "IPv6"))?.ip;
  if (address === undefined) return [];
  const { hostname, subdomain, nodeName } = pod.spec;
  const { name, namespace, uid } = pod.metadata;
  const serving = isReady(pod);
  return [
    {
      addresses: [address],
      conditions: {
        ready: (serving && !isGoing(pod)) || service.spec.publishNotReadyAddresses,
        serving,
        terminating: isGoing(pod),
      },
      ...(hostname !== undefined && subdomain === service.metadata.name ? { hostname } : {}),
      nodeName,
      targetRef: { kind: "Pod", name, namespace, uid },
    },
  ];
}

/** Addresses of a Service port that take connections now, from the slices of its family. */
export function readyTargets(
  service: Service,
  port: Service["spec"]["ports"][number],
  slices: readonly EndpointSlice[],
  family: "IPv4" | "IPv6",
): { address: string; port: number }[] {
  const targets: { address: string; port: number }[] = [];
  for (const slice of slicesOf(service, slices)) {
    if (slice.addressType !== family) continue;
    const match = slice.ports.find((candidate) => (candidate.name ?? "") === (port.name ?? ""));
    if (match?.port === undefined) continue;
    for (const address of readyAddresses(slice)) targets.push({ address, port: match.port });
  }
  return targets;
}

export function slicesOf(service: Service, slices: readonly EndpointSlice[]): EndpointSlice[] {
  return slices.filter(
    (slice) =>
      slice.metadata.namespace === service.metadata.namespace &&
      slice.metadata.labels?.[serviceNameLabel] === service.metadata.name,
  );
}

/** Unknown readiness counts as ready (discovery.k8s.io/v1). */
export function readyAddresses(slice: EndpointSlice): string[] {
  return slice.endpoints.flatMap((endpoint) => (endpoint.conditions?.ready === false ? [] : endpoint.addresses));
}
