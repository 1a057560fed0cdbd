/** The parent's side of `engine-child.ts`. */
import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import type { SocketAddress } from "../../../src/model/address.ts";
import type { CredentialSpec } from "../../../src/tunnel/engine.ts";
import type { Destination, Order, OwnReport, Started } from "./engine-child.ts";
import type { OptionOverrides } from "./options.ts";

const script = fileURLToPath(new URL("engine-child.ts", import.meta.url));

interface Reply {
  readonly answer?: unknown;
  readonly error?: string;
}

export interface Report extends OwnReport {
  readonly descriptors: number;
}

export class Child {
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess) {
    this.#process = process;
  }

  static async start(role: string): Promise<{ child: Child; answer: unknown }> {
    const process = fork(script, [role], { execArgv: ["--expose-gc"], stdio: ["ignore", "inherit", "inherit", "ipc"] });
    onTestFinished(() => {
      process.kill("SIGKILL");
    });
    const child = new Child(process);
    return { child, answer: await child.#reply() };
  }

  /**
   * How many descriptors more it may have from now on. RLIMIT_NOFILE bounds the numbers that may be given out, not how many are in use
   * (getrlimit(2)), and what the process was started with may leave numbers free between: those count as room.
   */
  async limitDescriptors(room: number): Promise<void> {
    const taken = new Set((await readdir(`/proc/${this.#process.pid}/fd`)).map(Number));
    let limit = 0;
    for (let free = 0; free < room; limit += 1) if (!taken.has(limit)) free += 1;
    execFileSync("prlimit", [`--pid=${this.#process.pid}`, `--nofile=${limit}:`]);
  }

  startEngine(
    credential: CredentialSpec,
    to: Destination,
    options: OptionOverrides = {},
    remember = false,
  ): Promise<Started> {
    return this.#ask({ do: "start", credential, to, options, remember }) as Promise<Started>;
  }

  async disturb(credential: CredentialSpec): Promise<void> {
    await this.#ask({ do: "disturb", credential });
  }

  async report(): Promise<Report> {
    const own = (await this.#ask({ do: "report" })) as OwnReport;
    // Not by the child: one that has no descriptor left cannot list those that it has.
    return { ...own, descriptors: (await readdir(`/proc/${this.#process.pid}/fd`)).length };
  }

  /** Bytes of its anonymous memory that are resident, without JavaScript's garbage. */
  async anonymousMemory(): Promise<number> {
    await this.#ask({ do: "collect" });
    const status = await readFile(`/proc/${this.#process.pid}/status`, "utf8");
    const [, kibibytes = "0"] = /^RssAnon:\s+(\d+) kB$/m.exec(status) ?? [];
    return Number(kibibytes) * 1024;
  }

  async stop(): Promise<void> {
    await this.#ask({ do: "stop" });
  }

  #ask(order: Order): Promise<unknown> {
    this.#process.send(order);
    return this.#reply();
  }

  async #reply(): Promise<unknown> {
    // Whichever comes first takes the other's listener with it: a child answers thousands of times and ends once.
    const waiting = new AbortController();
    const { signal } = waiting;
    const ended = once(this.#process, "exit", { signal }).then(([code, by]): never => {
      throw new Error(`the child ended with ${code ?? by}`);
    });
    try {
      const replied = once(this.#process, "message", { signal });
      const [{ answer, error }] = (await Promise.race([replied, ended])) as [Reply];
      if (error !== undefined) throw new Error(error);
      return answer;
    } finally {
      waiting.abort();
    }
  }
}

/** An application that sends back what it gets, in a process of its own. */
export async function echoChild(): Promise<SocketAddress> {
  const { answer } = await Child.start("echo");
  return answer as SocketAddress;
}
