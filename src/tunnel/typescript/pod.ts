/** A pod as the engine knows it: its netns, addresses and listeners, and everything open that belongs to it. */
import { closeSync, fstatSync, openSync } from "node:fs";
import type { Server } from "node:net";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { canonicalIp } from "../../lib/ip.ts";
import type { Reason } from "../../model/reason.ts";
import type { OriginalDestination, SocketMarks } from "../../model/sockets.ts";
import type { PodHandle, PodSpec } from "../engine.ts";
import type { Credential } from "./credential.ts";
import type { Flow } from "./flow.ts";
import type { Tunnel } from "./tunnel.ts";

/** A tunnel that is not one yet: waiting for a certificate, connecting or shaking hands. */
export interface OpeningTunnel {
  abandon(reason: Reason): void;
}

export class Pod {
  readonly handle: PodHandle;
  readonly uid: string;
  readonly netns: number;
  readonly originalDestination: OriginalDestination;
  readonly marks: SocketMarks;
  readonly servers = new Set<Server>();
  readonly flows = new Set<Flow>();
  readonly inboundTunnels = new Set<Tunnel>();
  /** Inbound connections that are not tunnels yet. */
  readonly handshakes = new Set<OpeningTunnel>();
  /** Unfinished ones included; counted by the pools. */
  outboundTunnels = 0;
  credential: Credential;
  /** True from `removePod` on: nothing new is opened for it. */
  removed = false;
  #addresses: ReadonlySet<string>;

  constructor(handle: PodHandle, spec: PodSpec, credential: Credential) {
    this.handle = handle;
    this.uid = spec.uid;
    this.originalDestination = spec.originalDestination;
    this.marks = spec.marks;
    this.credential = credential;
    this.#addresses = canonicalAddresses(spec.addresses);
    this.netns = duplicateNetns(spec.netns);
  }

  hasAddress(address: string): boolean {
    return this.#addresses.has(address);
  }

  setAddresses(addresses: readonly string[]): void {
    this.#addresses = canonicalAddresses(addresses);
  }

  /** Nothing of the pod is open any more. */
  close(): void {
    closeSync(this.netns);
  }
}

/** Throws before anything of the spec has been taken over. */
export function checkListeners(spec: PodSpec): void {
  for (const { fd, role } of spec.listeners) {
    let problem: string | undefined;
    try {
      if (!fstatSync(fd).isSocket()) problem = "is not a socket";
    } catch (error) {
      problem = messageOf(error);
    }
    if (problem !== undefined) {
      throw new MeshError("MESH_LISTENER_UNUSABLE", `descriptor ${fd} for ${role} of pod ${spec.uid}: ${problem}`);
    }
  }
}

function canonicalAddresses(addresses: readonly string[]): ReadonlySet<string> {
  return new Set(addresses.map((address) => canonicalIp(address) ?? address));
}

/** Opening the link in /proc gives a descriptor of our own for the same namespace (proc(5), namespaces(7)). */
function duplicateNetns(fd: number): number {
  try {
    return openSync(`/proc/self/fd/${fd}`, "r");
  } catch (error) {
    throw new MeshError("MESH_NETNS_UNUSABLE", `descriptor ${fd} is no network namespace: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
