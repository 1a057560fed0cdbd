/** Certificates renew while requests run. */
import { expectThat } from "../checklist.ts";
import { cast, type Stage } from "../stage.ts";

interface CertificateRow {
  readonly identity: string;
  readonly serial: string;
}

export async function rotation(stage: Stage): Promise<void> {
  const { lab, checklist } = stage;
  await checklist.check("certificates renew under load, no request fails", async () => {
    const nodes = [lab.pod(cast.frontend).node, lab.pod(cast.api).node];
    const serials = async (): Promise<Map<string, string>> => {
      const found = new Map<string, string>();
      for (const node of nodes)
        for (const row of (await lab.adminJson(node, "/certs")) as CertificateRow[])
          if (/sa\/(frontend|api)$/.test(row.identity)) found.set(`${node} ${row.identity}`, row.serial);
      return found;
    };
    const before = await serials();
    expectThat(before.size >= 2, `the agents list ${before.size} certificates of frontend and api`);
    const startedAt = performance.now();
    let answered = 0;
    const failed: string[] = [];
    for (;;) {
      const batch = await stage.curl(cast.frontend, "http://api:8080/?[1-25]", ["--fail", "--output", "/dev/null"]);
      if (batch.code === 0) answered += 25;
      else failed.push(batch.stderr.trim());
      const now = await serials();
      if ([...before].every(([key, serial]) => now.get(key) !== serial)) break;
      expectThat(performance.now() - startedAt < 60_000, "the certificates were not renewed within a minute");
    }
    expectThat(failed.length === 0, `${failed.length} batches failed: ${failed[0] ?? ""}`);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    return `${before.size} certificates renewed, ${answered} requests answered meanwhile, 0 failed (${seconds} s)`;
  });
}
