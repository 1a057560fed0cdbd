/**
 * `warren node` as a process: configuration, log, agent, signals, exit code. Everything heavy is loaded after the configuration was
 * found good, so that a wrong one costs nothing and touches nothing.
 */
import { getFips } from "node:crypto";
import { once } from "node:events";
import { compactHeap } from "../lib/compact-heap.ts";
import { type ConfigInput, loadConfig } from "../lib/config.ts";
import { renderHelp } from "../lib/config-help.ts";
import { MeshError } from "../lib/errors.ts";
import { keepOldGenerationSmall } from "../lib/old-generation.ts";
import { keepYoungGenerationSmall } from "../lib/young-generation.ts";
import { nodeConfigSchema } from "./config.ts";

/** How long the last lines of the log may take at exit. */
const logFlushMs = 1000;

/** Which build of the native engine to load: a sanitizer's, in tests. */
const otherVariables = ["WARREN_ENGINE_ADDON"];

export interface RunInput extends ConfigInput {
  readonly version: string;
}

export function nodeHelp(): string {
  const usage = "Usage: warren node --node=<name> --control-address=<host:port> …\n";
  const intro = "The agent of one node: captures its pods' traffic and carries it through the mesh.\n";
  return `${usage}\n${intro}\nSettings, from flags, else WARREN_* variables, else a YAML file:\n\n${renderHelp(nodeConfigSchema)}\n${endings}`;
}

const endings = `
Exit status:
  0  it was told to stop, and did
  1  it cannot run, and says why
  2  the configuration is wrong

Examples:
  warren node --config agent.yaml
  warren node --node=worker-1 --control-address=warren-control.warren-system.svc:15012`;

/** Runs until SIGTERM or SIGINT, then drains. Throws ConfigError before anything was bound or changed. */
export async function runNode(input: RunInput): Promise<number> {
  const { version } = input;
  const { value: config, file } = await loadConfig(nodeConfigSchema, { ...input, otherVariables });
  const fips = getFips() === 1;
  if (config.tls.fips === "required" && !fips) {
    const fix = "give Node an OpenSSL configuration that activates its FIPS provider, or set tls.fips to report";
    throw new MeshError(
      "MESH_CONFIG_FIPS",
      `tls.fips is required and OpenSSL ${process.versions.openssl} does not run FIPS; ${fix}`,
    );
  }

  keepYoungGenerationSmall();
  keepOldGenerationSmall();
  const { createLineSink } = await import("../telemetry/line-sink.ts");
  const { createLog } = await import("../telemetry/log.ts");
  const { ScopedLog } = await import("../telemetry/scoped-log.ts");
  const { path: accessPath, buffer } = config.accessLog;
  const logSink = createLineSink({ destination: 1, buffer });
  // One writer for one place: two would cut each other's lines in half.
  const accessSink = accessPath === undefined ? logSink : createLineSink({ destination: accessPath, buffer });
  const log = new ScopedLog(createLog(logSink, config.log));
  const { node: nodeVersion, openssl } = process.versions;
  log.root.info(
    {
      version,
      node: config.node,
      nodeVersion,
      openssl,
      fips,
      pid: process.pid,
      file,
    },
    "starting",
  );

  const stopping = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => {
    log.root.info(
      { signal, deadlineMs: config.drain.deadline },
      "told to stop; a second signal ends the process at once",
    );
    stopping.abort(new MeshError("MESH_STOPPED", `stopped by ${signal}`));
  };
  // Once: with the listener gone a second signal does what signals do.
  process.once("SIGTERM", onSignal).once("SIGINT", onSignal);

  const { Agent } = await import("./agent.ts");
  const { agentParts, loadPrograms } = await import("./parts.ts");
  await loadPrograms(config);
  const parts = await agentParts(config);
  // Nothing listens yet, and nobody waits for this thread.
  compactHeap();
  const agent = new Agent({ parts, log, logSink, accessSink }, { config, version });
  let exitCode = 0;
  try {
    await agent.start(stopping.signal);
    if (!stopping.signal.aborted) await once(stopping.signal, "abort");
  } catch (error) {
    // Told to stop while still starting: that is no failure.
    if (!stopping.signal.aborted) {
      log.root.error({ error }, "the agent could not start");
      exitCode = 1;
    }
  }
  try {
    await agent.stop();
  } finally {
    process.off("SIGTERM", onSignal).off("SIGINT", onSignal);
    await Promise.all([accessSink.close(logFlushMs), logSink.close(logFlushMs)]);
  }
  return exitCode;
}
