/** The real plugin program, run as a container runtime runs it, and what may listen at the agent's place. */
import { spawn } from "node:child_process";
import { createServer, type Server, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";

export const pluginProgram = fileURLToPath(new URL("../../../build/native/cni/warren-cni", import.meta.url));

export const prevResult = {
  cniVersion: "1.0.0",
  interfaces: [{ name: "eth0", sandbox: "/run/netns/a" }],
  ips: [
    { address: "10.244.1.5/24", gateway: "10.244.1.1", interface: 0 },
    { address: "fd00::5/64", interface: 0 },
  ],
  dns: { nameservers: ["10.96.0.10"] },
  "of another plugin": { kept: true },
};

export const podArguments =
  "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=uid-web-0";

export interface PluginRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output as JSON; undefined when it is empty. */
  readonly json: Record<string, unknown> | undefined;
}

export async function runPlugin(
  command: string,
  config: unknown,
  environment: Readonly<Record<string, string | undefined>> = {},
): Promise<PluginRun> {
  const env: Record<string, string> = {};
  const defaults = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/a",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/opt/cni/bin",
    CNI_ARGS: podArguments,
  };
  for (const [key, value] of Object.entries({ ...defaults, ...environment })) if (value !== undefined) env[key] = value;
  const child = spawn(pluginProgram, [], { env, stdio: ["pipe", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  child.stdin.on("error", () => {});
  child.stdin.end(typeof config === "string" ? config : JSON.stringify(config));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  const json = stdout === "" ? undefined : (JSON.parse(stdout) as Record<string, unknown>);
  return { code, stdout, stderr, json };
}

/** Listens at the agent's place and does with each connection what the test says. Ends with the test. */
export async function scriptedAgent(path: string, behaviour: (socket: Socket, line: string) => void): Promise<Server> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket.on("error", () => {}).once("close", () => open.delete(socket)));
    let said = "";
    socket.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      if (said.includes("\n")) behaviour(socket, said.slice(0, said.indexOf("\n")));
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(async () => {
    for (const socket of open) socket.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  });
  return server;
}
