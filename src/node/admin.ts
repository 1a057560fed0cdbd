/** What the agent shows and does on its loopback admin port. Every page is a snapshot read at that moment; nothing here holds a key. */

import type { CertificateRow } from "../identity/certificate-store.ts";
import { type HttpAnswer, json, type Routes, text } from "../lib/http-server.ts";
import type { MeshView } from "../model/mesh.ts";
import type { OpenFlow, OpenTunnel } from "../tunnel/driver.ts";
import type { PodRow } from "./pod-enrolment.ts";
import type { Blocker } from "./readiness.ts";

export interface AdminSources {
  readonly version: string;
  /** As read, defaults included: paths of secrets, never their content. */
  readonly config: unknown;
  view(): MeshView;
  /** What is wrong with the mesh's objects. */
  problems(): readonly object[];
  pods(): readonly PodRow[];
  certificates(): readonly CertificateRow[];
  flows(): Iterable<OpenFlow>;
  tunnels(): Iterable<OpenTunnel>;
  stats(): object;
  blockers(): readonly Blocker[];
  readonly logLevel: { get(): string; set(level: string): void; readonly known: readonly string[] };
}

export function adminRoutes(sources: AdminSources): Routes {
  const routes: Routes = {
    "GET /healthz": () => text(200, "ok\n"),
    "GET /config_dump": () => json(configDump(sources)),
    "GET /certs": () => json(sources.certificates().map(certificateJson)),
    "GET /flows": () => json(Array.from(sources.flows(), flowJson)),
    "GET /tunnels": () => json(Array.from(sources.tunnels(), tunnelJson)),
    "GET /stats": () => json(sources.stats()),
    "GET /log-level": () => text(200, `${sources.logLevel.get()}\n`),
    "POST /log-level": (url) => setLogLevel(sources, url.searchParams.get("level")),
  };
  const index = Object.keys(routes).join("\n");
  return { ...routes, "GET /": () => text(200, `warren node ${sources.version}\n\n${index}\n`) };
}

/** 503 names what is waited for, so that `kubectl describe` shows it. */
export function readinessRoutes(sources: Pick<AdminSources, "blockers">): Routes {
  return {
    "GET /healthz/ready": () => {
      const left = sources.blockers();
      if (left.length === 0) return text(200, "ready\n");
      const names = left.map(({ name, forMs }) => `${name} (${Math.round(forMs / 100) / 10}s)`);
      return text(503, `not ready, waiting for: ${names.join(", ")}\n`);
    },
  };
}

function setLogLevel({ logLevel }: AdminSources, level: string | null): HttpAnswer {
  if (level === null || !logLevel.known.includes(level)) {
    return text(400, `POST /log-level?level=<${logLevel.known.join("|")}>\n`);
  }
  logLevel.set(level);
  return text(200, `${level}\n`);
}

function configDump(sources: AdminSources): object {
  const view = sources.view();
  return {
    version: sources.version,
    epoch: view.epoch,
    config: sources.config,
    settings: view.settings,
    notReady: sources.blockers().map(({ name }) => name),
    pods: sources.pods(),
    certificates: sources.certificates().map(certificateJson),
    problems: sources.problems(),
    workloads: [...view.workloads()],
    services: [...view.services()],
    policies: {
      authorization: [...view.authorizationPolicies()],
      peerAuthentication: [...view.peerAuthentications()],
    },
  };
}

function certificateJson(row: CertificateRow): object {
  const { certificate } = row;
  return {
    identity: row.identity,
    state: row.state,
    holders: row.holders,
    serial: certificate?.serial,
    issuer: certificate?.issuer,
    keyType: certificate?.keyType,
    notBefore: isoTime(certificate?.notBefore),
    notAfter: isoTime(certificate?.notAfter),
    renewsAt: isoTime(row.renewsAt),
    failures: row.failures,
    lastError: row.lastError,
  };
}

function flowJson({ judged, localPod, ...flow }: OpenFlow): object {
  return {
    ...flow,
    arrivedAt: isoTime(flow.arrivedAt),
    pod: localPod && `${localPod.namespace}/${localPod.name}`,
    sourceWorkload: judged.source && `${judged.source.namespace}/${judged.source.name}`,
    destinationWorkload: judged.destination && `${judged.destination.namespace}/${judged.destination.name}`,
    service: judged.service?.hostname,
    policy: judged.policy,
  };
}

function tunnelJson({ localPod, ...tunnel }: OpenTunnel): object {
  return {
    ...tunnel,
    openedAt: isoTime(tunnel.openedAt),
    pod: localPod && `${localPod.namespace}/${localPod.name}`,
    identity: localPod?.identity,
  };
}

function isoTime(time: number | undefined): string | undefined {
  return time === undefined ? undefined : new Date(time).toISOString();
}
