/** `istio.workload.Address`: a workload or a Service. */
import { fromBinary } from "@bufbuild/protobuf";
import type { Service } from "../../model/service.ts";
import { AddressSchema, LoadBalancing_HealthPolicy, WorkloadStatus } from "../gen/istio/workload/workload_pb.ts";
import { InvalidResource } from "./resource-types.ts";
import { decodeService } from "./service.ts";
import { type DecodedWorkload, decodeWorkload, type PolicyAttachment } from "./workload.ts";

export type DecodedAddress =
  | (DecodedWorkload & { readonly healthy: boolean })
  | {
      readonly kind: "service";
      readonly service: Service;
      /** False: unhealthy workloads take connections too, wherever they list a port. */
      readonly onlyHealthy: boolean;
    };

/** The name on the stream must be the object's own: it is what a removal will say. */
export function decodeAddress(name: string, bytes: Uint8Array, policies?: PolicyAttachment): DecodedAddress {
  const { type } = fromBinary(AddressSchema, bytes);
  switch (type.case) {
    case "workload": {
      const decoded = decodeWorkload(type.value, policies);
      sameName(name, type.value.uid);
      return { ...decoded, healthy: type.value.status === WorkloadStatus.HEALTHY };
    }
    case "service": {
      const service = decodeService(type.value);
      sameName(name, `${service.namespace}/${service.hostname}`);
      const policy = type.value.loadBalancing?.healthPolicy;
      return { kind: "service", service, onlyHealthy: policy !== LoadBalancing_HealthPolicy.ALLOW_ALL };
    }
    case undefined:
      throw new InvalidResource("is neither a workload nor a Service");
  }
}

function sameName(name: string, own: string): void {
  if (name !== own) throw new InvalidResource(`is named ${JSON.stringify(name)} and says that it is ${own}`);
}
