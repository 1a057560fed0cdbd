/** The lab's end of a node's kubelet stand-in process. */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { MeshError } from "../../lib/errors.ts";
import { launch, type Place } from "../machine/launch.ts";
import type { ProbeAnswer, ProbeQuestion } from "./prober-protocol.ts";

export class Prober {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: ProbeAnswer) => void>();
  #nextId = 1;

  constructor(place: Place) {
    // The sibling in the same form as this file: TypeScript in a checkout, JavaScript when built.
    const main = fileURLToPath(import.meta.url).replace(/prober\.([jt]s)$/, "prober-main.$1");
    this.#child = launch(place, [process.execPath, main], {
      stdio: ["pipe", "pipe", "ignore"],
      env: {},
      detached: true,
    });
    this.#child.unref();
    this.#child.stdin?.on("error", () => {});
    const { stdout } = this.#child;
    if (stdout !== null)
      createInterface({ input: stdout }).on("line", (line) => {
        const answer = JSON.parse(line) as ProbeAnswer;
        this.#waiting.get(answer.id)?.(answer);
        this.#waiting.delete(answer.id);
      });
    this.#child.once("error", () => this.#failAll("could not be started"));
    this.#child.once("exit", () => this.#failAll("ended"));
  }

  ask(question: Omit<ProbeQuestion, "id">): Promise<ProbeAnswer> {
    const id = this.#nextId;
    this.#nextId++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) this.#failAll("ended");
      else this.#child.stdin?.write(`${JSON.stringify({ ...question, id })}\n`);
    });
  }

  /** What a server on the node says; throws when it cannot be asked. */
  async get(host: string, port: number, path: string, timeoutMs: number): Promise<{ status: number; body: string }> {
    const answer = await this.ask({ kind: "http", host, port, path, timeoutMs, wantBody: true });
    if (answer.status === undefined)
      throw new MeshError(
        "MESH_LAB_UNREACHABLE",
        `http://${host}:${port}${path} does not answer: ${answer.detail}; is that process running?`,
      );
    return { status: answer.status, body: answer.body ?? "" };
  }

  #failAll(what: string): void {
    for (const [id, resolve] of this.#waiting) resolve({ id, ok: false, detail: `the kubelet stand-in ${what}` });
    this.#waiting.clear();
  }
}
