/** Runs the programs that a cluster is handled with: docker, kind and kubectl, as they are on PATH. */
import { spawn } from "node:child_process";
import { collect, type RunResult } from "../../src/lab/machine/launch.ts";
import { MeshError } from "../../src/lib/errors.ts";

export type ToolName = "docker" | "kind" | "kubectl";

export interface ToolOptions {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly stdin?: string;
}

/** Whatever the exit code; code 127 when there is no such program. */
export async function tryTool(name: ToolName, args: readonly string[], options: ToolOptions): Promise<RunResult> {
  const { signal, timeoutMs, stdin } = options;
  signal.throwIfAborted();
  // A signal from the terminal goes to its whole foreground group: tools in a group of their own end when we say so, not half-way.
  const child = spawn(name, [...args], { stdio: "pipe", detached: true });
  const started = new Promise<boolean>((resolve) => {
    child.once("spawn", () => resolve(true)).once("error", () => resolve(false));
  });
  if (!(await started)) return { code: 127, stdout: "", stderr: `${name} is not installed, or not on PATH` };
  const stop = () => child.kill("SIGTERM");
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  bounded.addEventListener("abort", stop, { once: true });
  try {
    const result = await collect(child, stdin);
    signal.throwIfAborted();
    if (bounded.aborted)
      throw new MeshError("MESH_BENCH_TOOL", `${[name, ...args].join(" ")}: not done within ${timeoutMs / 1000} s`);
    return result;
  } finally {
    bounded.removeEventListener("abort", stop);
  }
}

/** Throws, with the last that it said, when it fails. */
export async function tool(name: ToolName, args: readonly string[], options: ToolOptions): Promise<RunResult> {
  const result = await tryTool(name, args, options);
  if (result.code === 0) return result;
  throw new MeshError(
    "MESH_BENCH_TOOL",
    `${[name, ...args].join(" ")}: exit code ${result.code}: ${lastLine(result.stderr)}`,
  );
}

export function lastLine(text: string): string {
  return text.trim().split("\n").at(-1)?.trim() ?? "";
}

export interface ClusterAccess {
  /** Without one kubectl's own rules hold (KUBECONFIG, then ~/.kube/config). */
  readonly kubeconfig?: string;
  readonly context?: string;
}

/** kubectl for one cluster. */
export class Kubectl {
  readonly #access: ClusterAccess;
  readonly #signal: AbortSignal;

  constructor(access: ClusterAccess, signal: AbortSignal) {
    this.#access = access;
    this.#signal = signal;
  }

  /** For what must be taken away again although the run was interrupted. */
  under(signal: AbortSignal): Kubectl {
    return new Kubectl(this.#access, signal);
  }

  get #flags(): readonly string[] {
    const { kubeconfig, context } = this.#access;
    return [
      ...(kubeconfig === undefined ? [] : [`--kubeconfig=${kubeconfig}`]),
      ...(context === undefined ? [] : [`--context=${context}`]),
    ];
  }

  run(args: readonly string[], options: Partial<ToolOptions> = {}): Promise<RunResult> {
    return tool("kubectl", [...this.#flags, ...args], { signal: this.#signal, timeoutMs: 60_000, ...options });
  }

  try(args: readonly string[], options: Partial<ToolOptions> = {}): Promise<RunResult> {
    return tryTool("kubectl", [...this.#flags, ...args], { signal: this.#signal, timeoutMs: 60_000, ...options });
  }

  async json<T>(args: readonly string[]): Promise<T> {
    const { stdout } = await this.run([...args, "--output=json"]);
    try {
      return JSON.parse(stdout) as T;
    } catch (cause) {
      throw new MeshError("MESH_BENCH_TOOL", `kubectl ${args.join(" ")} printed no JSON`, { cause });
    }
  }
}
