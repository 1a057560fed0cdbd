import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { knobsOf } from "../../src/lib/config-schema.ts";
import { nodeConfigSchema } from "../../src/node/config.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The agent as a process of its own, from its sources. */
async function warrenNode(args: readonly string[], environment: Record<string, string> = {}): Promise<Ended> {
  const child = spawn(process.execPath, [main, "node", ...args], {
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += String(chunk)));
  child.stderr.on("data", (chunk: Buffer) => (stderr += String(chunk)));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, stdout, stderr };
}

describe("warren node", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "warren-node-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const good = () => [
    "--node=n1",
    `--manifests=${folder}`,
    "--control-address=127.0.0.1:1",
    `--control-root-certificate=${join(folder, "root.pem")}`,
    `--control-token-file=${join(folder, "token")}`,
    `--access-log-path=${join(folder, "access.log")}`,
    "--admin=127.0.0.1:0",
    "--metrics=127.0.0.1:0",
    "--readiness=127.0.0.1:0",
  ];

  it("documents every knob in --help", async () => {
    const { code, stdout } = await warrenNode(["--help"]);
    expect(code).toBe(0);
    for (const { flag, description } of knobsOf(nodeConfigSchema).list) {
      expect(stdout).toContain(`  ${flag}=`);
      expect(stdout.replaceAll(/\s+/g, " ")).toContain(description);
    }
  });

  it("exits 2 on a wrong configuration, names all problems of all sources, and has touched nothing", async () => {
    await writeFile(join(folder, "warren.yaml"), "drain:\n  deadlin: 3s\n");
    const args = [...good(), "--workers=0", `--config=${join(folder, "warren.yaml")}`];
    const { code, stdout, stderr } = await warrenNode(args, { WARREN_LOG_LEVEL: "loud" });
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain("the configuration has 3 problems, nothing was started:");
    expect(stderr).toContain("workers (--workers): is too small");
    expect(stderr).toContain("log.level (WARREN_LOG_LEVEL): is not one of");
    expect(stderr).toContain("warren.yaml:2): unknown key; did you mean drain.deadline?");
    expect(existsSync(join(folder, "access.log"))).toBe(false);
  });

  it("exits 2 when FIPS is required and OpenSSL does not run it", async () => {
    const { code, stderr } = await warrenNode([...good(), "--tls-fips=required"]);
    expect(code).toBe(2);
    expect(stderr).toContain("MESH_CONFIG_FIPS");
    expect(existsSync(join(folder, "access.log"))).toBe(false);
  });

  it("exits 1 and says why when a part cannot start, with everything stopped again", async () => {
    const args = [...good(), `--capture-pin-directory=${join(folder, "missing", "pins")}`, "--log-format=json"];
    const { code, stdout } = await warrenNode([...args, `--capture-pods-cgroup=${join(folder, "pods")}`]);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { message: string; level: string; error?: { message: string } });
    expect(code).toBe(1);
    const [failure] = lines.filter(({ level }) => level === "error");
    expect(failure?.message).toBe("the agent could not start");
    expect(failure?.error?.message).not.toBe("");
    expect(lines.at(-1)?.message).toBe("stopped");
  });
});
