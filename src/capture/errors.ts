import { MeshError } from "../lib/errors.ts";

/** Everything that can go wrong in capture. Codes are stable; the addon throws instances of `CaptureError` with the same ones. */
export type CaptureErrorCode =
  | "MESH_ADDON_MISSING"
  | "MESH_BACKEND_UNUSABLE"
  | "MESH_BAD_ADDRESS"
  | "MESH_BPF_FAILED"
  | "MESH_CGROUP_UNUSABLE"
  | "MESH_CRI_FAILED"
  | "MESH_LISTEN_FAILED"
  | "MESH_NETNS_NOT_FOUND"
  | "MESH_NETNS_UNUSABLE"
  | "MESH_NFT_FAILED"
  | "MESH_NOT_CAPTURED"
  | "MESH_OTHER_MESH"
  | "MESH_PINS_UNUSABLE"
  | "MESH_PORT_TAKEN"
  | "MESH_PROBE_FAILED"
  | "MESH_ROUTING_FAILED"
  | "MESH_SOCKET_FAILED"
  | "MESH_WRONG_NETNS";

export class CaptureError extends MeshError {
  declare readonly code: CaptureErrorCode;

  // oxlint-disable-next-line no-useless-constructor -- it narrows the code
  constructor(code: CaptureErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
  }
}
