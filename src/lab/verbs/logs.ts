/** `warren lab logs`. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { clientOf, inNamespace } from "./choose.ts";

export interface LogRequest {
  readonly name?: string;
  readonly namespace?: string;
  readonly container?: string;
  readonly follow?: true;
  readonly tail?: string;
}

export async function showLog(of: string, { name, namespace, container, follow, tail }: LogRequest): Promise<number> {
  const { path } = await clientOf(name).logPath(inNamespace(of, namespace), container);
  const args = ["-n", tail ?? "+1", ...(follow === true ? ["-F"] : []), "--", path];
  const child = spawn("tail", args, { stdio: "inherit" });
  const [code] = (await once(child, "exit")) as [number | null];
  return code ?? 0;
}
