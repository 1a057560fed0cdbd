/** The commands that show what is encrypted, on a lab of two nodes: what they say is what the test caused, to the last byte. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EdgeRow } from "../../src/cli/traffic/edge-rows.ts";
import type { PairAnswer } from "../../src/cli/traffic/explain-pair.ts";
import type { TopRow } from "../../src/cli/traffic/rates.ts";
import type { TapRow } from "../../src/cli/traffic/tap-lines.ts";
import type { TlsCheckRow } from "../../src/cli/traffic/tls-check-rows.ts";
import { eventually } from "../../src/lab/demo/stage.ts";
import { examplePath, readExample } from "../../src/lab/examples.ts";
import { Lab } from "../../src/lab/lab.ts";
import { expectDocument } from "../support/documents.ts";
import { secretsIn, secretsOf } from "./support/secrets-in-use.ts";
import { endsOfLogs, logged, metricsOf, restOf, summed } from "./support/traffic-accounts.ts";
import { flowGenerator, newcomer, noIperf, skewedClock, skewedNode, tight, warrens } from "./support/traffic-cast.ts";
import { WarrenShell } from "./support/warren-shell.ts";

const flows = 10_000;
/** Each is told when it opens and when it ends, by both of its ends, which may be one agent's. */
const flowsOfRound = 1000;

describe("verbs about traffic", { timeout: 300_000 }, () => {
  const shell = new WarrenShell();
  let lab: Lab;
  let serverNode: string;
  beforeAll(async () => {
    lab = await Lab.up(
      {
        nodes: 2,
        files: [examplePath("shop.yaml")],
        stateRoot: shell.stateRoot,
        agentSettings: { log: { format: "json", level: "debug" }, timeouts: { connect: "5s" } },
        agentLauncher: ["sh", "-c", skewedClock, "sh", skewedNode],
      },
      AbortSignal.timeout(100_000),
    );
    await lab.waitReady();
    serverNode = lab.pod("deploy/api").node;
    await eventually("mutual TLS", 120_000, async () => {
      await lab.exec("frontend", ["redis-cli", "-h", "database", "ping"]);
      const { ports } = (await shell.json("warren tls-check deploy/database -o json")) as { ports: TlsCheckRow[] };
      return ports.some(({ clients }) => clients.mutualTls > 0) ? true : undefined;
    });
  }, 300_000);
  afterAll(async () => {
    rmSync(skewedNode, { force: true });
    await lab?.down();
    shell.close();
  });

  const get = (pod: string, host = "api") =>
    lab.exec(pod, ["curl", "-s", "--max-time", "15", `http://${host}:8080/orders`]);

  test("the commands of the mission work as they are written, with Warren's name", async () => {
    const tapped = shell.watch(warrens("linkerd viz tap deploy/api"));
    const database = shell.watch(warrens("linkerd viz tap deploy/api --to deploy/database"));
    await eventually("lines of both taps", 120_000, async () => {
      await get("frontend");
      await get("outside/client", "api.production");
      // The second is nobody's that was asked for.
      for (const pod of ["deploy/api", "frontend"]) await lab.exec(pod, ["redis-cli", "-h", "database", "ping"]);
      const wanted = [
        /^req +id=\S+ proxy=in src=\S+ dst=\S+ tls=true client=production\/frontend server=production\/api/,
        /^req +id=\S+ proxy=in src=\S+ dst=\S+ tls=false client=outside\/client server=production\/api/,
        /^close +id=\S+ proxy=out src=\S+ dst=\S+ tls=true client=production\/frontend server=production\/api/,
      ];
      if (!wanted.every((pattern) => tapped.lines.some((line) => pattern.test(line)))) return undefined;
      const toDatabase = /^req +id=\S+ proxy=in src=\S+ dst=\S+:6379 tls=true client=production\/api /;
      return database.lines.some((line) => toDatabase.test(line)) ? true : undefined;
    });
    expect(database.lines.filter((line) => !line.includes("client=production/api server=production/database"))).toEqual(
      [],
    );
    expect([await tapped.stop(), await database.stop()]).toEqual([0, 0]);

    const chain = await shell.json(
      warrens("istioctl proxy-config secret deploy/api -o json | jq '.dynamicActiveSecrets[0].secret.tlsCertificate'"),
    );
    const pem = (chain as { certificateChain: { inlineBytes: string } }).certificateChain.inlineBytes;
    expect(Buffer.from(pem, "base64").toString()).toMatch(/^-----BEGIN CERTIFICATE-----/);
    const whole = await shell.run(
      "warren proxy-config secret deploy/api -o json | jq -r '.. | strings' | base64 -di 2>/dev/null; true",
    );
    expect(whole.stdout).not.toContain("PRIVATE KEY");

    const secrets = await shell.run(warrens("istioctl proxy-config secret deploy/api | grep VALID"));
    expect(secrets.code).toBe(0);
    const [head, ...rows] = secrets.stdout.trim().split("\n");
    expect(head).toMatch(/RESOURCE NAME.*STATUS.*VALID CERT.*NOT AFTER.*NOT BEFORE/);
    expect(rows).toHaveLength(2);
    for (const row of rows) expect(row).toMatch(/ VALID +true .*\d{4}-\d\d-\d\dT.*\d{4}-\d\d-\d\dT/);

    const check = await shell.run(warrens("istioctl authn tls-check deploy/api.production"));
    expect(check).toMatchObject({ code: 0 });
    expect(check.stdout).toMatch(/api\.production\.svc\.cluster\.local:8080 +MIXED +PERMISSIVE +1 mTLS \/ 1 plain/);
    expect(check.stdout).toMatch(/ago outside\/client/);
    expect(await shell.run("warren tls-check deploy/api --fail-on plaintext")).toMatchObject({ code: 1 });

    const listeners = await shell.run(warrens("istioctl proxy-config listeners deploy/api --port 8080"));
    expect(listeners.stdout.trim().split("\n")).toHaveLength(2);
    expect(listeners.stdout).toMatch(/ 8080 +MIXED +PERMISSIVE .* ago outside\/client/);
  });

  test("edges and why tell who talks to whom, and join what both agents know of a refusal", async () => {
    await lab.apply(readExample("policies/strict.yaml"));
    const { value } = await eventually("the refusal in both", 120_000, async () => {
      if ((await get("outside/client", "api.production")).code === 0) return undefined;
      const [edges, why] = [
        (await shell.json("warren edges deploy/api -o json")) as { edges: EdgeRow[] },
        (await shell.json("warren why deploy/client.outside deploy/api -o json")) as { answers: PairAnswer[] },
      ];
      const refused = edges.edges.some(({ security, refused: count }) => security === "none" && count > 0);
      return refused && why.answers[0]?.refusals.length === 1 ? { edges: edges.edges, why: why.answers } : undefined;
    });
    const identity = (name: string) => `spiffe://cluster.local/ns/production/sa/${name}`;
    expect(value.edges.find(({ security }) => security === "none")).toMatchObject({
      source: { namespace: "outside", owner: "Deployment/client" },
      port: 8080,
      lastReason: "strict-plaintext",
    });
    const into = (owner: string) => value.edges.filter((edge) => edge.destination.owner === owner);
    expect(into("Deployment/api").filter(({ security }) => security === "mutual_tls")).toMatchObject([
      {
        source: { owner: "Deployment/frontend", identity: identity("frontend") },
        destination: { owner: "Deployment/api", identity: identity("api") },
        port: 8080,
        refused: 0,
        reporters: ["source", "destination"],
      },
    ]);
    expect(value.why).toMatchObject([
      {
        outcome: "DENY",
        port: 8080,
        source: { enrolled: false },
        destination: {
          enrolled: true,
          captureState: "captured",
          certificate: "ready",
          listening: true,
          node: serverNode,
        },
        verdict: { allowed: false, reason: "strict-plaintext", policy: "production/default", mode: "STRICT" },
        refusals: [{ side: "destination", reason: "strict-plaintext", policy: "production/default" }],
      },
    ]);
    expect(value.why[0]?.causes[0]).toMatchObject({ code: "client-not-enrolled", certainty: "sure" });
    expect(await shell.run("warren why deploy/client.outside deploy/api")).toMatchObject({ code: 1 });
    const fine = await shell.run("warren why deploy/frontend deploy/api:8080");
    expect(fine).toMatchObject({ code: 0 });
    expect(fine.stdout).toMatch(/^ALLOW .*with mutual TLS/);

    const denied = shell.watch("warren tap deploy/api --verdict refused -o jsonl");
    await eventually("a deny", 120_000, async () => {
      await get("outside/client", "api.production");
      return denied.lines.length > 0 ? true : undefined;
    });
    await denied.stop();
    for (const line of denied.lines) expectDocument(JSON.parse(line) as object, "warren.tap/v1");
    expect(JSON.parse(denied.lines[0] ?? "") as TapRow).toMatchObject({
      event: "deny",
      proxy: "in",
      security: "none",
      reason: "strict-plaintext",
      policy: "production/default",
      source: { namespace: "outside" },
    });
    await lab.delete("PeerAuthentication", "production", "default");
  });

  test("why tells of a refused request on a port with HTTP rules: which, when it was, and by whose policy", async () => {
    await lab.apply(readExample("policies/api-authz.yaml"));
    const post = ["curl", "-s", "-o/dev/null", "-w%{http_code}", "-XPOST", "http://api:8080/orders?id=7"];
    await eventually("the policy", 120_000, async () =>
      (await lab.exec("frontend", post)).stdout === "403" ? true : undefined,
    );
    const asked = "warren why deploy/frontend deploy/api -o json";
    const { value } = await eventually("the refusal", 120_000, async () => {
      const { answers } = (await shell.json(asked)) as { answers: PairAnswer[] };
      return answers[0]?.refusals.some(({ request }) => request !== undefined) ? answers[0] : undefined;
    });
    expectDocument((await shell.json(asked)) as object, "warren.why/v1");
    expect(value).toMatchObject({ outcome: "DEPENDS", verdict: { policy: "production/api-authz", request: "" } });
    const request = { method: "POST", host: "api:8080", path: "/orders", status: 403 };
    const refusal = { side: "destination", reason: "policy-denied", policy: "production/api-authz", request };
    expect(value.refusals.filter((one) => one.request !== undefined)).toMatchObject([refusal]);
    // The same by the policies of now, and a request that may be.
    const may = (method: string) => shell.run(`warren why deploy/frontend deploy/api:8080 --method ${method}`);
    const refused = await may("POST");
    expect(refused.code).toBe(1);
    expect(refused.stdout).toMatch(/^DENY .*:8080 {2}POST \/ .*\n[\s\S]*sure +production\/api-authz refuses POST \//);
    expect(refused.stdout).toMatch(/seen .* the last POST \/orders, answered 403 by production\/api-authz/);
    expect((await may("GET")).stdout).toMatch(/^ALLOW /);
    const { edges } = (await shell.json("warren edges deploy/api -o json")) as { edges: EdgeRow[] };
    const edge = edges.find(({ source, security }) => source.owner.endsWith("/frontend") && security === "mutual_tls");
    expect([edge?.refused, (edge?.requestsRefused ?? 0) > 0]).toEqual([0, true]);
    // The same reason, and policy, in the answer to the client, live, in the log and in the metrics.
    const tapped = shell.watch("warren tap deploy/api --verdict refused -o jsonl");
    await eventually("the request in the tap", 120_000, async () => {
      const { stdout } = await lab.exec("frontend", ["curl", "-si", "-X", "POST", "http://api:8080/orders"]);
      expect(stdout).toMatch(/^HTTP\/1\.1 403 [\s\S]*^x-warren-reason: policy-denied\r$/m);
      return tapped.lines.length > 0 ? true : undefined;
    });
    await tapped.stop();
    const told = { reason: "policy-denied", policy: "production/api-authz" };
    expect(tapped.lines.map((line) => JSON.parse(line) as TapRow)).toContainEqual(expect.objectContaining(told));
    const logged = (await lab.agentLog(serverNode)).split("\n").filter((line) => line.includes('"request failed"'));
    expect(logged.map((line) => JSON.parse(line) as object)).toContainEqual(
      expect.objectContaining({ ...told, scope: "access", status: 403, path: "/orders" }),
    );
    const { stdout: page } = await lab.execOnNode(serverNode, ["curl", "-s", "http://127.0.0.1:15020/metrics"]);
    expect(page).toMatch(/^warren_http_requests_total\{status="4xx",reason="policy-denied"\} [1-9]/m);
    expect(page).toMatch(
      /^warren_policy_decisions_total\{policy="production.api-authz",reason="policy-denied"\} [1-9]/m,
    );
    await lab.delete("AuthorizationPolicy", "production", "api-authz");
  });

  describe("why names what commonly goes wrong, when it does:", () => {
    const why = async (from: string, to = "deploy/api:8080") => {
      const { answers } = (await shell.json(`warren why ${from} ${to} -o json`)) as { answers: PairAnswer[] };
      return answers[0];
    };
    const cause = async (code: string, from: string, certainty?: string) =>
      (await why(from))?.causes.find(
        (one) => one.code === code && (certainty === undefined || one.certainty === certainty),
      );

    test("a policy, by its name", async () => {
      await lab.apply(noIperf);
      const { value } = await eventually("the refusal", 90_000, async () => {
        await get("deploy/iperf-client");
        const answer = await why("deploy/iperf-client");
        // A connection that was under way when the policy came is cut (policy-changed); the ones after it are refused.
        const told = answer?.refusals.some(({ reason }) => reason === "policy-denied") === true;
        return answer?.outcome === "DENY" && told ? answer : undefined;
      });
      expect(value.causes[0]).toMatchObject({ code: "policy-denied", certainty: "sure" });
      expect(value.causes[0]?.text).toContain("production/no-iperf refuses it");
      expect(value.refusals).toContainEqual(
        expect.objectContaining({ side: "destination", reason: "policy-denied", policy: "production/no-iperf" }),
      );
      await lab.delete("AuthorizationPolicy", "production", "no-iperf");
      await eventually("no refusal", 90_000, async () =>
        (await why("deploy/iperf-client"))?.outcome === "ALLOW" ? true : undefined,
      );
    });

    test("a certificate that is not there yet, with what keeps it away", async () => {
      const identity = "spiffe://cluster.local/ns/production/sa/newcomer";
      expect(await shell.run(`warren ca revoke --identity ${identity}`)).toMatchObject({ code: 0 });
      await lab.apply(newcomer);
      const { value } = await eventually("a refused certificate", 90_000, async () =>
        (await why("pod/newcomer"))?.source.certificateError === ""
          ? undefined
          : cause("certificate-missing", "pod/newcomer"),
      );
      expect(value).toMatchObject({ certainty: "sure" });
      expect(value.text).toMatch(/no certificate for production\/newcomer yet: ./);
      expect(await shell.run("warren certs pod/newcomer")).toMatchObject({ code: 1 });
      expect(await shell.run(`warren ca restore ${identity}`)).toMatchObject({ code: 0 });
      await eventually("the certificate", 120_000, async () => {
        const answer = await why("pod/newcomer");
        return answer?.source.certificate === "ready" && answer.causes.length === 0 ? true : undefined;
      });
    });

    test("port 15008 that does not answer, and the NetworkPolicy that closes it", async () => {
      const blockade = async (script: string) =>
        expect(await lab.execOnNode(serverNode, ["nft", "-f", "-"], { stdin: script })).toMatchObject({ code: 0 });
      const addresses = lab.pod("deploy/api").ips;
      const rules = addresses.map((ip) => `${ip.includes(":") ? "ip6" : "ip"} daddr ${ip} tcp dport 15008 drop`);
      const chain = ["chain forward {", "type filter hook forward priority 0", ...rules, "}"];
      await blockade(["table inet blockade {", ...chain, "}", ""].join("\n"));
      try {
        const { value } = await eventually("the timeout", 120_000, async () => {
          await lab.exec("pod/newcomer", ["curl", "-s", "--max-time", "20", "http://api:8080/orders"]);
          return cause("hbone-port-blocked", "pod/newcomer");
        });
        expect(value).toMatchObject({ certainty: "likely" });
        expect(value.text).toMatch(/port 15008 of production\/api-.* did not answer: a NetworkPolicy/);
        await lab.apply(tight);
        const { value: named } = await eventually("the policy's name", 90_000, async () =>
          cause("hbone-port-blocked", "pod/newcomer", "sure"),
        );
        expect(named.text).toMatch(/production\/api-.*NetworkPolicy api-tight lets no tunnel \(TCP 15008\) pass/);
        // What never came up is no plaintext.
        expect((await why("pod/newcomer"))?.seen.map(({ security }) => security)).not.toContain("none");
      } finally {
        await blockade("delete table inet blockade");
        await lab.delete("NetworkPolicy", "production", "api-tight");
      }
    });

    test("clocks that differ", async () => {
      const node = lab.pod("newcomer").node;
      const restart = async () => {
        await lab.killAgent(node);
        await lab.startAgent(node);
      };
      writeFileSync(skewedNode, node);
      await restart();
      const { value } = await eventually("the skew", 120_000, async () => cause("clock-skew", "pod/newcomer"));
      expect(value.text).toMatch(new RegExp(`the clock of ${node} is \\d+ s ahead of control's`));
      const check = (await shell.json("warren check -o json")) as { checks: { code: string; result: string }[] };
      expect(check.checks).toContainEqual(expect.objectContaining({ code: "clocks", result: "failure" }));
      rmSync(skewedNode);
      await restart();
      await eventually("one time", 120_000, async () =>
        (await cause("clock-skew", "pod/newcomer")) === undefined &&
        (await why("pod/newcomer"))?.source.answered === true
          ? true
          : undefined,
      );
      await lab.delete("Pod", "production", "newcomer");
    });
  });

  test("who is meant may be said by address, as logs write it, or by Service", async () => {
    const [client = ""] = lab.pod("frontend").ips;
    for (const ip of lab.service("api").spec.clusterIPs ?? []) {
      const { answers } = (await shell.json(
        `warren why ${client} '${ip.includes(":") ? `[${ip}]` : ip}:8080' -o json`,
      )) as { answers: PairAnswer[] };
      expect(answers).toMatchObject([{ outcome: "ALLOW", port: 8080, destination: { node: serverNode } }]);
    }
    const { ports } = (await shell.json("warren tls-check svc/api -o json")) as { ports: TlsCheckRow[] };
    expect(ports.map(({ workload, port }) => `${workload}:${port}`)).toEqual(["Deployment/api:8080"]);
  });

  test("what is not there is a usage error", async () => {
    for (const verb of ["tls-check --fail-on plaintext", "tap --for 1m"])
      expect({ verb, ...(await shell.run(`warren ${verb} -n productoin`)) }).toMatchObject({
        code: 2,
        stderr: expect.stringContaining("namespaces with any: outside, production") as string,
      });
    expect(await shell.run("warren tls-check deploy/nobody")).toMatchObject({ code: 2 });
    expect(await shell.run("warren plaintext --rehearse-strict ns/nowhere")).toMatchObject({ code: 2 });
  });

  test("tap and top go on over a restart of an agent", async () => {
    const tapped = shell.watch("warren tap deploy/api --proxy in");
    const top = shell.watch("warren top deploy/api --interval 300ms -o json");
    const documents = () =>
      top.lines.map((line) => JSON.parse(line) as { edges: TopRow[]; fanOut: { answered: string[] } });
    const inbound = () =>
      tapped.lines.filter((line) => line.startsWith("req") && line.includes(`id=${serverNode}:`)).length;
    const moving = async (from: number) => {
      await get("frontend");
      const busy = documents()
        .slice(from)
        .some(
          ({ edges, fanOut }) =>
            fanOut.answered.includes(serverNode) && edges.some(({ connections }) => connections > 0),
        );
      return busy && inbound() > 0 ? true : undefined;
    };
    await eventually("traffic in both", 60_000, () => moving(0));
    for (const document of documents()) expectDocument(document, "warren.top/v1");
    await lab.killAgent(serverNode);
    await eventually("a look without the node", 120_000, async () =>
      documents().some(({ fanOut }) => !fanOut.answered.includes(serverNode)) ? true : undefined,
    );
    tapped.lines.splice(0);
    const before = top.lines.length;
    await lab.startAgent(serverNode);
    await eventually("traffic in both again", 60_000, () => moving(before));
    await tapped.stop();
    await top.stop();
  });

  test(`closing records, metrics, tap and log agree on ${flows} connections to the last byte`, async () => {
    await lab.waitReady();
    // An agent that was restarted knows of nobody: from here on both know of these two.
    await eventually("both agents' view", 120_000, async () => {
      await lab.exec("frontend", ["redis-cli", "-h", "database", "ping"]);
      return (await edge()).reporters.length === 2 ? true : undefined;
    });
    // No ping of before is under way when the accounts begin.
    await eventually("rest", 120_000, restOf(lab, "database"));
    const marks = await endsOfLogs(lab);
    const metricsBefore = await metricsOf(lab, "database");
    const edgeBefore = await edge();
    const tapped = shell.watch("warren tap deploy/frontend --to deploy/database --max-rate 10000 -o jsonl");
    await eventually("the tap", 120_000, async () => {
      await lab.exec("frontend", ["redis-cli", "-h", "database", "ping"]);
      const seen = new Set(taps().map(({ proxy }) => proxy));
      return seen.has("in") && seen.has("out") ? true : undefined;
    });
    const moved = { sent: 0, received: 0 };
    // In rounds that an agent's queue holds whole: what is more than that is left out when a stall keeps the tap from reading.
    for (let round = 0; round < flows / flowsOfRound; round++) {
      const seen = tapped.lines.length;
      const { stdout } = await lab.exec("frontend", ["node", "-e", flowGenerator(flowsOfRound)], {
        timeoutMs: 120_000,
      });
      const { sent, received, failed } = JSON.parse(stdout) as { sent: number; received: number; failed: number };
      expect(failed).toBe(0);
      moved.sent += sent;
      moved.received += received;
      const ends = () => tapped.lines.slice(seen).filter((line) => line.includes('"event":"close"')).length;
      await expect.poll(ends).toBeGreaterThanOrEqual(2 * flowsOfRound);
    }

    function taps(): TapRow[] {
      return tapped.lines.map((line) => JSON.parse(line) as TapRow).filter(({ event }) => event === "close");
    }
    const told = (direction: "inbound" | "outbound") => logged(lab, "database", direction, marks);
    const tappedSide = (proxy: "in" | "out") =>
      summed(
        taps().flatMap((row) =>
          row.proxy === proxy ? [{ sent: row.bytesSent ?? 0, received: row.bytesReceived ?? 0 }] : [],
        ),
      );

    // The pings that waited for the tap are in every account alike; what the generator moved is in all of them.
    const { value: outbound } = await eventually("every end in every account", 120_000, async () => {
      const [out, inn, tapOut, tapIn] = [
        await told("outbound"),
        await told("inbound"),
        tappedSide("out"),
        tappedSide("in"),
      ];
      const enough = [out, inn].every(({ count }) => count >= flows + 1) && out.count === inn.count;
      if (enough && tapOut.count >= flows && tapIn.count >= flows) return out;
      throw new Error(JSON.stringify({ out, inn, tapOut, tapIn, advice: tapped.errors }));
    });
    const pings = outbound.count - flows;
    const all = { count: outbound.count, sent: moved.sent + pings * 14, received: moved.received + pings * 7 };
    expect(outbound).toEqual(all);
    expect(await told("inbound")).toEqual(all);
    const metricsAfter = await metricsOf(lab, "database");
    for (const reporter of ["source", "destination"]) {
      const of = (family: string) =>
        (metricsAfter.get(`${family} ${reporter}`) ?? 0) - (metricsBefore.get(`${family} ${reporter}`) ?? 0);
      expect({
        reporter,
        opened: of("istio_tcp_connections_opened_total"),
        closed: of("istio_tcp_connections_closed_total"),
        // Istio names them from the server's point of view.
        received: of("istio_tcp_received_bytes_total"),
        sent: of("istio_tcp_sent_bytes_total"),
      }).toEqual({ reporter, opened: all.count, closed: all.count, received: all.sent, sent: all.received });
    }
    const edgeAfter = await edge();
    expect({
      count: edgeAfter.connections - edgeBefore.connections,
      sent: edgeAfter.bytesSent - edgeBefore.bytesSent,
      received: edgeAfter.bytesReceived - edgeBefore.bytesReceived,
    }).toEqual(all);
    // The tap began within the pings, and missed nothing since; its last lines may be on their way.
    for (const proxy of ["in", "out"] as const) {
      const withMissed = () => {
        const { count, sent, received } = tappedSide(proxy);
        const missed = all.count - count;
        return { onlyPings: missed <= pings, sent: sent + missed * 14, received: received + missed * 7 };
      };
      await expect.poll(withMissed).toEqual({ onlyPings: true, sent: all.sent, received: all.received });
    }
    expectDocument(JSON.parse(tapped.lines.at(-1) ?? "") as object, "warren.tap/v1");
    await tapped.stop();
    expect(tapped.errors.filter((line) => line.includes("left out"))).toEqual([]);

    async function edge(): Promise<EdgeRow> {
      const { edges } = (await shell.json("warren edges deploy/database -o json")) as { edges: EdgeRow[] };
      const found = edges.find(
        ({ source, security }) => source.owner === "Deployment/frontend" && security === "mutual_tls",
      );
      if (found === undefined) throw new Error(`no edge from frontend to database in ${JSON.stringify(edges)}`);
      return found;
    }
  });

  test("nothing in the logs of all that is a key or a token, nor had to be taken out of them", () => {
    const known = secretsOf(lab.folder);
    // The authority's keys, and the tokens of two agents and of whoever asked.
    expect(known.filter(({ name }) => name.includes("token")).length).toBeGreaterThanOrEqual(3);
    expect(known.filter(({ name }) => name.includes("authority")).length).toBeGreaterThanOrEqual(2);
    for (const { name, text } of known) expect(secretsIn(`{"detail":"${text}"}`, known)).toContain(name);
    const folder = join(lab.folder, "logs");
    const logs = readdirSync(folder).filter((name) => /^(agent-|control)/.test(name));
    expect(logs).toHaveLength(3);
    for (const name of logs) {
      const text = readFileSync(join(folder, name), "utf8");
      expect({ name, found: secretsIn(text, known) }).toEqual({ name, found: [] });
      expect(text).not.toContain("[redacted");
      expect(text.length).toBeGreaterThan(200);
    }
  });
});
