/** Runs a control plane until a signal tells it to stop. */
import { type ConfigInput, loadConfig } from "../lib/config.ts";
import { createManifestSource } from "../manifests/manifest-source.ts";
import { type MeshSettings, noAuthoritySettings } from "../model/mesh.ts";
import { createLineSink } from "../telemetry/line-sink.ts";
import { createLog } from "../telemetry/log.ts";
import { type ControlConfig, controlConfigSchema } from "./config.ts";
import { Control } from "./control.ts";

/** Lines that may wait for a slow reader of our standard output, and how long the last ones may take. */
const logBuffer = 4 * 1024 * 1024;
const logFlushMs = 1000;

/** Throws ConfigError before anything was bound or written; resolves to the exit code. */
export async function runControl(input: ConfigInput): Promise<number> {
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
  const { manifests: folder, defaultNamespace } = config;
  const source = createManifestSource({ folder, defaultNamespace, settings: meshSettings(config) });
  source.onProblems((problems) => {
    for (const problem of problems) log.warn(problem, "a manifest cannot be used; what was last good stays in force");
  });
  const control = new Control({ source, log }, config);
  try {
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

function meshSettings({ trustDomain, mesh }: ControlConfig): MeshSettings {
  return { trustDomain, ...mesh, ...noAuthoritySettings };
}
