/** A collector of OpenTelemetry on the machine of the lab's control plane, where every agent reaches it. */
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Lab } from "../../../src/lab/lab.ts";
import { clusterAddresses } from "../../../src/lab/machine/addresses.ts";
import { launch } from "../../../src/lab/machine/launch.ts";
import type { TakenLog, TakenMetric, TakenSpan } from "../../telemetry/otlp/collector-double.ts";

const program = fileURLToPath(new URL("collector-program.ts", import.meta.url));
const address = clusterAddresses.control(1).v4;
const port = 4318;

/** `otlp.endpoint` of agents that are to send to it. */
export const collectorEndpoint = `http://${address}:${port}`;

interface Taken {
  readonly logs: TakenLog[];
  readonly spans: TakenSpan[];
  /** The latest of each family and node comes last. */
  readonly metrics: TakenMetric[];
}

export class LabCollector {
  readonly #answers: AsyncIterator<string>;
  readonly #ask: () => void;
  readonly #end: () => Promise<unknown>;
  /** Everything that it was sent. */
  readonly taken: Taken = { logs: [], spans: [], metrics: [] };

  private constructor(lines: Interface, ask: () => void, end: () => Promise<unknown>) {
    this.#answers = lines[Symbol.asyncIterator]();
    this.#ask = ask;
    this.#end = end;
  }

  static async start(lab: Lab): Promise<LabCollector> {
    const [control] = lab.mesh?.controls ?? [];
    if (control === undefined) throw new Error("the lab has no control plane");
    const place = control.sandbox.place(control.cgroup.child("collector"));
    const child = launch(place, [process.execPath, program, address, String(port)], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { PATH: process.env["PATH"] ?? "" },
    });
    const { stdin, stdout } = child;
    if (stdin === null || stdout === null) throw new Error("the collector has no pipes");
    const gone = once(child, "exit");
    const end = async () => {
      stdin.end();
      await gone;
    };
    const collector = new LabCollector(createInterface({ input: stdout }), () => stdin.write("\n"), end);
    await collector.#next();
    return collector;
  }

  /** Brings `taken` up to date. */
  async look(): Promise<Taken> {
    this.#ask();
    const { logs, spans, metrics } = JSON.parse(await this.#next()) as Taken;
    this.taken.logs.push(...logs);
    this.taken.spans.push(...spans);
    this.taken.metrics.push(...metrics);
    return this.taken;
  }

  /** May be called twice. */
  async stop(): Promise<void> {
    await this.#end();
  }

  async #next(): Promise<string> {
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error("the collector has ended");
    return value;
  }
}
