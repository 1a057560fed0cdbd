/**
 * A control plane on a cluster, put together: the watched cluster as source of the mesh, the Secret that keeps the authority, the
 * cluster's word on who calls, and what only the leader of the replicas writes (the roots' ConfigMap, the status of policies).
 */
import { hostname } from "node:os";
import { systemClock } from "../../lib/clock.ts";
import type { MeshSettings } from "../../model/mesh.ts";
import type { Logger } from "../../telemetry/log.ts";
import type { ControlConfig } from "../config.ts";
import type { KubernetesApi } from "./api.ts";
import { ApiClient, apiClientDefaults } from "./api-client.ts";
import { KubernetesPlatform } from "./kubernetes-platform.ts";
import { KubernetesSource } from "./kubernetes-source.ts";
import type { ReflectorLog } from "./reflector.ts";

export type KubernetesConfig = ControlConfig["kubernetes"] & { readonly config: string };

/** Throws MESH_CONFIG_KUBERNETES when the cluster cannot be found where the configuration says. */
export function kubernetesParts(
  config: KubernetesConfig,
  settings: MeshSettings,
  log: Logger,
): { readonly source: KubernetesSource; readonly platform: KubernetesPlatform } {
  const api = new ApiClient({ ...apiClientDefaults, kubeconfig: config.config, context: config.context });
  return partsOn(api, config, settings, log.child({ scope: "kubernetes" }));
}

export function partsOn(api: KubernetesApi, config: KubernetesConfig, settings: MeshSettings, log: ReflectorLog) {
  const deps = { api, clock: systemClock, random: Math.random, log };
  const source = new KubernetesSource(deps, { settings });
  source.onProblems((problems) => {
    for (const problem of problems) log.warn(problem, "an object cannot be used as it is; what was last good holds");
  });
  const { namespace, audiences, trustedAccounts, plugInSecret } = config;
  const platform = new KubernetesPlatform(
    { ...deps, source },
    { namespace, audiences, trustedAccounts, plugInSecret, identity: hostname() },
  );
  return { source, platform };
}
