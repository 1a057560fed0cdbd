/** A shell in which `warren` is this checkout's command line and finds the labs of one test. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { warrenCommand } from "../../../src/lab/mesh/program.ts";
import { askNoAgent, patience } from "./patient-verbs.ts";

export interface ShellResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class WarrenShell {
  /** Where labs of this test keep their state. */
  readonly stateRoot: string;
  readonly #folder: string;
  readonly #running = new Set<AbortController>();

  constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), "warren-shell-"));
    this.stateRoot = join(this.#folder, "labs");
    mkdirSync(this.stateRoot);
    const [node = "node", ...rest] = warrenCommand();
    const words = [node, ...rest].map((word) => `'${word}'`).join(" ");
    const script = `case "$1" in ${askNoAgent.join("|")}) ;; *) set -- "$@" ${patience.join(" ")} ;; esac\nexec ${words} "$@"`;
    writeFileSync(join(this.#folder, "warren"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  /** A command line with pipes, as a person types it; fails when any part of a pipe does. */
  async run(script: string): Promise<ShellResult> {
    const child = this.#spawn(script, undefined);
    const code = new Promise<number | null>((resolve) => child.once("close", resolve));
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
    return { code: await code, stdout, stderr };
  }

  async json(script: string): Promise<unknown> {
    const { stdout, stderr } = await this.run(script);
    try {
      return JSON.parse(stdout) as unknown;
    } catch {
      throw new Error(`${script} printed no JSON: ${stdout}${stderr}`);
    }
  }

  /** A command that goes on; its lines so far, and how to end it. */
  watch(script: string): { readonly lines: string[]; readonly errors: string[]; stop(): Promise<number | null> } {
    const stop = new AbortController();
    this.#running.add(stop);
    // `exec`, so that the signal reaches the program and not a shell around it.
    const child = this.#spawn(`exec ${script}`, stop.signal);
    const lines: string[] = [];
    const errors: string[] = [];
    collect(child.stdout, lines);
    collect(child.stderr, errors);
    const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
    return {
      lines,
      errors,
      stop: async () => {
        stop.abort();
        this.#running.delete(stop);
        return closed;
      },
    };
  }

  close(): void {
    for (const stop of this.#running) stop.abort();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #spawn(script: string, signal: AbortSignal | undefined) {
    const env = {
      ...process.env,
      PATH: `${this.#folder}:${process.env["PATH"]}`,
      WARREN_LAB_STATE: this.stateRoot,
      NO_COLOR: "1",
    };
    const child = spawn("bash", ["-o", "pipefail", "-c", script], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
      ...(signal === undefined ? {} : { signal, killSignal: "SIGINT" as const }),
    });
    child.on("error", () => {});
    return child;
  }
}

function collect(stream: NodeJS.ReadableStream, lines: string[]): void {
  let rest = "";
  stream.setEncoding("utf8").on("data", (chunk: string) => {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  });
}
