/**
 * Keeps the kubelet's probes out of the mesh: their connections are exempt by the cgroup of whoever makes them. A kubelet that is
 * restarted gets a new cgroup, even under the old name, and an exemption stays with the old one: so it is looked at again and again.
 */
import { stat } from "node:fs/promises";

export interface KubeletExemptionDeps {
  /** The configured cgroup, or the one that a kubelet's process is found in; undefined while there is none. */
  readonly find: () => Promise<string | undefined>;
  readonly exempt: (cgroup: string) => Promise<void>;
  readonly log: Record<"info" | "warn", (fields: object, message: string) => void>;
}

export interface KubeletExemptionOptions {
  /** Milliseconds between looks: probes that fail for so long do not yet end a pod with the kubelet's own defaults. */
  readonly every: number;
}

export class KubeletExemption {
  readonly #deps: KubeletExemptionDeps;
  readonly #options: KubeletExemptionOptions;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #exempted = "";

  constructor(deps: KubeletExemptionDeps, options: KubeletExemptionOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Resolves after the first look, so that no pod is captured before; rejects if the cgroup that was found cannot be exempted. */
  async start(): Promise<void> {
    await this.#look();
    this.#timer ??= setInterval(() => {
      this.#looking = this.#look().catch((error: unknown) =>
        this.#deps.log.warn(
          { error },
          "the kubelet's cgroup cannot be exempted; its probes meet policy like any plaintext",
        ),
      );
    }, this.#options.every);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { find, exempt, log } = this.#deps;
    const cgroup = await find();
    if (cgroup === undefined) return;
    const { dev, ino } = await stat(cgroup);
    const seen = `${dev} ${ino} ${cgroup}`;
    if (seen === this.#exempted) return;
    await exempt(cgroup);
    this.#exempted = seen;
    log.info({ cgroup }, "probes of the kubelet in this cgroup are exempt");
  }
}
