/**
 * The typed face of `native/capture`: network namespaces, sockets of pods, BPF and nftables. The addon checks no argument types
 * and has no defaults; whatever goes wrong there arrives here as a `CaptureError` with a stable code.
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { messageOf } from "../lib/errors.ts";
import type { SocketOps } from "../model/sockets.ts";
import type { Netns } from "./capture.ts";
import { CaptureError } from "./errors.ts";

export interface ListenOptions {
  readonly family: 4 | 6;
  /** 0 for any free port. */
  readonly port: number;
  /** Absent: all addresses of the family. */
  readonly address?: string;
  readonly backlog: number;
  /** Accept connections whose destination is not an address of the netns. */
  readonly transparent: boolean;
  readonly reusePort: boolean;
}

export interface InterfaceAddress {
  readonly interface: string;
  /** Canonical IP text without a zone. */
  readonly address: string;
}

export interface CaptureAddon extends SocketOps {
  /** Opens a netns by path and proves that it is one. The caller owns the descriptor. */
  netnsOpen(path: string): Netns;
  /** Every address of every interface in the netns. */
  netnsAddresses(netnsFd: number): Promise<readonly InterfaceAddress[]>;
  /** A listening, non-blocking, close-on-exec socket in the netns. The caller owns the descriptor. */
  listen(netnsFd: number, options: ListenOptions): Promise<number>;
}

interface RawAddon extends CaptureAddon {
  useErrorClass(errorClass: typeof CaptureError): void;
}

/** The built addon, two folders above this file from `src/` and from `dist/` alike. */
export const addonPath: string = fileURLToPath(
  new URL("../../build/native/addons/warren_capture.node", import.meta.url),
);

/** Loads the addon; the same object for every caller in the process. */
export function loadCaptureAddon(path: string = addonPath): CaptureAddon {
  let addon: RawAddon;
  try {
    addon = createRequire(import.meta.url)(path) as RawAddon;
  } catch (error) {
    throw new CaptureError(
      "MESH_ADDON_MISSING",
      `cannot load the capture addon from ${path}: ${messageOf(error)}; build it with \`make\``,
      { cause: error },
    );
  }
  addon.useErrorClass(CaptureError);
  return addon;
}
