/** Being handed pods by Istio's CNI agent instead of hearing of them from the mesh: the pods, and the connection that they come by. */
import type { CaptureAddon } from "../../capture/addon.ts";
import type { Clock } from "../../lib/clock.ts";
import type { MeshView } from "../../model/mesh.ts";
import type { LocalPod } from "../../model/workload.ts";
import type { FoundNetns } from "../pod-capture.ts";
import { HandedPods } from "./handed-pods.ts";
import { ZdsClient, type ZdsClientDeps } from "./zds-client.ts";

export interface HandoverDeps {
  readonly addon: Pick<CaptureAddon, "netnsOpen" | "netnsAddresses" | "connectSeqpacket">;
  readonly clock: Clock;
  readonly random: () => number;
}

export interface HandoverOptions {
  readonly socket: string;
  readonly answerMs: number;
}

export class Handover {
  readonly #deps: HandoverDeps;
  readonly #options: HandoverOptions;
  readonly #pods: HandedPods;
  #client: ZdsClient | undefined;

  constructor(deps: HandoverDeps, options: HandoverOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#pods = new HandedPods(deps);
  }

  localPods(view: Pick<MeshView, "settings" | "workload">): LocalPod[] {
    return this.#pods.localPods(view);
  }

  async findNetns({ uid }: LocalPod): Promise<FoundNetns> {
    return this.#pods.findNetns(uid);
  }

  /** Resolves when the first snapshot is complete. */
  start({ enrolment, log }: Pick<ZdsClientDeps, "enrolment" | "log">): Promise<void> {
    const { addon, clock, random } = this.#deps;
    const { socket, answerMs } = this.#options;
    const connect: ZdsClientDeps["connect"] = (onPacket, onEnd) => addon.connectSeqpacket(socket, onPacket, onEnd);
    this.#client = new ZdsClient({ connect, pods: this.#pods, enrolment, clock, random, log }, { answerMs });
    return this.#client.start();
  }

  /** No pod comes or goes any more. May be called twice. */
  async stop(): Promise<void> {
    await this.#client?.stop();
  }

  /** Gives the pods' netns back; enrolment must have ended. */
  close(): void {
    this.#pods.close();
  }
}
