/** Changing what the agent writes while it runs: the whole of it, or one area. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { MeshError } from "../../lib/errors.ts";
import { logLevels, type ScopedLog } from "../../telemetry/scoped-log.ts";
import type { LogLevelSchema } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";

export interface LogLevels {
  readonly scoped: Pick<ScopedLog, "level" | "areas" | "setArea" | "resetAreas">;
  /** What the configuration says. */
  readonly configured: string;
}

/** `level`, or `area:level`; empty is what the configuration says, for every area. Answers what holds then. */
export function setLogLevel({ scoped, configured }: LogLevels, text: string): MessageInitShape<typeof LogLevelSchema> {
  const [last = "", area] = text.split(":").toReversed();
  if (text === "") {
    scoped.resetAreas();
    scoped.level = levelOf(configured);
  } else if (area === undefined) scoped.level = levelOf(last);
  else scoped.setArea(area, levelOf(last));
  return getLogLevel({ scoped });
}

export function getLogLevel({ scoped }: Pick<LogLevels, "scoped">): MessageInitShape<typeof LogLevelSchema> {
  return { level: scoped.level, areas: Object.fromEntries(scoped.areas) };
}

function levelOf(text: string): (typeof logLevels)[number] {
  const level = logLevels.find((known) => known === text);
  if (level !== undefined) return level;
  throw new MeshError("MESH_CONFIG_LOG_LEVEL", `${JSON.stringify(text)} is no level; levels: ${logLevels.join(", ")}`);
}
