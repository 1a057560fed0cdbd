import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, it } from "vitest";

/** Loads the agent and its parts in a process of its own, then the exporter, and tells after each which OpenTelemetry packages came. */
const program = `
import { registerHooks } from "node:module";
const [agent, parts, run, door, ...signals] = process.argv.slice(1);
const seen = new Set();
registerHooks({ resolve(specifier, context, next) {
  if (specifier.startsWith("@opentelemetry/")) seen.add(specifier);
  return next(specifier, context);
} });
await import(agent);
await import(parts);
await import(run);
const without = [...seen];
await import(door);
const on = ["logs", "metrics", "trace"];
const exporters = () => on.filter((signal) => seen.has("@opentelemetry/exporter-" + signal + "-otlp-proto"));
const steps = [exporters()];
for (const signal of signals) {
  await import(signal);
  steps.push(exporters());
}
console.log(JSON.stringify({ without, steps }));
`;

it("an agent loads no OpenTelemetry package until the export is on, and then the exporters of the signals that are", () => {
  const signals = ["telemetry/otlp/otlp-logs", "telemetry/otlp/otlp-metrics", "telemetry/otlp/otlp-spans"];
  const files = ["node/agent", "node/parts", "node/run", "telemetry/otlp/otlp-export", ...signals];
  const urls = files.map((file) => pathToFileURL(resolve(import.meta.dirname, `../../../src/${file}.ts`)).href);
  const run = spawnSync(process.execPath, ["--input-type=module", "--eval", program, ...urls], { encoding: "utf8" });
  expect({ stderr: run.stderr, told: JSON.parse(run.stdout || "{}") as unknown }).toEqual({
    stderr: "",
    // prom-client asks for the interfaces, to join exemplars to traces; it has no SDK and no exporter in it.
    told: {
      without: ["@opentelemetry/api"],
      steps: [[], ["logs"], ["logs", "metrics"], ["logs", "metrics", "trace"]],
    },
  });
});
