/**
 * The node's container runtime as far as network plugins go: it takes the first configuration of the node's folder and runs the plugins that
 * it lists, in order to add and in reverse to delete (containernetworking/cni, SPEC.md). The lab's own network, `lab-bridge`, is part of
 * the sandbox's making and only tells its result; every other plugin is a program of the node's plugin folder.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../../lib/errors.ts";
import type { RunOptions, RunResult } from "../machine/launch.ts";
import type { DualStack } from "../machine/network.ts";

/** What a pod's sandbox is to plugins. */
export interface SandboxFacts {
  readonly container: string;
  readonly netns: string;
  readonly pod: { readonly uid: string; readonly name: string; readonly namespace: string };
  readonly addresses: DualStack;
}

export interface NetworkPluginsDeps {
  /** Runs a program on the node. */
  readonly run: (argv: readonly string[], options: RunOptions) => Promise<RunResult>;
}

export interface NetworkPluginsOptions {
  readonly binDir: string;
  readonly confDir: string;
}

type Plugin = Readonly<Record<string, unknown>> & { readonly type: string };

interface Network {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly Plugin[];
}

const ownPlugin = "lab-bridge";

export class NetworkPlugins {
  readonly #deps: NetworkPluginsDeps;
  readonly #options: NetworkPluginsOptions;

  /** Makes the node's folders, with the lab's network as the primary one. */
  constructor(deps: NetworkPluginsDeps, options: NetworkPluginsOptions) {
    this.#deps = deps;
    this.#options = options;
    mkdirSync(options.binDir, { recursive: true });
    mkdirSync(options.confDir, { recursive: true });
    const network: Network = { cniVersion: "1.0.0", name: "lab", plugins: [{ type: ownPlugin }] };
    writeFileSync(join(options.confDir, "10-lab.conflist"), JSON.stringify(network));
  }

  /** Rejects with the plugin's own words, as they would stand in the pod's event. */
  async add(sandbox: SandboxFacts, signal: AbortSignal): Promise<void> {
    const network = this.#network();
    let result: unknown;
    for (const plugin of network.plugins) {
      result =
        plugin.type === ownPlugin
          ? ownResult(network, sandbox)
          : await this.#run("ADD", network, plugin, sandbox, result, signal);
    }
  }

  async delete(sandbox: SandboxFacts): Promise<void> {
    const network = this.#network();
    for (const plugin of network.plugins.toReversed()) {
      if (plugin.type !== ownPlugin) {
        await this.#run("DEL", network, plugin, sandbox, ownResult(network, sandbox));
      }
    }
  }

  #network(): Network {
    const { confDir } = this.#options;
    const [first = ""] = readdirSync(confDir)
      .filter((name) => name.endsWith(".conflist") && !name.startsWith("."))
      .sort((one, other) => (one < other ? -1 : 1));
    return JSON.parse(readFileSync(join(confDir, first), "utf8")) as Network;
  }

  async #run(
    command: "ADD" | "DEL",
    { name, cniVersion }: Network,
    plugin: Plugin,
    { container, netns, pod }: SandboxFacts,
    prevResult: unknown,
    signal?: AbortSignal,
  ): Promise<unknown> {
    const { binDir } = this.#options;
    const { code, stdout } = await this.#deps.run([join(binDir, plugin.type)], {
      stdin: JSON.stringify({ ...plugin, name, cniVersion, prevResult }),
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: container,
        CNI_NETNS: netns,
        CNI_IFNAME: "eth0",
        CNI_PATH: binDir,
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${pod.namespace};K8S_POD_NAME=${pod.name};K8S_POD_INFRA_CONTAINER_ID=${container};K8S_POD_UID=${pod.uid}`,
      },
      timeoutMs: 60_000,
      ...(signal === undefined ? {} : { signal }),
    });
    if (code === 0) return stdout.trim() === "" ? undefined : JSON.parse(stdout);
    throw new MeshError(
      "MESH_LAB_NETWORK_PLUGIN",
      `plugin type=${JSON.stringify(plugin.type)} failed (${command.toLowerCase()}): ${complaint(stdout, code)}`,
    );
  }
}

/** Both parts of a plugin's error, joined as libcni joins them. */
function complaint(stdout: string, code: number): string {
  try {
    const { msg, details } = JSON.parse(stdout) as { readonly msg?: string; readonly details?: string };
    return [msg, details].filter(Boolean).join("; ");
  } catch {
    return `it ended with code ${code}: ${stdout.trim()}`;
  }
}

function ownResult({ cniVersion }: Network, { netns, addresses }: SandboxFacts): unknown {
  return {
    cniVersion,
    interfaces: [{ name: "eth0", sandbox: netns }],
    ips: [
      { address: `${addresses.v4}/32`, interface: 0 },
      { address: `${addresses.v6}/128`, interface: 0 },
    ],
  };
}
