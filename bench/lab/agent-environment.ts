/** Agents with environment variables that the lab does not know of: its own are stopped, and the same command lines started again. */
import { closeSync, openSync, readFileSync } from "node:fs";
import type { Lab } from "../../src/lab/lab.ts";
import { launch } from "../../src/lab/machine/launch.ts";
import { MeshError } from "../../src/lib/errors.ts";
import { until } from "./conditions.ts";

const readinessPort = 15_021;

export async function startMaskedAgents(
  lab: Lab,
  env: Readonly<Record<string, string>>,
  wait: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<void> {
  await Promise.all(
    lab.nodes().map(async (name) => {
      const node = lab.node(name);
      const [pid] = node.agentCgroup.pids;
      if (pid === undefined) throw new MeshError("MESH_BENCH_NO_AGENT", `no agent runs on ${name}; see its log`);
      const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
      await lab.stopAgent(name);
      const log = openSync(lab.logPath(`agent/${name}`), "a");
      const child = launch(node.sandbox.place(node.agentCgroup), argv, {
        stdio: ["ignore", log, log],
        env: { PATH: process.env["PATH"] ?? "", ...env },
        detached: true,
      });
      child.unref();
      closeSync(log);
      const ready = {
        kind: "http",
        host: "127.0.0.1",
        port: readinessPort,
        path: "/healthz/ready",
        timeoutMs: 1000,
      } as const;
      await until(
        `the agent on ${name} with ${Object.keys(env).join(", ")}`,
        async () => (await node.prober.ask(ready)).ok,
        wait,
      );
    }),
  );
}
