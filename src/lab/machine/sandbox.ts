/**
 * A sandbox is a process that does nothing but hold namespaces, as a pause container does. The lab keeps its network namespaces,
 * mounts and host names in sandboxes alone: no name under /run/netns, no mount that others could see, so that killing a lab's
 * processes removes all of it, in whatever state the lab was.
 */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { MeshError } from "../../lib/errors.ts";
import type { Cgroup } from "./cgroup.ts";
import { enterFlags, type NamespaceKind, type Place, type RunOptions, type RunResult, run } from "./launch.ts";

export interface SandboxRequest {
  /** For messages, e.g. `node node-1`. */
  readonly what: string;
  readonly cgroup: Cgroup;
  readonly fresh: readonly NamespaceKind[];
  /** Enters these before making fresh ones: a pod on its node's network. */
  readonly join?: { readonly pid: number; readonly namespaces: readonly NamespaceKind[] };
  /** Run with sh -eu inside the new namespaces; the sandbox is ready when it ends. */
  readonly script: string;
}

export class Sandbox {
  readonly what: string;
  readonly pid: number;
  readonly namespaces: readonly NamespaceKind[];
  readonly #child: ChildProcess;

  private constructor(request: SandboxRequest, child: ChildProcess, pid: number) {
    this.what = request.what;
    this.pid = pid;
    this.namespaces = [...(request.join?.namespaces ?? []), ...request.fresh];
    this.#child = child;
  }

  static async create(request: SandboxRequest, signal: AbortSignal): Promise<Sandbox> {
    signal.throwIfAborted();
    request.cgroup.create();
    const unshare = request.fresh.map((kind) => `--${kind}`).join(" ");
    const enter = request.join && `nsenter ${enterFlags(request.join.pid, request.join.namespaces).join(" ")} -- `;
    const child = spawn(
      "sh",
      [
        "-c",
        `echo 0 >"$0/cgroup.procs" && exec ${enter ?? ""}unshare ${unshare} --propagation private -- sh -euc "$1"`,
        request.cgroup.path,
        `${request.script}\necho ready\nexec sleep infinity >/dev/null 2>&1`,
      ],
      { stdio: ["ignore", "pipe", "pipe"], detached: true },
    );
    await ready(child, request.what, signal).catch((error: unknown) => {
      request.cgroup.kill();
      throw error;
    });
    // The lab's owner decides when it is over, not this child.
    child.unref();
    if (child.pid === undefined) throw new MeshError("MESH_LAB_SANDBOX", `${request.what} has no process`);
    return new Sandbox(request, child, child.pid);
  }

  /** The network namespace as a path, good while the sandbox lives. */
  get netnsPath(): string {
    return `/proc/${this.pid}/ns/net`;
  }

  /** A place inside the sandbox for processes of a cgroup. */
  place(cgroup: Cgroup, namespaces: readonly NamespaceKind[] = this.namespaces): Place {
    return { cgroup, holder: { pid: this.pid, namespaces } };
  }

  run(cgroup: Cgroup, argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return run(this.place(cgroup), argv, options);
  }

  onExit(listener: () => void): void {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) listener();
    else this.#child.once("exit", listener);
  }
}

function ready(child: ChildProcess, what: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = "";
    let complaints = "";
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const settle = (act: () => void) => {
      signal.removeEventListener("abort", onAbort);
      act();
    };
    child.stdout?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (said.endsWith("ready\n")) settle(resolve);
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      complaints += chunk.toString();
    });
    child.once("error", (error) => settle(() => reject(error)));
    child.once("close", () =>
      settle(() =>
        reject(
          new MeshError(
            "MESH_LAB_SANDBOX",
            `cannot set up the namespaces of ${what}: ${complaints.trim() || "sh ended early"}; are you root, with ip and nsenter installed?`,
          ),
        ),
      ),
    );
  });
}
