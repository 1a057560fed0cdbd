/** Which source of the mesh and which platform a configuration asks for. The Kubernetes client is loaded only when that is asked for. */

import { systemClock } from "../lib/clock.ts";
import { MeshError } from "../lib/errors.ts";
import { createManifestSource } from "../manifests/manifest-source.ts";
import { type MeshSettings, noAuthoritySettings } from "../model/mesh.ts";
import type { Logger } from "../telemetry/log.ts";
import type { ControlConfig } from "./config.ts";
import type { ControlDeps } from "./control.ts";
import { FilePlatform } from "./platform.ts";

export async function controlParts(config: ControlConfig, log: Logger): Promise<ControlDeps> {
  const { kubernetes, manifests: folder, state, nodeTokens, cacerts, defaultNamespace } = config;
  const settings = meshSettings(config);
  if (kubernetes.config !== undefined) {
    const { kubernetesParts } = await import("./kubernetes/kubernetes-parts.ts");
    return { ...kubernetesParts({ ...kubernetes, config: kubernetes.config }, settings, log), log };
  }
  if (folder === undefined || state === undefined || nodeTokens === undefined) {
    throw new MeshError(
      "MESH_CONFIG_INVALID",
      "manifests, state and nodeTokens must be set where kubernetes.config is not",
    );
  }
  const source = createManifestSource({ folder, defaultNamespace, settings });
  source.onProblems((problems) => {
    for (const problem of problems) log.warn(problem, "a manifest cannot be used; what was last good stays in force");
  });
  const platform = new FilePlatform(
    { clock: systemClock, log: log.child({ scope: "access" }) },
    { state, nodeTokens, cacerts },
  );
  return { source, platform, log };
}

function meshSettings({ trustDomain, mesh }: ControlConfig): MeshSettings {
  return { trustDomain, ...mesh, ...noAuthoritySettings };
}
