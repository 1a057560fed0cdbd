/** The control run: the same request with the mesh off must be readable on the wire, or finding nothing later would prove nothing. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { expectThat } from "../checklist.ts";
import { wireFacts } from "../packets.ts";
import { cast, type Stage } from "../stage.ts";

export async function withoutMesh(stage: Stage): Promise<void> {
  await stage.checklist.check("control run: the marker is readable on the fabric", async () => {
    const marker = stage.marker();
    const { segments, result } = await stage.onTheWire(() =>
      stage.http(cast.frontend, `http://api:8080/orders?note=${marker}`),
    );
    const facts = wireFacts(segments, marker);
    expectThat(result.status === 200, `the api answered ${result.status}`);
    expectThat(facts.inClear > 0, `the marker was in none of ${facts.segments} packets`);
    return `in clear in ${facts.inClear} of ${facts.segments} packets`;
  });
}

/** A connection that a program opened before the mesh knew its pod: redis-cli, kept open, one command a line. */
export class OpenConnection {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.#child = child;
    this.#lines = lines;
  }

  static async open(stage: Stage): Promise<OpenConnection> {
    const child = stage.lab.spawn(cast.frontend, ["redis-cli", "-h", "database", "-p", "6379"], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    if (child.stdout === null) throw new Error("redis-cli has no output");
    const connection = new OpenConnection(child, createInterface({ input: child.stdout })[Symbol.asyncIterator]());
    await connection.ask("PING");
    return connection;
  }

  /** Sends one command and returns the server's answer; throws when the connection is gone. */
  async ask(command: string): Promise<string> {
    this.#child.stdin?.write(`${command}\n`);
    const line = await Promise.race([
      this.#lines.next(),
      new Promise<never>((_, reject) =>
        setTimeout(() => reject(new Error(`no answer to ${command} in 5 s`)), 5000).unref(),
      ),
    ]);
    if (line.done === true) throw new Error("the connection is gone");
    return line.value;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.stdin?.end();
    await once(this.#child, "exit");
  }
}
