/**
 * `warren lab up`: a child of its own session owns the lab and stays; this process shows its progress and leaves when the lab is ready.
 * With `--foreground` this process is the owner.
 */
import { fork } from "node:child_process";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { Lab } from "../lab.ts";
import { warrenCommand } from "../mesh/program.ts";
import type { LabOptions } from "../options.ts";

export interface UpRequest {
  readonly options: LabOptions;
  readonly timeoutMs: number;
  readonly say: (line: string) => void;
}

type Message =
  | { readonly kind: "progress"; readonly line: string }
  | { readonly kind: "ready"; readonly id: string }
  | { readonly kind: "failed"; readonly code: `MESH_${string}`; readonly message: string };

/** Runs `lab up --foreground` with the same arguments, detached; the name of the lab once it is ready. */
export async function upDetached(args: readonly string[], say: (line: string) => void): Promise<string> {
  const [node, main] = warrenCommand();
  if (node === undefined || main === undefined) throw new MeshError("MESH_LAB_FAILED", "where is this program?");
  // No standard streams of ours: whoever reads them to their end would wait for the lab's.
  const child = fork(main, ["lab", "up", "--foreground", ...args], { execPath: node, detached: true, stdio: "ignore" });
  const interrupt = () => child.kill("SIGTERM");
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt);
  try {
    return await new Promise<string>((resolve, reject) => {
      child.on("message", (message: Message) => {
        switch (message.kind) {
          case "progress":
            say(message.line);
            return;
          case "ready":
            resolve(message.id);
            return;
          case "failed":
            reject(new MeshError(message.code, message.message));
        }
      });
      child.once("error", reject);
      child.once("exit", (code, signal) =>
        reject(new MeshError("MESH_LAB_FAILED", `the lab's process ended early (${signal ?? `exit code ${code}`})`)),
      );
    });
  } finally {
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
    if (child.connected) child.disconnect();
    child.unref();
  }
}

/** Owns a lab until it is told to go. Tells the process that started it, if there is one, how it gets on. */
export async function upForeground(request: UpRequest): Promise<void> {
  const stop = new AbortController();
  const onSignal = () => stop.abort(new MeshError("MESH_LAB_INTERRUPTED", "interrupted; the lab was removed"));
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal).on("SIGHUP", onSignal);
  const tell = (message: Message) => {
    if (process.connected) process.send?.(message, () => {});
    else if (process.send === undefined && message.kind === "progress") request.say(message.line);
  };
  const progress = (line: string) => tell({ kind: "progress", line });
  let lab: Lab | undefined;
  try {
    lab = await Lab.up({ ...request.options, owner: "supervisor", onEvent: progress }, stop.signal);
    progress(`${lab.pods().length} pods are starting`);
    await lab.waitReady({ signal: stop.signal, timeoutMs: request.timeoutMs });
    progress(lab.mesh === undefined ? "all pods are ready" : "all pods and agents are ready");
  } catch (error) {
    await lab?.down();
    tell({
      kind: "failed",
      code: error instanceof MeshError ? error.code : "MESH_LAB_FAILED",
      message: messageOf(error),
    });
    throw error;
  }
  tell({ kind: "ready", id: lab.id });
  await lab.handOver(stop.signal);
}
