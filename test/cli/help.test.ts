/** What holds of every verb alike: its help, and how it ends when it is called wrongly or there is nobody to ask. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { Command } from "commander";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { registerAll } from "../../src/cli/program.ts";
import { nodeHelp } from "../../src/node/run.ts";
import { warren } from "./support/run-cli.ts";

function leavesOf(command: Command): Command[] {
  return command.commands.flatMap((child) => (child.commands.length === 0 ? [child] : leavesOf(child)));
}

function nameOf(command: Command): string {
  const parent = command.parent === null ? "" : nameOf(command.parent);
  return parent === "" ? command.name() : `${parent} ${command.name()}`;
}

/** Of an address where nothing listens, on any machine. */
const nobodysCluster = JSON.stringify({
  apiVersion: "v1",
  kind: "Config",
  clusters: [{ name: "c", cluster: { server: "http://127.0.0.1:1" } }],
  users: [{ name: "u", user: {} }],
  contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
  "current-context": "x",
});

const program = new Command("");
await registerAll(program);
const leaves = leavesOf(program).map((command) => ({ name: nameOf(command).trim(), command }));
/** They read configuration, not flags: what they don't know is told by the reader of that. */
const daemons = ["node", "control"];

describe.each(leaves)("warren $name", ({ name, command }) => {
  test("has a help that says how it ends and gives examples of itself", () => {
    let text = "";
    command.configureOutput({
      writeOut: (part) => {
        text += part;
      },
    });
    if (name === "node") text = nodeHelp();
    else command.outputHelp();
    expect(text).toMatch(/\nExit status:\n {2}\S/);
    const [, examples = ""] = text.split("\nExamples:\n");
    expect(examples).toContain(`warren ${name}`);
    // Lines of tables of flags are the parser's; what we wrote fits a wide terminal.
    for (const line of examples.split("\n")) expect(line.length, line).toBeLessThanOrEqual(160);
  });
});

test.each(leaves.filter(({ name }) => !daemons.includes(name)))(
  "warren $name ends with 2 when it is called wrongly, and says where its usage is",
  async ({ name }) => {
    const result = await warren(...name.split(" "), "--no-such-flag");
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain("--help");
  },
);

describe("a verb that asks the mesh ends with 3 when nobody answers:", () => {
  const asking = leaves.filter(({ command }) => command.options.some(({ long }) => long === "--control"));
  /** They change objects, which control does for nobody: a lab or a cluster is asked. */
  const changing = ["enroll", "unenroll", "uninstall"];
  /** What it must be told to get as far as asking. */
  const wanted: Readonly<Record<string, readonly string[]>> = {
    "ca restore": ["spiffe://cluster.local/ns/a/sa/b"],
    "ca revoke": ["--serial", "1f"],
    "ca verify": ["CHAIN"],
    enroll: ["ns/a"],
    "proxy-config listeners": ["deploy/a"],
    "proxy-config secret": ["deploy/a"],
    unenroll: ["ns/a"],
    why: ["deploy/a", "deploy/b"],
  };

  test.each(asking)("$name", async ({ name }) => {
    const folder = mkdtempSync(join(tmpdir(), "nobody-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    // Any certificate will do: nobody is there to be judged by it.
    for (const file of ["token", "root.pem", "chain.pem"]) writeFileSync(join(folder, file), rootCertificates[0] ?? "");
    const nobody = ["--control", `unix:${join(folder, "nobody.sock")}`, "--token-file", join(folder, "token")];
    const args = (wanted[name] ?? []).map((word) => (word === "CHAIN" ? join(folder, "chain.pem") : word));
    vi.stubEnv("WARREN_LAB_STATE", folder);
    writeFileSync(join(folder, "kubeconfig"), nobodysCluster);
    vi.stubEnv("KUBECONFIG", join(folder, "kubeconfig"));
    onTestFinished(() => void vi.unstubAllEnvs());
    const mesh = changing.includes(name) ? [] : [...nobody, "--root", join(folder, "root.pem")];
    const result = await warren(...name.split(" "), ...args, ...mesh);
    expect(result).toMatchObject({ code: 3 });
    expect(result.stderr).toMatch(/MESH_UNREACHABLE/);
  });
});
