/**
 * Responses put together from parts that are encoded already. Fields of a protobuf message may come in any order and in pieces, so the
 * frames of resources that all streams share are simply laid one after the other.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { DeltaDiscoveryResponseSchema } from "../../xds/gen/envoy/service/discovery/v3/discovery_pb.ts";

export interface ResponseParts {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly version: string;
  readonly removed: readonly string[];
  readonly frames: Iterable<Uint8Array>;
  readonly more: boolean;
}

/** A length-delimited field as it stands in a message. */
export function responseField(number: number, bytes: Uint8Array): Uint8Array {
  return new BinaryWriter().tag(number, WireType.LengthDelimited).bytes(bytes).finish();
}

export function encodeResponse(parts: ResponseParts): Buffer {
  const { typeUrl, nonce, removed, frames, more, version } = parts;
  const head = create(DeltaDiscoveryResponseSchema, {
    typeUrl,
    nonce,
    systemVersionInfo: version,
    removedResources: [...removed],
    controlPlane: { identifier: "warren-control" },
    more,
  });
  return Buffer.concat([toBinary(DeltaDiscoveryResponseSchema, head), ...frames]);
}
