/** Services: `istio.workload.Service` with the names and protocols of its ports beside it. Endpoints come with the workloads. */
import { create, toBinary } from "@bufbuild/protobuf";
import type { Service, TrafficPreference, TrafficScope } from "../../model/service.ts";
import {
  AddressSchema,
  AppProtocol,
  type LoadBalancing,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  ServiceSchema,
  type Service as WireService,
} from "../gen/istio/workload/workload_pb.ts";
import { ServiceDetailSchema } from "../gen/warren/mesh/v1/detail_pb.ts";
import { checkedAddress, checkedName, checkedPort, wireAddress } from "./checked.ts";
import { detailExtension, detailOf } from "./detail.ts";
import { InvalidResource, type NamedResource } from "./resource-types.ts";

const protocols: ReadonlyMap<string, AppProtocol> = new Map([
  ["http", AppProtocol.HTTP11],
  ["http2", AppProtocol.HTTP2],
  ["kubernetes.io/h2c", AppProtocol.HTTP2],
  ["grpc", AppProtocol.GRPC],
  ["tcp", AppProtocol.TCP],
  ["tls", AppProtocol.TLS],
  ["https", AppProtocol.TLS],
]);

export function encodeService(service: Service): NamedResource {
  const { name, namespace, hostname, addresses, ports } = service;
  const detail = create(ServiceDetailSchema, { ports: ports.map((port) => ({ ...port })) });
  const message = create(ServiceSchema, {
    name,
    namespace,
    hostname,
    addresses: addresses.map((address) => ({ address: wireAddress(address) })),
    // The target is each workload's own to say.
    ports: ports.map(({ port, appProtocol }) => ({
      servicePort: port,
      appProtocol: protocols.get(appProtocol.toLowerCase()) ?? AppProtocol.UNKNOWN,
    })),
    // Workloads list a port only where they may be used for it (publishNotReadyAddresses, draining), so their health is no question.
    loadBalancing: { healthPolicy: LoadBalancing_HealthPolicy.ALLOW_ALL, ...preferenceOf(service.traffic) },
    extensions: [detailExtension(ServiceDetailSchema, detail)],
  });
  return {
    name: `${namespace}/${hostname}`,
    aliases: addresses.map((address) => `/${address}`),
    bytes: toBinary(AddressSchema, create(AddressSchema, { type: { case: "service", value: message } })),
  };
}

export function decodeService(message: WireService): Service {
  const detail = detailOf(ServiceDetailSchema, message.extensions);
  const known = new Map(detail?.ports.map((port) => [port.port, port]));
  return {
    name: checkedName(message.name, "name"),
    namespace: checkedName(message.namespace, "namespace"),
    hostname: checkedName(message.hostname, "hostname"),
    addresses: message.addresses.map(({ address, length }, index) => {
      const text = checkedAddress(address, `addresses[${index}]`);
      if (length !== undefined && length !== address.length * 8) {
        throw new InvalidResource(
          `addresses[${index}]: ${text}/${length} is a block, which no Service of Kubernetes has`,
        );
      }
      return text;
    }),
    ports: message.ports.map(({ servicePort, appProtocol }) => {
      const port = checkedPort(servicePort, "ports.service_port");
      const own = known.get(port);
      return { port, name: own?.name ?? "", appProtocol: own?.appProtocol ?? protocolText(appProtocol) };
    }),
    ...trafficOf(message.loadBalancing),
  };
}

const scopes: ReadonlyMap<TrafficScope, LoadBalancing_Scope> = new Map([
  ["region", LoadBalancing_Scope.REGION],
  ["zone", LoadBalancing_Scope.ZONE],
  ["node", LoadBalancing_Scope.NODE],
]);
const scopeNames = new Map([...scopes].map(([name, scope]) => [scope, name]));

function preferenceOf(
  traffic: TrafficPreference | undefined,
): { routingPreference: LoadBalancing_Scope[]; mode: LoadBalancing_Mode } | undefined {
  if (traffic === undefined) return undefined;
  return {
    routingPreference: traffic.scopes.map((scope) => scopes.get(scope) ?? LoadBalancing_Scope.UNSPECIFIED_SCOPE),
    mode: traffic.mode === "strict" ? LoadBalancing_Mode.STRICT : LoadBalancing_Mode.FAILOVER,
  };
}

/** One cluster and one network are all that there is here, so every endpoint agrees in those; subzones nobody has. */
function trafficOf(message: LoadBalancing | undefined): { traffic?: TrafficPreference } {
  if (message === undefined) return {};
  const { routingPreference, mode } = message;
  if (mode !== LoadBalancing_Mode.STRICT && mode !== LoadBalancing_Mode.FAILOVER) return {};
  const known = routingPreference.flatMap((scope) => scopeNames.get(scope) ?? []);
  if (known.length === 0) return {};
  return { traffic: { scopes: known, mode: mode === LoadBalancing_Mode.STRICT ? "strict" : "failover" } };
}

function protocolText(protocol: AppProtocol): string {
  for (const [text, known] of protocols) if (known === protocol) return text;
  return "";
}
