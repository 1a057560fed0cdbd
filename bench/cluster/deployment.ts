/** The mesh in a cluster: deployed from deploy/ for the run, or found there and left as it is. */
import { join } from "node:path";
import { agentDaemonSet, controlDeployment, hasMesh, meshNamespace } from "./preflight.ts";
import type { Kubectl } from "./tool.ts";

const rolloutMs = 5 * 60_000;

export interface Deployment {
  /** Undefined when the mesh was there before. */
  readonly image: string | undefined;
  remove(kubectl: Kubectl): Promise<void>;
}

export async function deployMesh(kubectl: Kubectl, root: string, image: string): Promise<Deployment> {
  if (await hasMesh(kubectl)) return { image: undefined, remove: () => Promise.resolve() };
  const folder = join(root, "deploy");
  const deployment: Deployment = {
    image,
    remove: async (later) => {
      await later.run(["delete", "--kustomize", folder, "--ignore-not-found", "--wait=true"], { timeoutMs: rolloutMs });
    },
  };
  const targets = [`deployment/${controlDeployment}`, `daemonset/${agentDaemonSet}`];
  const inNamespace = ["--namespace", meshNamespace];
  try {
    await kubectl.run(["apply", "--kustomize", folder]);
    // A tag of the user's own, in place of the one that deploy/ names.
    for (const target of targets) await kubectl.run([...inNamespace, "set", "image", target, `*=${image}`]);
    for (const target of targets)
      await kubectl.run([...inNamespace, "rollout", "status", target, `--timeout=${rolloutMs / 1000}s`], {
        timeoutMs: rolloutMs + 10_000,
      });
    return deployment;
  } catch (error) {
    await deployment.remove(kubectl.under(AbortSignal.timeout(rolloutMs))).catch(() => {});
    throw error;
  }
}
