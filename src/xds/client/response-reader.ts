/**
 * Responses read without being decoded whole: a full state can be tens of megabytes, and one call that decodes it would stop the agent.
 * Resources stay bytes until somebody has time for them.
 */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

export interface RawResponse {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly removed: readonly string[];
  /** Encoded `Resource` messages. */
  readonly resources: readonly Uint8Array[];
  readonly more: boolean;
}

/** Throws on bytes that are no message at all. */
export function readResponse(bytes: Uint8Array): RawResponse {
  const reader = new BinaryReader(bytes);
  const resources: Uint8Array[] = [];
  const removed: string[] = [];
  const response = { typeUrl: "", nonce: "", more: false };
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 2 && type === WireType.LengthDelimited) resources.push(reader.bytes());
    else if (field === 4 && type === WireType.LengthDelimited) response.typeUrl = reader.string();
    else if (field === 5 && type === WireType.LengthDelimited) response.nonce = reader.string();
    else if (field === 6 && type === WireType.LengthDelimited) removed.push(reader.string());
    else if (field === 1000 && type === WireType.Varint) response.more = reader.bool();
    else reader.skip(type, field);
  }
  return { ...response, resources, removed };
}
