/** A scripted peer on a SOCK_SEQPACKET socket: the test program of native/capture, as lines and messages. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../../build/native/testing/warren_seqpacket_server", import.meta.url));

export class SeqpacketServer {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #listeners = new Set<() => void>();

  private constructor(child: ChildProcess) {
    this.#child = child;
    if (child.stdout === null) throw new Error("the program has no output");
    createInterface({ input: child.stdout }).on("line", (line) => {
      this.#lines.push(line);
      for (const listener of this.#listeners) listener();
    });
  }

  static async listen(path: string): Promise<SeqpacketServer> {
    const server = new SeqpacketServer(spawn(program, [path], { stdio: ["pipe", "pipe", "inherit"] }));
    await server.line("listening");
    return server;
  }

  /** The next line, which must be this one. */
  async line(expected: string): Promise<void> {
    const line = await this.#next();
    if (line !== expected) throw new Error(`expected ${JSON.stringify(expected)}, not ${JSON.stringify(line)}`);
  }

  /** The next message. */
  async message(): Promise<Uint8Array> {
    const line = await this.#next();
    const hex = /^received ([0-9a-f]+)$/.exec(line)?.[1];
    if (hex === undefined) throw new Error(`expected a message, not ${JSON.stringify(line)}`);
    return Buffer.from(hex, "hex");
  }

  /** `netns`: paths of namespaces whose descriptors go along. */
  send(bytes: Uint8Array, ...netns: readonly string[]): void {
    this.#child.stdin?.write(`${["send", Buffer.from(bytes).toString("hex"), ...netns].join(" ")}\n`);
  }

  hangUp(): void {
    this.#child.stdin?.write("hang-up\n");
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await exited;
  }

  #next(): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    const look = () => {
      const line = this.#lines.shift();
      if (line === undefined) return;
      this.#listeners.delete(look);
      resolve(line);
    };
    this.#listeners.add(look);
    look();
    return promise;
  }
}
