/** A collector on a machine of the lab. Each line that it reads is answered by a line with what it took since the last; it ends with its input. */
import { createInterface } from "node:readline";
import { CollectorDouble } from "../../telemetry/otlp/collector-double.ts";

const [address = "", port = ""] = process.argv.slice(2);
const collector = new CollectorDouble();
await collector.start(address, Number(port));
process.stdout.write("listening\n");
for await (const _ of createInterface({ input: process.stdin })) {
  const taken = {
    logs: collector.logs.splice(0),
    spans: collector.spans.splice(0),
    metrics: collector.metrics.splice(0),
  };
  // Times are whole numbers of nanoseconds, beyond what JSON's readers keep.
  const text = JSON.stringify(taken, (_key, value: unknown) => (typeof value === "bigint" ? String(value) : value));
  process.stdout.write(`${text}\n`);
}
collector.stop();
