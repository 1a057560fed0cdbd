/** The agent's real parts, loaded when an agent is made and not before: `--help` and a wrong configuration need none of them. */
import { stat } from "node:fs/promises";
import { loadCaptureAddon } from "../capture/addon.ts";
import { createCapture } from "../capture/create-capture.ts";
import { socketMarks } from "../capture/delivery-routing.ts";
import { findKubeletCgroup } from "../capture/kubelet.ts";
import { NetnsFinder } from "../capture/netns-finder.ts";
import { PodSocketsReader } from "../capture/pod-sockets.ts";
import { CaClient } from "../identity/ca-client.ts";
import { systemClock } from "../lib/clock.ts";
import { compactHeap } from "../lib/compact-heap.ts";
import { formatHostPort } from "../lib/host-port.ts";
import { createManifestSource } from "../manifests/manifest-source.ts";
import { noAuthoritySettings } from "../model/mesh.ts";
import { hbonePort, inboundPort, outboundPort } from "../model/ports.ts";
import { TunnelDriver } from "../tunnel/tunnel-driver.ts";
import { createDiscoverySource } from "../xds/client/discovery-source.ts";
import type { AgentParts } from "./agent.ts";
import type { NodeConfig } from "./config.ts";
import { chooseEngine } from "./engine-choice.ts";
import { InspectionClient } from "./inspection/inspection-client.ts";
import type { ReportingSource } from "./reporting.ts";

const ports = { outbound: outboundPort, inbound: inboundPort, hbone: hbonePort };

/** A folder where one is given, else what the control plane tells. */
function meshSource(config: NodeConfig): ReportingSource {
  const { defaultNamespace, ...rest } = config.mesh;
  const settings = { ...rest, localTraffic: config.localTraffic, ...noAuthoritySettings };
  if (config.manifests !== undefined) {
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

export function agentParts(config: NodeConfig): AgentParts {
  const { capture, control, certificates } = config;
  return {
    openCapture: () =>
      createCapture({
        pinDirectory: capture.pinDirectory,
        podsCgroup: capture.podsCgroup,
        backend: capture.backend,
        ports,
        ...(capture.agentCgroup === undefined ? {} : { agentCgroup: capture.agentCgroup }),
      }),
    findNetns: async ({ uid, addresses }) => {
      const found = await new NetnsFinder(loadCaptureAddon(), { procRoot: "/proc" }).find(uid, addresses);
      const { dev, ino } = found.netns;
      const stillHeld = async () => {
        const now = await stat(`/proc/${found.pid}/ns/net`, { bigint: true }).catch(() => undefined);
        return now?.ino === ino && now.dev === dev;
      };
      return { path: found.path, dev, ino, stillHeld, close: () => found.close() };
    },
    source: meshSource(config),
    findKubelet: async ({ support }) =>
      capture.kubeletCgroup ?? (support.cgroup2 === undefined ? undefined : findKubeletCgroup(support.cgroup2)),
    engine: ({ sockets }, warn) => chooseEngine(config, { sockets, warn }),
    requests: async ({ sockets }, told) => {
      const { httpRequests } = await import("../tunnel/http/requests.ts");
      return httpRequests({ sockets, ...told }, { ...config.http, connectTimeout: config.timeouts.connect });
    },
    compactMemory: () => {
      compactHeap();
      loadCaptureAddon().trimMemory();
    },
    driver: (deps, options) => new TunnelDriver(deps, options),
    authority: new CaClient({
      address: formatHostPort(control.address.host, control.address.port),
      rootFile: control.rootCertificate,
      tokenFile: control.tokenFile,
      serverName: control.serverName ?? "",
      cluster: config.mesh.cluster,
      timeoutMs: certificates.requestTimeout,
    }),
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
