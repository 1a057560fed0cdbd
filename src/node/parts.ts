/** The agent's real parts, loaded when an agent is made and not before: `--help` and a wrong configuration need none of them. */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadCaptureAddon } from "../capture/addon.ts";
import { createCapture, createExternalCapture } from "../capture/create-capture.ts";
import { CriClient } from "../capture/cri/cri-client.ts";
import { socketMarks } from "../capture/delivery-routing.ts";
import { findKubeletCgroup } from "../capture/kubelet.ts";
import { NetnsFinder } from "../capture/netns-finder.ts";
import { PodSocketsReader } from "../capture/pod-sockets.ts";
import { CaClient, type CaClientOptions } from "../identity/ca-client.ts";
import { systemClock } from "../lib/clock.ts";
import { formatHostPort } from "../lib/host-port.ts";
import { readDescriptorLimit } from "../lib/machine.ts";
import { noAuthoritySettings } from "../model/mesh.ts";
import { hbonePort, inboundPort, outboundPort } from "../model/ports.ts";
import { TunnelDriver } from "../tunnel/tunnel-driver.ts";
import { createDiscoverySource } from "../xds/client/discovery-source.ts";
import type { AgentParts } from "./agent-parts.ts";
import { CniInstaller } from "./cni/installer.ts";
import { descriptorOf } from "./cni/peer.ts";
import { CniServer } from "./cni/server.ts";
import type { NodeConfig } from "./config.ts";
import { chooseEngine } from "./engine-choice.ts";
import { InspectionClient } from "./inspection/inspection-client.ts";
import type { ReportingSource } from "./reporting.ts";
import { Succession } from "./succession.ts";
import { Handover } from "./zds/handover.ts";

const ports = { outbound: outboundPort, inbound: inboundPort, hbone: hbonePort };

/** A folder where one is given, else what the control plane tells. */
async function meshSource(config: NodeConfig): Promise<ReportingSource> {
  const { defaultNamespace, ...rest } = config.mesh;
  const settings = { ...rest, localTraffic: config.localTraffic, ...noAuthoritySettings };
  if (config.manifests !== undefined) {
    // Agents of a cluster read no manifests.
    const { createManifestSource } = await import("../manifests/manifest-source.ts");
    return createManifestSource({ folder: config.manifests, settings, defaultNamespace });
  }
  const { address, rootCertificate, tokenFile, serverName = "" } = config.control;
  return createDiscoverySource(
    { clock: systemClock, random: Math.random },
    {
      address: formatHostPort(address.host, address.port),
      rootFile: rootCertificate,
      tokenFile,
      serverName,
      node: config.node,
      settings,
      dialect: config.discovery.dialect,
      stateFile: config.discovery.stateFile,
    },
  );
}

/** The runtime answers in milliseconds; one that hangs must not keep pods out that are found without it. */
const criTimeoutMs = 2000;

function netnsSearch({ capture }: NodeConfig): AgentParts["findNetns"] {
  const { criSocket, netnsDirectory } = capture;
  const procRoot = "/proc";
  const cri =
    criSocket === undefined ? undefined : new CriClient({ socket: criSocket, timeoutMs: criTimeoutMs, procRoot });
  return async ({ uid, addresses }, announced) => {
    const finder = new NetnsFinder({ addon: loadCaptureAddon(), cri }, { procRoot, namedRoot: netnsDirectory });
    const found = await finder.find({ uid, addresses, announced });
    const { dev, ino } = found.netns;
    return { path: found.path, dev, ino, stillHeld: () => found.stillThere(), close: () => found.close() };
  };
}

/** The plugin's program, above this file from `src/` and from `dist/` alike. */
const pluginProgram = fileURLToPath(new URL("../../build/native/cni/warren-cni", import.meta.url));

const conflistEveryMs = 1000;
/** The plugin waits a little longer than the agent, so that it hears why. */
const pluginGraceMs = 5000;

function cniParts({ cni }: NodeConfig): AgentParts["cni"] {
  const { socket, binDir, confDir, failOpen, excludeNamespaces, wait } = cni;
  if (socket === undefined) return undefined;
  return ({ answer, log }) => {
    const server = new CniServer(
      {
        answer,
        log,
        credentials: (connection) => {
          const fd = descriptorOf(connection);
          return fd === undefined ? undefined : loadCaptureAddon().peerCredentials(fd);
        },
      },
      { path: socket, uid: process.getuid?.() ?? 0 },
    );
    const settings = { socket, timeoutMs: wait + pluginGraceMs, failOpen, excludeNamespaces };
    const installer =
      binDir === undefined || confDir === undefined
        ? undefined
        : new CniInstaller(
            { clock: systemClock, log },
            { program: pluginProgram, binDir, confDir, settings, everyMs: conflistEveryMs },
          );
    return { server, installer };
  };
}

/** Istio's CNI agent waits for each pod's answer for this long at most, before it takes the pod for not served. */
const zdsAnswerMs = 10_000;

function handoverOf({ zds }: NodeConfig): AgentParts["handover"] {
  const { socket } = zds;
  if (socket === undefined) return undefined;
  const deps = { clock: systemClock, random: Math.random };
  return () => new Handover({ addon: loadCaptureAddon(), ...deps }, { socket, answerMs: zdsAnswerMs });
}

/** Less than a collector's own patience; what it does not take in this time is dropped. */
const exportTimeoutMs = 5000;

function otlpOf({ node, otlp }: NodeConfig): AgentParts["otlp"] {
  const { endpoint, headersFile, caFile, interval, metricsInterval, ...rest } = otlp;
  if (endpoint === undefined) return undefined;
  const times = { intervalMs: interval, metricsIntervalMs: metricsInterval, timeoutMs: exportTimeoutMs };
  return async ({ version, ...deps }) => {
    const { OtlpExport } = await import("../telemetry/otlp/otlp-export.ts");
    const options = { ...rest, ...times, endpoint, headersFile, caFile, node, version };
    return await OtlpExport.start({ clock: systemClock, random: Math.random, ...deps }, options);
  };
}

/** Programs that are loaded after the start of an agent has begun: compiling them stops the thread, for which nobody waits yet. */
export async function loadPrograms({ engine }: NodeConfig): Promise<void> {
  await import("../tunnel/http/requests.ts");
  if (engine === "native") await import("../tunnel/native/engine.ts");
}

export async function agentParts(config: NodeConfig): Promise<AgentParts> {
  const { capture, control, certificates } = config;
  return {
    openCapture: () => {
      const { agentCgroup } = capture;
      const own = agentCgroup === undefined ? {} : { agentCgroup };
      if (config.zds.socket !== undefined) return createExternalCapture({ ports, ...own });
      return createCapture({
        pinDirectory: capture.pinDirectory,
        hostNetns: capture.hostNetns,
        ...(capture.podsCgroup === undefined ? {} : { podsCgroup: capture.podsCgroup }),
        backend: capture.backend,
        ports,
        ...own,
      });
    },
    findNetns: netnsSearch(config),
    cni: cniParts(config),
    handover: handoverOf(config),
    succession: (log) => {
      // Agents that share a state folder and pins are those of one node.
      const pins = createHash("sha256").update(capture.pinDirectory).digest("hex").slice(0, 8);
      const folder = join(dirname(config.discovery.stateFile), `agents-${pins}`);
      return new Succession({ clock: systemClock, log }, { folder, pid: process.pid });
    },
    source: await meshSource(config),
    findKubelet: async ({ support }) =>
      capture.kubeletCgroup ?? (support.cgroup2 === undefined ? undefined : findKubeletCgroup(support.cgroup2)),
    engine: async ({ sockets }, warn) =>
      chooseEngine(config, { sockets, warn, descriptors: await readDescriptorLimit() }),
    requests: async ({ sockets }, told) => {
      const { httpRequests } = await import("../tunnel/http/requests.ts");
      return httpRequests({ sockets, ...told }, { ...config.http, connectTimeout: config.timeouts.connect });
    },
    trimMemory: () => loadCaptureAddon().trimMemory(),
    driver: (deps, options) => new TunnelDriver(deps, options),
    authority: new CaClient({
      ...authorityOf(config),
      cluster: config.mesh.cluster,
      timeoutMs: certificates.requestTimeout,
    }),
    otlp: otlpOf(config),
    podSockets: () =>
      new PodSocketsReader({ addon: loadCaptureAddon() }, { marks: new Set(Object.values(socketMarks)) }),
    inspection: (deps) =>
      new InspectionClient(
        { ...deps, clock: systemClock, random: Math.random },
        {
          address: formatHostPort(control.address.host, control.address.port),
          rootFile: control.rootCertificate,
          tokenFile: control.tokenFile,
          serverName: control.serverName ?? "",
        },
      ),
  };
}

/** Who issues certificates: the control plane, or another that is named. */
function authorityOf({
  control,
  authority,
}: NodeConfig): Pick<CaClientOptions, "address" | "rootFile" | "tokenFile" | "serverName"> {
  const { address, rootCertificate, tokenFile, serverName = "" } = authority;
  if (address !== undefined && rootCertificate !== undefined) {
    return { address: formatHostPort(address.host, address.port), rootFile: rootCertificate, tokenFile, serverName };
  }
  return {
    address: formatHostPort(control.address.host, control.address.port),
    rootFile: control.rootCertificate,
    tokenFile: control.tokenFile,
    serverName: control.serverName ?? "",
  };
}
