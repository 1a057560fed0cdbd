/** What an operator sees of all this: the verbs themselves, run as a person runs them, on what the demo does meanwhile. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { warrenCommand } from "../../mesh/program.ts";
import { expectThat } from "../checklist.ts";
import { cast, eventually, type Stage } from "../stage.ts";

/** Lines of a tap that are shown. */
const tapLines = 8;

export async function operatorsView(stage: Stage): Promise<void> {
  const { checklist } = stage;
  await checklist.check("tap shows requests and refusals as they happen", async () => {
    const lines = await tapped(stage);
    checklist.show("warren tap deploy/api", lines.slice(0, tapLines));
    const secured = lines.filter((line) => line.startsWith("req") && line.includes("tls=true")).length;
    const denied = lines.filter((line) => line.startsWith("deny") && line.includes("tls=false")).length;
    return `${secured} requests with tls=true, ${denied} refusals of plaintext, each with its reason and policy`;
  });
  await checklist.check("tls-check tells what each port accepts, who set that, and who came", async () => {
    const { stdout } = await warren(stage, ["tls-check", "-n", "production"]);
    checklist.show("warren tls-check -n production", stdout.trimEnd().split("\n"));
    const api = stdout.split("\n").find((line) => line.startsWith("api.production"));
    expectThat(api !== undefined && / OK +STRICT .*production\/default/.test(api), api ?? stdout);
    return api.replaceAll(/ {2,}/g, "  ");
  });
  await checklist.check("plaintext names who still speaks in clear, why, and the fix", async () => {
    const { stdout, stderr } = await warren(stage, ["plaintext", "--since", "1h"]);
    checklist.show("warren plaintext --since 1h", [...stdout.trimEnd().split("\n"), ...stderr.trim().split("\n")]);
    const outsider = stdout.split("\n").find((line) => /^production\/api:8080 +outside\/client/.test(line));
    expectThat(outsider?.includes("refused already") === true, outsider ?? stdout);
    const legacy = stdout.split("\n").filter((line) => /^production\/legacy-service:8080 .* no effect /.test(line));
    expectThat(legacy.length === 2, stdout);
    return "a client outside the mesh that STRICT refuses, and two of the legacy service, which takes plaintext by policy";
  });
}

/** Lines of a tap on the api while a client of the mesh and one outside it ask it. */
async function tapped(stage: Stage): Promise<string[]> {
  const [node = process.execPath, ...main] = warrenCommand();
  const args = ["tap", "deploy/api", "--name", stage.lab.id, "--for", "30s"];
  const child = spawn(node, [...main, ...args], { stdio: ["ignore", "pipe", "ignore"], env: plainEnvironment() });
  const ended = once(child, "exit");
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  try {
    await eventually("both kinds of line", 60_000, async () => {
      await stage.curl(cast.frontend, "http://api:8080/orders");
      await stage.curl(cast.outsider, "http://api.production:8080/");
      await stage.curl(cast.frontend, "http://legacy-service:8080/");
      await stage.curl(cast.outsider, "http://legacy-service.production:8080/");
      const kinds = ["req", "deny", "close"].filter((kind) => lines.some((line) => line.startsWith(kind)));
      return kinds.length === 3 ? true : undefined;
    });
  } finally {
    child.kill("SIGINT");
    await ended;
  }
  return lines;
}

/** Rejects when the verb ends with anything but 0. */
function warren(stage: Stage, args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  const [node = process.execPath, ...main] = warrenCommand();
  return promisify(execFile)(node, [...main, ...args, "--name", stage.lab.id], { env: plainEnvironment() });
}

function plainEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, NO_COLOR: "1" };
}
