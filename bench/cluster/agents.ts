/** What the agents of a cluster tell of themselves, read through the API server: their metrics ports need not be reachable from here. */
import { MeshError } from "../../src/lib/errors.ts";
import { agentDaemonSet, meshNamespace } from "./preflight.ts";
import type { Kubectl } from "./tool.ts";

const metricsPort = 15_020;

export interface AgentTotals {
  /** Of all threads. */
  readonly cpuSeconds: number;
  /** Connections that were opened through tunnels. */
  readonly tunnelled: number;
  /** All of them run the native engine. */
  readonly native: boolean;
}

export class ClusterAgents {
  readonly #pods: readonly string[];

  private constructor(pods: readonly string[]) {
    this.#pods = pods;
  }

  /** The pods that the DaemonSet has now. */
  static async find(kubectl: Kubectl): Promise<ClusterAgents> {
    const inNamespace = ["--namespace", meshNamespace, "get"];
    const { spec } = await kubectl.json<{ spec: { selector: { matchLabels: Record<string, string> } } }>([
      ...inNamespace,
      "daemonset",
      agentDaemonSet,
    ]);
    const selector = Object.entries(spec.selector.matchLabels).map(([key, value]) => `${key}=${value}`);
    const { items } = await kubectl.json<{ items: { metadata: { name: string } }[] }>([
      ...inNamespace,
      "pods",
      `--selector=${selector.join(",")}`,
    ]);
    if (items.length === 0)
      throw new MeshError("MESH_BENCH_NO_AGENT", `DaemonSet ${meshNamespace}/${agentDaemonSet} has no pods`);
    return new ClusterAgents(items.map(({ metadata: { name } }) => name));
  }

  async read(kubectl: Kubectl): Promise<AgentTotals> {
    const texts = await Promise.all(
      this.#pods.map(async (name) => {
        const path = `/api/v1/namespaces/${meshNamespace}/pods/${name}:${metricsPort}/proxy/metrics`;
        return (await kubectl.run(["get", "--raw", path])).stdout;
      }),
    );
    const total = (family: string, labels?: RegExp) => sum(texts.map((text) => totalOf(text, family, labels)));
    return {
      cpuSeconds: total("process_cpu_seconds_total"),
      tunnelled: total("istio_tcp_connections_opened_total", /security_policy="mutual_tls"/),
      native: texts.every((text) => /^warren_build_info\{[^}]*engine="native"/m.test(text)),
    };
  }
}

/** Of all series of a family, or of those whose labels match. */
export function totalOf(metrics: string, family: string, labels: RegExp = /(?:)/): number {
  const line = new RegExp(`^${family}(\\{.*\\})? (\\S+)$`, "gm");
  return sum(
    [...metrics.matchAll(line)].filter(([, its = ""]) => labels.test(its)).map(([, , value]) => Number(value)),
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
