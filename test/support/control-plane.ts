import { createHash, randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { controlConfigSchema } from "../../src/control/config.ts";
import { Control } from "../../src/control/control.ts";
import { controlParts } from "../../src/control/parts.ts";
import { CaClient, type CaClientOptions } from "../../src/identity/ca-client.ts";
import { loadConfig } from "../../src/lib/config.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { temporaryFolder } from "./temporary-folder.ts";

/** A manifest of one running pod in an enrolled namespace. */
export function podManifest(name: string, node: string, options: { serviceAccount?: string; address?: string } = {}) {
  const { serviceAccount = name, address = "10.0.0.1" } = options;
  return [
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "production", labels: { "warren.dev/mode": "ambient" } } },
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: "production", uid: `uid-${name}` },
      spec: { serviceAccountName: serviceAccount, nodeName: node, containers: [{ name: "app" }] },
      status: { phase: "Running", podIP: address, podIPs: [{ ip: address }] },
    },
  ];
}

export interface LogLine {
  readonly message: string;
  readonly [field: string]: unknown;
}

export interface ControlPlane {
  readonly control: Control;
  readonly port: number;
  readonly adminPort: number;
  readonly folder: string;
  /** Structured log lines so far. */
  readonly lines: LogLine[];
  /** Replaces the manifests. */
  apply(...objects: object[]): Promise<void>;
  /** Replaces the node token file: node name to token. */
  setTokens(tokens: Record<string, string>): Promise<void>;
  /** A client that shows this node's token. */
  client(node: string, options?: Partial<CaClientOptions>): CaClient;
  clientOptions(node: string): CaClientOptions;
}

/** A control plane on loopback, with nodes w1 and w2 known by their tokens; stopped when the test ends. */
export async function startControlPlane(flags: readonly string[] = [], objects: object[] = []): Promise<ControlPlane> {
  const folder = await temporaryFolder();
  const at = (name: string) => join(folder, name);
  await mkdir(at("manifests"));
  let version = 0;
  const apply = (...all: object[]) =>
    // Kubernetes' JSON is YAML; a List would do too.
    writeFile(
      at("manifests/all.yaml"),
      `# ${++version}\n${all.map((object) => JSON.stringify(object)).join("\n---\n")}\n`,
    );
  const setTokens = async (tokens: Record<string, string>) => {
    const digests = Object.entries(tokens).map(([node, token]) => [
      node,
      createHash("sha256").update(token).digest("hex"),
    ]);
    await writeFile(at("tokens.yaml"), JSON.stringify({ tokens: Object.fromEntries(digests) }));
  };
  const tokens = Object.fromEntries(["w1", "w2"].map((node) => [node, randomBytes(24).toString("base64url")]));
  for (const [node, token] of Object.entries(tokens)) await writeFile(at(`${node}.token`), `${token}\n`);
  await setTokens(tokens);
  await apply(...objects);
  const { value: config } = await loadConfig(controlConfigSchema, {
    args: [
      `--manifests=${at("manifests")}`,
      `--state=${at("state")}`,
      `--node-tokens=${at("tokens.yaml")}`,
      `--publish-root=${at("published/root.pem")}`,
      "--listen=127.0.0.1:0",
      "--admin=127.0.0.1:0",
      "--log-level=debug",
      ...flags,
    ],
    environment: {},
  });
  const lines: LogLine[] = [];
  const sink = {
    write: (line: string) => void lines.push(JSON.parse(line) as LogLine),
    dropped: 0,
    close: () => Promise.resolve(),
  };
  const log = createLog(sink, { level: "debug", format: "json" });
  const control = new Control(await controlParts(config, log), config);
  onTestFinished(() => control.stop());
  const { port, adminPort } = await control.start(AbortSignal.timeout(30_000));
  const clientOptions = (node: string): CaClientOptions => ({
    address: `127.0.0.1:${port}`,
    rootFile: at("published/root.pem"),
    tokenFile: at(`${node}.token`),
    serverName: "",
    cluster: "Kubernetes",
    timeoutMs: 30_000,
  });
  const client = (node: string, options: Partial<CaClientOptions> = {}) => {
    const made = new CaClient({ ...clientOptions(node), ...options });
    onTestFinished(() => made.stop());
    return made;
  };
  return { control, port, adminPort, folder, lines, apply, setTokens, client, clientOptions };
}
