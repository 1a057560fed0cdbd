/** Runs a control plane until a signal tells it to stop. */
import { type ConfigInput, loadConfig } from "../lib/config.ts";
import { keepYoungGenerationSmall } from "../lib/young-generation.ts";
import { createLineSink } from "../telemetry/line-sink.ts";
import { createLog } from "../telemetry/log.ts";
import { controlConfigSchema } from "./config.ts";
import { Control } from "./control.ts";
import { controlParts } from "./parts.ts";

/** Lines that may wait for a slow reader of our standard output, and how long the last ones may take. */
const logBuffer = 4 * 1024 * 1024;
const logFlushMs = 1000;

/** Throws ConfigError before anything was bound or written; resolves to the exit code. */
export async function runControl(input: ConfigInput): Promise<number> {
  keepYoungGenerationSmall();
  const { value: config } = await loadConfig(controlConfigSchema, input);
  const sink = createLineSink({ destination: 1, buffer: logBuffer });
  const log = createLog(sink, config.log).child({ scope: "control" });
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals) => {
    log.info({ signal: name }, "stopping");
    stop.abort(new Error(`stopped by ${name}`));
  };
  // Once: a second signal ends the process at once, as Node does by itself.
  process.once("SIGTERM", onSignal).once("SIGINT", onSignal);
  try {
    const control = new Control(await controlParts(config, log), config);
    await control.start(stop.signal);
    await new Promise<void>((resolve) => {
      if (stop.signal.aborted) resolve();
      else stop.signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await control.stop();
    return 0;
  } catch (error) {
    // Told to stop while still starting: that is no failure.
    if (stop.signal.aborted) return 0;
    throw error;
  } finally {
    process.off("SIGTERM", onSignal).off("SIGINT", onSignal);
    await sink.close(logFlushMs);
  }
}
