/**
 * The self-probe: a connection through the real path, as a process of the pod would make it. Its destination lies in a block that
 * documentation owns (RFC 5737, RFC 3849) and on one of the mesh's own ports, so whoever takes it from a listener must refuse it
 * (`illegal-port`) and never dial it. The probe therefore proves the whole chain: program or rule, listener, agent, decision.
 */
import { mkdir, rmdir } from "node:fs/promises";
import { Socket } from "node:net";
import { join } from "node:path";
import { messageOf } from "../lib/errors.ts";
import { selfProbeAddresses } from "../model/ports.ts";
import type { CaptureAddon, ProbeRequest } from "./addon.ts";
import type { CapturePorts, PodSubject } from "./backend.ts";
import { familiesOf, familyOf, socketMarks } from "./delivery-routing.ts";
import { CaptureError } from "./errors.ts";

export interface SelfProbeOptions {
  readonly podsCgroup: string;
  readonly ports: CapturePorts;
}

export class SelfProbe {
  readonly #addon: CaptureAddon;
  readonly #options: SelfProbeOptions;
  readonly #cgroup: string;

  constructor(addon: CaptureAddon, options: SelfProbeOptions) {
    this.#addon = addon;
    this.#options = options;
    this.#cgroup = join(options.podsCgroup, `warren-probe-${process.pid}`);
  }

  /** Throws `MESH_PROBE_FAILED` naming the direction, the family and what was seen. */
  async run(pod: PodSubject, directions: readonly ("outbound" | "inbound")[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await mkdir(this.#cgroup, { recursive: true });
    for (const family of familiesOf(pod.addresses)) {
      for (const direction of directions) {
        await this.#probe(pod, family, direction, signal);
      }
    }
  }

  async #probe(pod: PodSubject, family: 4 | 6, direction: "outbound" | "inbound", signal: AbortSignal): Promise<void> {
    const request = this.#request(pod, family, direction);
    const what = `${direction} IPv${family} probe of pod ${pod.uid} to ${request.destination} port ${request.port}`;
    let seen: string | undefined;
    try {
      seen = await this.#ending(await this.#addon.probe(pod.netns.fd, request), signal);
    } catch (error) {
      const reason = signal.aborted
        ? "nobody took and refused it in time; is the agent's engine running?"
        : messageOf(error);
      throw new CaptureError("MESH_PROBE_FAILED", `${what}: ${reason}`, { cause: error });
    }
    if (seen !== undefined) {
      throw new CaptureError("MESH_PROBE_FAILED", `${what}: ${seen}`);
    }
  }

  #request(pod: PodSubject, family: 4 | 6, direction: "outbound" | "inbound"): ProbeRequest {
    const { ports } = this.#options;
    const base = { cgroup: this.#cgroup, family };
    if (direction === "outbound") {
      return { ...base, destination: selfProbeAddresses[family], port: ports.outbound, mark: 0 };
    }
    const destination = pod.addresses.find((address) => familyOf(address) === family) ?? "";
    return {
      ...base,
      destination,
      port: ports.inbound,
      sourceAddress: selfProbeAddresses[family],
      mark: socketMarks.deliver,
    };
  }

  /** How the connection ended: undefined if somebody accepted and closed it, else what went wrong. */
  async #ending(fd: number, signal: AbortSignal): Promise<string | undefined> {
    const socket = new Socket({ fd, readable: true, writable: true });
    const errors: NodeJS.ErrnoException[] = [];
    // Not events.once(): it takes an error, here a way to end, for a failure.
    const closed = new Promise<void>((resolve) => {
      socket.on("error", (error) => errors.push(error));
      socket.on("close", () => resolve());
    });
    socket.resume();
    const abandon = () => socket.destroy();
    signal.addEventListener("abort", abandon, { once: true });
    try {
      await closed;
    } finally {
      signal.removeEventListener("abort", abandon);
    }
    signal.throwIfAborted();
    const [error] = errors;
    // A reset is the agent's refusal; it came over an established connection.
    return error === undefined || error.code === "ECONNRESET" ? undefined : error.message;
  }

  async close(): Promise<void> {
    try {
      await rmdir(this.#cgroup);
    } catch {
      // Never made, or its pods' cgroup is gone.
    }
  }
}
