/** Programs that nobody wrote for a mesh: a database with its own client, and a bulk transfer. */
import { expectThat } from "../checklist.ts";
import { cast, type Stage } from "../stage.ts";

export async function programs(stage: Stage): Promise<void> {
  const { lab, checklist } = stage;
  await checklist.check("Redis with its own client", async () => {
    const value = stage.marker();
    const set = await lab.exec(cast.frontend, ["redis-cli", "-h", "database", "SET", "greeting", value]);
    const get = await lab.exec(cast.frontend, ["redis-cli", "-h", "database", "GET", "greeting"]);
    expectThat(set.stdout.trim() === "OK", `SET answered ${JSON.stringify(set.stdout + set.stderr)}`);
    expectThat(get.stdout.trim() === value, `GET answered ${JSON.stringify(get.stdout + get.stderr)}`);
    return "SET and GET across nodes";
  });
  await checklist.check("iperf3 in bulk", async () => {
    const run = await lab.exec(cast.iperfClient, ["iperf3", "-c", "iperf-server", "-t", "2", "--json"], {
      timeoutMs: 20_000,
    });
    const report = JSON.parse(run.stdout) as { end?: { sum_received?: { bits_per_second?: number } }; error?: string };
    const rate = report.end?.sum_received?.bits_per_second ?? 0;
    expectThat(rate > 0, report.error ?? `exit ${run.code}`);
    return `${(rate / 1e9).toFixed(2)} Gbit/s in one stream on this machine, both agents and both ends included`;
  });
}
