import { describe, expect, it } from "vitest";
import { ConfigError, loadConfig } from "../../src/lib/config.ts";
import { renderMarkdown } from "../../src/lib/config-help.ts";
import { knobsOf } from "../../src/lib/config-schema.ts";
import { nodeConfigSchema } from "../../src/node/config.ts";

const least = [
  "--node=n1",
  "--manifests=m",
  "--control-address=c:15012",
  "--control-root-certificate=root.pem",
  "--control-token-file=token",
];

function load(...args: string[]) {
  return loadConfig(nodeConfigSchema, { args: [...least, ...args], environment: {} });
}

describe("the node agent's configuration", () => {
  it("needs only a node, a state and a control plane", async () => {
    const { value } = await load();
    expect(value).toMatchObject({
      node: "n1",
      manifests: "m",
      control: { address: { host: "c", port: 15012 }, rootCertificate: "root.pem" },
      admin: { host: "127.0.0.1", port: 15000 },
      metrics: { host: "", port: 15020 },
      readiness: { host: "", port: 15021 },
    });
    await expect(loadConfig(nodeConfigSchema, { args: [], environment: {} })).rejects.toMatchObject({
      problems: ["node", "manifests", "control.address", "control.rootCertificate", "control.tokenFile"].map((key) => ({
        key,
      })),
    });
  });

  it("keeps the limits and times that peers of the field rely on", async () => {
    const { value } = await load();
    expect(value.limits.streamsPerInboundTunnel).toBeGreaterThanOrEqual(100);
    expect(value.limits.flowsPerTunnel).toBeLessThanOrEqual(100);
    expect(value.timeouts).toMatchObject({ idle: 0, pingInterval: 10_000, pingTimeout: 20_000, connect: 10_000 });
    expect(value.tls).toMatchObject({ resumption: false, fips: "report" });
    expect(value.releaseOnExit).toBe(false);
    expect(value.localTraffic).toBe("mtls");
  });

  it.each([
    ["an admin address that others can reach", "--admin=0.0.0.0:15000", "admin"],
    ["an admin address on all addresses", "--admin=:15000", "admin"],
    ["a decision timeout below the hold of unknown sources", "--timeouts-decision=1s", "timeouts.decision"],
    ["a longest back-off below the first", "--timeouts-peer-backoff-max=100ms", "timeouts.peerBackoffMax"],
    ["a tunnel window below a stream's", "--limits-connection-window=64KiB", "limits.connectionWindow"],
    ["a pod allowed more than the node", "--limits-flows=10", "limits.flowsPerPod"],
    ["fewer streams than peers expect", "--limits-streams-per-inbound-tunnel=99", "limits.streamsPerInboundTunnel"],
    ["a denied identity that is none", "--mesh-denied-identities=production/web", "mesh.deniedIdentities.0"],
    ["a trust domain that is none", "--mesh-trust-domain=Cluster/Local", "mesh.trustDomain"],
    ["a longest enrolment pause below the first", "--enrolment-retry-max=100ms", "enrolment.retryMax"],
  ])("refuses %s", async (_name, flag, key) => {
    const error = await load(flag).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).problems.map((problem) => problem.key)).toEqual([key]);
  });

  it("describes every knob, and gives none the flag or variable of another", () => {
    const { list } = knobsOf(nodeConfigSchema);
    expect(list.filter(({ description }) => description === "")).toEqual([]);
    expect(new Set(list.map(({ flag }) => flag)).size).toBe(list.length);
    expect(new Set(list.map(({ variable }) => variable)).size).toBe(list.length);
  });
});

const preamble = `# Configuration

<!-- Generated from the schemas by test/node/config.test.ts; \`vitest run test/node/config.test.ts -u\` writes it anew. -->

Each process reads its flags, then \`WARREN_*\` variables, then a YAML file named by \`--config\` or \`WARREN_CONFIG\`; what is found first wins.
The key of a table row is its place in the file (\`drain.deadline\` is \`deadline\` under \`drain\`), and below its description stand its
flag and its variable. Lists are written with commas in flags and variables.

Unknown keys and every other problem are reported together, each with its key, where it was written and what to write instead. The process
then exits with code 2 and has neither bound a port nor changed anything.

Durations carry units (\`500ms\`, \`1m30s\`, \`24h\`), sizes too (\`64KiB\`, \`1MiB\`). \`:15020\` listens on all addresses.
`;

describe("docs/configuration.md", () => {
  it("is what the schema says", async () => {
    const page = `${preamble}\n## warren node\n\n${renderMarkdown(nodeConfigSchema)}\n`;
    await expect(page).toMatchFileSnapshot("../../docs/configuration.md");
  });
});
