/**
 * A cluster of kind for one run. Whatever becomes of the bench, the cluster goes: a guard of its own process group holds one end of a
 * pipe whose other end only the bench has, and deletes the cluster when that end closes, be it at the end, after a signal or a crash.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MeshError } from "../../src/lib/errors.ts";
import { Kubectl, tool } from "./tool.ts";

const config = fileURLToPath(new URL("kind.yaml", import.meta.url));
/** Pulling the node image is part of it. */
const createMs = 15 * 60_000;
const loadMs = 5 * 60_000;

/** Also removes the folder with the kubeconfig, which is nobody's but the cluster's. */
const guardScript =
  'cat >/dev/null; kind delete cluster --name "$1" --kubeconfig "$2/kubeconfig" >&2; status=$?; rm -rf "$2"; exit $status';

export class KindCluster {
  readonly name: string;
  readonly kubeconfig: string;
  readonly #guard: ChildProcess;
  #deleted: Promise<void> | undefined;

  private constructor(name: string, folder: string) {
    this.name = name;
    this.kubeconfig = join(folder, "kubeconfig");
    this.#guard = spawn("sh", ["-c", guardScript, "guard", name, folder], {
      stdio: ["pipe", "ignore", "inherit"],
      detached: true,
    });
    this.#guard.on("error", () => {});
    this.#guard.stdin?.on("error", () => {});
    // Only the pipe ties it to us: our own end must not wait for it.
    this.#guard.unref();
  }

  /** The user's own kubeconfig is not touched. Leaves nothing behind when it fails. */
  static async create(signal: AbortSignal): Promise<KindCluster> {
    const folder = mkdtempSync(join(tmpdir(), "warren-bench-kind-"));
    const name = `warren-bench-${process.pid}`;
    let cluster: KindCluster;
    try {
      cluster = new KindCluster(name, folder);
      await once(cluster.#guard, "spawn");
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
    try {
      const args = ["create", "cluster", "--name", name, "--config", config, "--kubeconfig", cluster.kubeconfig];
      await tool("kind", [...args, "--wait", "5m"], { signal, timeoutMs: createMs });
      return cluster;
    } catch (error) {
      await cluster.delete();
      throw error;
    }
  }

  kubectl(signal: AbortSignal): Kubectl {
    return new Kubectl({ kubeconfig: this.kubeconfig }, signal);
  }

  /** Onto all nodes, from the local docker. */
  async load(images: readonly string[], signal: AbortSignal): Promise<void> {
    await tool("kind", ["load", "docker-image", ...images, "--name", this.name], { signal, timeoutMs: loadMs });
  }

  delete(): Promise<void> {
    this.#deleted ??= this.#delete();
    return this.#deleted;
  }

  async #delete(): Promise<void> {
    this.#guard.ref();
    const gone = once(this.#guard, "exit");
    this.#guard.stdin?.end();
    const [code] = (await gone) as [number | null];
    if (code === 0) return;
    throw new MeshError(
      "MESH_BENCH_KIND",
      `the cluster was not deleted (exit code ${code}); run: kind delete cluster --name ${this.name}`,
    );
  }
}
