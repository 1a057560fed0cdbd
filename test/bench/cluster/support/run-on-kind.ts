/** A bench on kind in a process of its own, for tests of what is left when it ends this way or that. `run-on-kind.ts ROOT PROC` */
import { parseBenchArguments } from "../../../../bench/arguments.ts";
import { runOnCluster } from "../../../../bench/cluster/cluster-target.ts";
import { quickPace } from "../../../../bench/scenarios/scenario.ts";

const [root = "", proc = ""] = process.argv.slice(2);
const parsed = parseBenchArguments(["--target=kind", "--quick", "--rounds=1"], () => ({
  scenarios: [],
  variants: ["direct", "warren"],
}));
if (parsed.kind !== "run") throw new Error(JSON.stringify(parsed));
const stop = new AbortController();
process.on("SIGTERM", () => stop.abort(new Error("interrupted")));
await runOnCluster("kind", {
  request: parsed.request,
  pace: quickPace,
  machine: { root, proc },
  signal: stop.signal,
  say: (line) => process.stderr.write(`${line}\n`),
});
