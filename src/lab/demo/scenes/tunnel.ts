/** What a request looks like now: on the wire, in the tunnel, at the server, in the logs. */
import { expectThat } from "../checklist.ts";
import { wireFacts } from "../packets.ts";
import { cast, eventually, type Stage } from "../stage.ts";

const hbonePort = 15008;

export async function tunnel(stage: Stage): Promise<void> {
  const { lab, checklist } = stage;
  const frontend = lab.pod(cast.frontend);
  const api = lab.pod(cast.api);
  const marker = stage.marker();
  const requests = 20;
  const wire = await stage.onTheWire(async () => {
    const statuses: number[] = [];
    for (let n = 0; n < requests; n++)
      statuses.push((await stage.http(cast.frontend, `http://api:8080/orders?note=${marker}`)).status);
    return statuses;
  });
  const facts = wireFacts(wire.segments, marker);

  await checklist.check("requests are answered through 15008 on the other node", async () => {
    const good = wire.result.filter((status) => status === 200).length;
    const bytes = facts.bytesByPort.get(hbonePort) ?? 0;
    expectThat(good === requests, `${good} of ${requests} answered with 200`);
    expectThat(frontend.node !== api.node, `client and server are both on ${frontend.node}`);
    expectThat(bytes > 0, "no byte crossed the fabric on port 15008");
    return `${good} of ${requests}, ${frontend.node} to ${api.node}, ${bytes} bytes on port 15008`;
  });
  await checklist.check("no payload in clear on the fabric", async () => {
    expectThat(facts.segments > 0, "the capture saw no packets");
    expectThat(facts.inClear === 0, `the marker was readable in ${facts.inClear} packets`);
    const clear = facts.bytesByPort.get(8080) ?? 0;
    expectThat(clear === 0, `${clear} payload bytes went to or from port 8080 in clear`);
    return `0 of ${facts.segments} packets hold the marker, 0 bytes on port 8080`;
  });
  await checklist.check("TLS 1.3, post-quantum key exchange, AES-256-GCM", async () => {
    const tunnels = (await lab.adminJson(frontend.node, "/tunnels")) as {
      direction: string;
      peerAddress: { address: string };
      tls: { version: string; group: string; cipher: string };
    }[];
    const mine = tunnels.find((one) => one.direction === "outbound" && api.ips.includes(one.peerAddress.address));
    expectThat(mine !== undefined, `no tunnel to ${api.ips.join(" or ")} among ${tunnels.length}`);
    const { version, group, cipher } = mine.tls;
    expectThat(version === "TLSv1.3" && cipher === "TLS_AES_256_GCM_SHA384", `${version} ${group} ${cipher}`);
    return `${version} ${group} ${cipher}`;
  });
  await checklist.check("the server sees the caller's own address", async () => {
    const answer = await stage.http(cast.frontend, "http://api:8080/");
    const { client } = JSON.parse(answer.body) as { client: string };
    const seen = client.replace(/^::ffff:/, "");
    expectThat(frontend.ips.includes(seen), `the server saw ${seen}, the caller is ${frontend.ips.join(", ")}`);
    return seen;
  });
  await checklist.check("both nodes' access logs name both identities", async () => {
    const from = "spiffe://cluster.local/ns/production/sa/frontend";
    const to = "spiffe://cluster.local/ns/production/sa/api";
    for (const [node, direction] of [
      [frontend.node, "outbound"],
      [api.node, "inbound"],
    ] as const)
      await eventually(`a ${direction} line in the access log of ${node}`, 60_000, async () =>
        (await lab.agentLog(node))
          .split("\n")
          .find((line) => line.includes(`direction=${direction}`) && line.includes(from) && line.includes(to)),
      );
    return `${from} → ${to}`;
  });
}
