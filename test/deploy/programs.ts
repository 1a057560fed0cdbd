/** Programs of the Kubernetes world that a machine may have, on PATH or, as `setup-envtest` puts them, where `KUBEBUILDER_ASSETS` says. */
import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

/** Undefined where there is none. */
export function findProgram(name: "helm" | "kubectl" | "kustomize"): string | undefined {
  const { KUBEBUILDER_ASSETS: assets, PATH: path = "" } = process.env;
  const folders = [...(assets === undefined ? [] : [assets]), ...path.split(delimiter)];
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What it prints; throws with what it complained of. */
export async function output(program: string, ...args: readonly string[]): Promise<string> {
  return (await promisify(execFile)(program, args, { maxBuffer: 64 * 1024 * 1024 })).stdout;
}
