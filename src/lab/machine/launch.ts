/**
 * Starts programs at a place: a cgroup, and the namespaces of a process that holds them. Joining happens in a shell before the
 * program is executed, so that not one instruction of it runs elsewhere. `ip netns exec` is not used on purpose: it mounts a fresh
 * /sys, which hides bpffs and the cgroup hierarchy.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { constants } from "node:os";
import { MeshError } from "../../lib/errors.ts";
import type { Cgroup } from "./cgroup.ts";

export type NamespaceKind = "net" | "mount" | "uts";

const namespaceFiles: Record<NamespaceKind, string> = { net: "net", mount: "mnt", uts: "uts" };

export interface Place {
  readonly cgroup: Cgroup;
  /** The process whose namespaces are entered. */
  readonly holder: { readonly pid: number; readonly namespaces: readonly NamespaceKind[] };
}

/** nsenter's flags for namespaces of a process. */
export function enterFlags(pid: number, namespaces: readonly NamespaceKind[]): string[] {
  return namespaces.map((kind) => `--${kind}=/proc/${pid}/ns/${namespaceFiles[kind]}`);
}

/** The command line that joins the place and then becomes `argv`. */
export function placedCommand(place: Place, argv: readonly string[]): [string, string[]] {
  const flags = enterFlags(place.holder.pid, place.holder.namespaces);
  const join = 'echo 0 >"$0/cgroup.procs" && exec nsenter "$@"';
  return ["sh", ["-c", join, place.cgroup.path, ...flags, "--", ...argv]];
}

/** A program at a place; its cgroup is made when missing. */
export function launch(place: Place, argv: readonly string[], options: SpawnOptions): ChildProcess {
  place.cgroup.create();
  const [command, args] = placedCommand(place, argv);
  return spawn(command, args, options);
}

export interface RunOptions {
  readonly stdin?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
  /** The program is killed, with all it started, when it takes longer. Default 30 000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface RunResult {
  /** The program's exit code; 128 + n when signal n ended it, as shells say it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** More than this from one program is a mistake of the caller's; it is cut off rather than kept. */
const outputLimit = 64 * 1024 * 1024;

/** Runs a program to its end in a cgroup of its own, which is removed afterwards with whatever the program left in it. */
export async function run(place: Place, argv: readonly string[], options: RunOptions): Promise<RunResult> {
  options.signal?.throwIfAborted();
  const timeoutMs = options.timeoutMs ?? 30_000;
  const child = launch(place, argv, { stdio: "pipe", env: { ...options.env }, detached: true });
  let stopped: Error | undefined;
  const stop = (why: Error) => {
    stopped ??= why;
    place.cgroup.kill();
  };
  const onAbort = () => stop(options.signal?.reason instanceof Error ? options.signal.reason : new Error("aborted"));
  options.signal?.addEventListener("abort", onAbort, { once: true });
  const timer = setTimeout(
    () =>
      stop(
        new MeshError(
          "MESH_LAB_TIMEOUT",
          `${argv.join(" ")} did not end within ${timeoutMs} ms; is what it waits for reachable from there?`,
        ),
      ),
    timeoutMs,
  );
  // What the program left running would keep the pipes open; it goes with the program.
  child.once("exit", () => place.cgroup.kill());
  try {
    const result = await collect(child, options.stdin);
    if (stopped !== undefined) throw stopped;
    return result;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", onAbort);
    await place.cgroup.remove();
  }
}

/** Feeds a child its input and gathers what it says until it ended and both its streams are closed. */
export function collect(child: ChildProcess, stdin?: string | Buffer): Promise<RunResult> {
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  let size = 0;
  for (const name of ["stdout", "stderr"] as const)
    child[name]?.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= outputLimit) output[name].push(chunk);
    });
  // A program may end without reading what it was sent: that is its affair.
  child.stdin?.on("error", () => {});
  child.stdin?.end(stdin);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) =>
      resolve({
        code: code ?? 128 + (signal === null ? 0 : constants.signals[signal]),
        stdout: Buffer.concat(output.stdout).toString(),
        stderr: Buffer.concat(output.stderr).toString(),
      }),
    );
  });
}
