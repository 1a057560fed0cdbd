/** `localTraffic: auto`: two pods of one node, no payload on any device between them, and the tunnel where others must see packets. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Segment, tcpSegments } from "../../src/lab/demo/packets.ts";
import { eventually } from "../../src/lab/demo/stage.ts";
import { type CapturePoint, Lab } from "../../src/lab/lab.ts";
import { canonicalIp } from "../../src/lib/ip.ts";
import { client, documents, HeldConnection, httpPort, namespaces, server } from "./support/cast.ts";

const node = "node-1";

/** Both pods' own devices, and the bridge that both are on. */
const devices: readonly CapturePoint[] = [
  { where: "pod", pod: "client" },
  { where: "pod", pod: "server" },
  { where: "node", node, interface: "cni0" },
];

const selecting = (app: string) => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: selects}
spec: {podSelector: {matchLabels: {app: ${app}}}, policyTypes: [Ingress]}`;

const denyClient = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny-client}
spec:
  action: DENY
  selector: {matchLabels: {app: server}}
  rules: [{from: [{source: {principals: [cluster.local/ns/production/sa/client]}}]}]`;

describe.for(["typescript", "native"] as const)("with the %s engine", (engine) => {
  let lab: Lab;
  beforeAll(async () => {
    const manifests = [documents(namespaces, server(node), client("client", node))];
    lab = await Lab.up(
      {
        nodes: 1,
        manifests,
        engine,
        localTraffic: "auto",
        agentSettings: { log: { format: "json" }, timeouts: { tunnelIdle: "1s" } },
      },
      AbortSignal.timeout(90_000),
    );
    await lab.waitReady();
    // Ready is the agent when it has captured; certificates come a moment later, and until then the tunnel's rules hold.
    await eventually("a local connection", 60_000, async () =>
      (await securityOfNext()) === "local" ? true : undefined,
    );
    // Nor is a tunnel left that would still speak between the two.
    await eventually("the end of the tunnels", 60_000, async () =>
      ((await lab.adminJson(node, "/tunnels")) as object[]).length === 0 ? true : undefined,
    );
  });
  afterAll(() => lab.down());

  /** How the access log calls a connection that is made now. */
  async function securityOfNext(): Promise<string | undefined> {
    const mark = (await lab.agentLog(node)).length;
    const { code } = await lab.exec("client", ["curl", "-s", "--max-time", "15", `http://server:${httpPort}/`]);
    if (code !== 0) return undefined;
    const { value } = await eventually("its line in the access log", 60_000, async () =>
      accessLines((await lab.agentLog(node)).slice(mark)).find((line) => line["direction"] === "outbound"),
    );
    return value["security"];
  }

  async function onDevices(during: () => Promise<void>): Promise<Segment[][]> {
    const captures = await Promise.all(devices.map((point) => lab.capturePackets(point)));
    try {
      await during();
    } finally {
      await Promise.all(captures.map((capture) => capture.stop()));
    }
    const taken = await Promise.all(captures.map((capture) => capture.stop()));
    expect(taken.map(({ complete }) => complete)).toEqual(devices.map(() => true));
    return taken.map(({ bytes }) => tcpSegments(bytes));
  }

  test("what two pods say to each other is on no device between them, and both ends tell of it", async () => {
    const mark = (await lab.agentLog(node)).length;
    const clients = lab.pod("client").ips;
    const seen = await onDevices(async () => {
      const connection = await HeldConnection.open(lab, "client", "server");
      await connection.echo();
      await connection.close();
    });
    const between = seen
      .flat()
      .filter(({ source, destination }) =>
        [source, destination].some((address) => clients.includes(canonicalIp(address) ?? "")),
      );
    expect(between).toEqual([]);
    const { value: lines } = await eventually("both ends' lines", 60_000, async () => {
      const found = accessLines((await lab.agentLog(node)).slice(mark)).filter((line) => line["security"] === "local");
      return found.length >= 2 ? found : undefined;
    });
    const identity = (name: string) => `spiffe://cluster.local/ns/production/sa/${name}`;
    for (const direction of ["outbound", "inbound"]) {
      expect(lines.find((line) => line["direction"] === direction)).toMatchObject({
        "src.identity": identity("client"),
        "dst.identity": identity("server"),
        reason: expect.any(String) as string,
      });
    }
  });

  test("a policy that forbids it closes it, and the next one is refused", async () => {
    const connection = await HeldConnection.open(lab, "client", "server");
    await lab.apply(denyClient);
    await connection.ended();
    const refused = await lab.exec("client", ["curl", "-s", "--max-time", "15", `http://server:${httpPort}/`]);
    expect(refused.code).not.toBe(0);
    await lab.delete("AuthorizationPolicy", "production", "deny-client");
    await eventually("a local connection again", 60_000, async () =>
      (await securityOfNext()) === "local" ? true : undefined,
    );
  });

  test.each(["server", "client"])("a NetworkPolicy that selects the %s sends it through the tunnel", async (app) => {
    const connection = await HeldConnection.open(lab, "client", "server");
    await lab.apply(selecting(app));
    await connection.ended();
    let word = "";
    const [, atServer = []] = await onDevices(async () => {
      const next = await HeldConnection.open(lab, "client", "server");
      word = await next.echo();
    });
    // The capture does see what there is to see: a tunnel, and nothing in clear.
    expect(atServer.filter((one) => one.destinationPort === 15_008 && one.payload.length > 0)).not.toEqual([]);
    expect(atServer.filter((one) => one.payload.includes(word))).toEqual([]);
    await lab.delete("NetworkPolicy", "production", "selects");
    await eventually("a local connection again", 60_000, async () =>
      (await securityOfNext()) === "local" ? true : undefined,
    );
  });
});

function accessLines(log: string): Record<string, string>[] {
  return log.split("\n").flatMap((line) => {
    if (!line.includes('"access"')) return [];
    try {
      return [JSON.parse(line) as Record<string, string>];
    } catch {
      // The last line may not be whole yet.
      return [];
    }
  });
}
