/**
 * Stands in for docker, kind and kubectl: answers a command line with what was recorded for it, and writes down that it was asked. Its
 * folder (FAKE_TOOLS) has `replies.json`, a list of `Reply` of which the first that fits is taken, and gets `calls.jsonl`.
 */
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Reply {
  readonly tool: string;
  /** Searched in the arguments, joined by spaces. */
  readonly args: string;
  /** `{{calls}}` becomes the number of calls so far: a counter that grows. */
  readonly stdout?: string;
  readonly stderr?: string;
  readonly code?: number;
  /** Never answers; ends when it is told to. */
  readonly hangs?: boolean;
}

export interface Call {
  readonly tool: string;
  readonly args: string;
  readonly stdin: string;
}

const [tool = "", ...rest] = process.argv.slice(2);
const folder = process.env["FAKE_TOOLS"] ?? "";
const args = rest.join(" ");
const stdin = rest.includes("--filename=-") ? readFileSync(0, "utf8") : "";
const callsPath = join(folder, "calls.jsonl");
const call: Call = { tool, args, stdin };
appendFileSync(callsPath, `${JSON.stringify(call)}\n`);
const replies = JSON.parse(readFileSync(join(folder, "replies.json"), "utf8")) as Reply[];
const reply = replies.find((one) => one.tool === tool && new RegExp(one.args).test(args));
if (reply === undefined) {
  process.stderr.write(`nothing was recorded for ${tool} ${args}\n`);
  process.exitCode = 97;
} else if (reply.hangs === true) {
  // As long as whoever asked: a bench that was killed leaves nothing of this running.
  const asker = process.ppid;
  setInterval(() => {
    if (process.ppid !== asker) process.exit(1);
  }, 100);
} else {
  const calls = readFileSync(callsPath, "utf8").split("\n").length;
  process.stdout.write((reply.stdout ?? "").replaceAll("{{calls}}", String(calls)));
  process.stderr.write(reply.stderr ?? "");
  process.exitCode = reply.code ?? 0;
}
