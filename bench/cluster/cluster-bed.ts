/** A bed in a real cluster: the client pod of a namespace, and one of its two servers. */
import type { RunResult } from "../../src/lab/machine/launch.ts";
import { MeshError } from "../../src/lib/errors.ts";
import { formatHostPort } from "../../src/lib/host-port.ts";
import type { Bed, Usage } from "../bed.ts";
import { until } from "../lab/conditions.ts";
import { loadCommand } from "../lab/load.ts";
import { echoPort } from "../lab/manifests.ts";
import type { Variant } from "../model.ts";
import type { ClusterAgents } from "./agents.ts";
import { namespaceOf } from "./pods.ts";
import { type Kubectl, lastLine } from "./tool.ts";

const meshMs = 120_000;

export interface ClusterBedOptions {
  readonly variant: Variant;
  readonly server: string;
  /** Undefined where traffic meets none. */
  readonly agents: ClusterAgents | undefined;
}

export class ClusterBed implements Bed {
  readonly variant: Variant;
  readonly loadGenerator = "warren_load";
  readonly #kubectl: Kubectl;
  readonly #server: string;
  readonly #agents: ClusterAgents | undefined;

  constructor(kubectl: Kubectl, { variant, server, agents }: ClusterBedOptions) {
    this.variant = variant;
    this.#kubectl = kubectl;
    this.#server = server;
    this.#agents = agents;
  }

  get hasAgents(): boolean {
    return this.#agents !== undefined;
  }

  target(port: number): string {
    return formatHostPort(this.#server, port);
  }

  run(argv: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<RunResult> {
    const where = ["exec", "--namespace", namespaceOf(this.variant), "client", "--container=load"];
    return this.#kubectl.under(signal).try([...where, "--", ...argv], { timeoutMs });
  }

  async observe<T>(what: () => Promise<T>): Promise<T & Usage> {
    const before = await this.#cpuSeconds();
    const result = await what();
    const agentSeconds = (await this.#cpuSeconds()) - before;
    // Nobody tells what else the cluster's nodes were doing.
    return { ...result, agentSeconds, noise: { steal: 0, foreign: undefined } };
  }

  async bind(): Promise<void> {
    // Where a pod's processes run is the kubelet's affair.
  }

  async mtu(): Promise<number | undefined> {
    const { code, stdout } = await this.run(["cat", "/sys/class/net/eth0/mtu"], 30_000, AbortSignal.timeout(30_000));
    return code === 0 ? Number(stdout) : undefined;
  }

  async down(): Promise<void> {
    // Pods are used again by the next recipe, and go with their namespaces.
  }

  /** Traffic that went past the agents would be `direct` under another name. */
  async waitMeshed(signal: AbortSignal): Promise<void> {
    const agents = this.#agents;
    if (agents === undefined) return;
    const { native } = await agents.read(this.#kubectl);
    if (!native)
      throw new MeshError("MESH_BENCH_NO_NATIVE_ENGINE", "not all agents of the cluster run the native engine");
    const flows = 8;
    const throughTunnels = async () => {
      const before = (await agents.read(this.#kubectl)).tunnelled;
      const argv = loadCommand(this, "idle", { target: this.target(echoPort), flows, deadline: 5 });
      const { code, stderr } = await this.run(argv, 20_000, signal);
      if (code === 127)
        throw new MeshError("MESH_BENCH_POD", `the client pod cannot run warren_load: ${lastLine(stderr)}`);
      return code === 0 && (await agents.read(this.#kubectl)).tunnelled >= before + flows;
    };
    const where = `connections of ${namespaceOf(this.variant)} through tunnels`;
    await until(where, throughTunnels, { signal, timeoutMs: meshMs });
  }

  async #cpuSeconds(): Promise<number> {
    return (await this.#agents?.read(this.#kubectl))?.cpuSeconds ?? 0;
  }
}
