import { describe, expect, it } from "vitest";
import { ConfigError, loadConfig } from "../../src/lib/config.ts";
import { engineLimits } from "../../src/node/config/traffic.ts";
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
      problems: ["node", "control.address", "control.rootCertificate", "control.tokenFile"].map((key) => ({
        key,
      })),
    });
  });

  it("derives what a pod and a tunnel may hold from what the process may, unless they are named", async () => {
    const of = async (...flags: string[]) => engineLimits((await load(...flags)).value.limits);
    const MiB = 2 ** 20;
    expect(await of()).toMatchObject({ memory: 512 * MiB, memoryPerPod: 128 * MiB, memoryPerTunnel: 64 * MiB });
    expect(await of("--limits-memory=64MiB")).toMatchObject({ memoryPerPod: 16 * MiB, memoryPerTunnel: 8 * MiB });
    expect(await of("--limits-memory-per-pod=32MiB")).toMatchObject({ memoryPerTunnel: 16 * MiB });
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

  it("takes modes of the access log by namespace from one flag", async () => {
    const { value } = await load("--access-log-namespaces=production=off,dev=failures", "--access-log-sample=0.01");
    expect(value.accessLog).toMatchObject({
      mode: "all",
      namespaces: [
        ["production", "off"],
        ["dev", "failures"],
      ],
      sample: 0.01,
    });
  });

  it.each([
    ["an admin address that others can reach", "--admin=0.0.0.0:15000", "admin"],
    ["an admin address on all addresses", "--admin=:15000", "admin"],
    ["a decision timeout below the hold of unknown sources", "--timeouts-decision=1s", "timeouts.decision"],
    ["a longest back-off below the first", "--timeouts-peer-backoff-max=100ms", "timeouts.peerBackoffMax"],
    ["a tunnel window below a stream's", "--limits-connection-window=64KiB", "limits.connectionWindow"],
    ["a pod allowed more than the node", "--limits-flows=10", "limits.flowsPerPod"],
    ["a pod's part of the memory above the whole", "--limits-memory-per-pod=1GiB", "limits.memoryPerPod"],
    ["a tunnel's part of the memory above a pod's", "--limits-memory-per-tunnel=256MiB", "limits.memoryPerTunnel"],
    ["fewer streams than peers expect", "--limits-streams-per-inbound-tunnel=99", "limits.streamsPerInboundTunnel"],
    ["a denied identity that is none", "--mesh-denied-identities=production/web", "mesh.deniedIdentities.0"],
    ["a trust domain that is none", "--mesh-trust-domain=Cluster/Local", "mesh.trustDomain"],
    ["a longest enrolment pause below the first", "--enrolment-retry-max=100ms", "enrolment.retryMax"],
    ["an access log sample above everything", "--access-log-sample=1.5", "accessLog.sample"],
    ["an access log mode that is none", "--access-log-namespaces=dev=some", "accessLog.namespaces.0"],
    ["a collector that is no URL", "--otlp-endpoint=collector:4317", "otlp.endpoint"],
    ["a plugin without a chain to be in", "--cni-bin-dir=/opt/cni/bin", "cni.confDir"],
  ])("refuses %s", async (_name, flag, key) => {
    const error = await load(flag).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).problems.map((problem) => problem.key)).toEqual([key]);
  });

  it.each([
    [["--cni-conf-dir=/etc/cni/net.d"], ["cni.binDir", "cni.socket"]],
    [["--cni-socket=/run/cni.sock", "--zds-socket=/run/zds.sock"], ["zds.socket"]],
  ])("refuses %j, naming all that does not fit", async (flags, keys) => {
    const error = await load(...flags).catch((thrown: unknown) => thrown);
    expect((error as ConfigError).problems.map((problem) => problem.key)).toEqual(keys);
  });
});
