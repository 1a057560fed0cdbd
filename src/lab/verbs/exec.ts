/** `warren lab exec`: a program in a pod, on this terminal. */
import { constants } from "node:os";
import { Cgroup } from "../machine/cgroup.ts";
import { launch } from "../machine/launch.ts";
import { clientOf } from "./choose.ts";

/** The program's exit code, or 128 + n when signal n ended it. */
export async function execInPod(name: string | undefined, pod: string, argv: readonly string[]): Promise<number> {
  const { cgroup: path, holder, env } = await clientOf(name).place(pod);
  const cgroup = new Cgroup(path);
  const terminal = Object.fromEntries(Object.entries({ TERM: process.env["TERM"] }).filter(([, value]) => value));
  const child = launch({ cgroup, holder }, argv, { stdio: "inherit", env: { ...terminal, ...env } });
  // The terminal sends its signals to the program too: that one decides.
  const ignore = () => {};
  process.on("SIGINT", ignore).on("SIGQUIT", ignore);
  const pass = () => child.kill("SIGTERM");
  process.on("SIGTERM", pass);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
    });
  } finally {
    process.off("SIGINT", ignore).off("SIGQUIT", ignore).off("SIGTERM", pass);
    await cgroup.remove();
  }
}
