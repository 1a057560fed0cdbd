/** What goes into a support archive. Every text passes the redactor, whoever wrote it. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { TarEntry } from "../../lib/tar.ts";
import { version } from "../../lib/version.ts";
import { redact } from "../../telemetry/redact.ts";
import { socketText } from "../output/words.ts";
import { type Outcome, rowsOf } from "./asked.ts";
import { certificateLine } from "./certificate-rows.ts";
import type { ClusterLogs } from "./cluster-logs.ts";
import { connectionRow } from "./connection-rows.ts";
import { controlRow } from "./control-rows.ts";
import { healthChecks } from "./health-checks.ts";
import type { MeshClient, MeshGround } from "./mesh-client.ts";
import { nodeStatuses } from "./node-statuses.ts";
import { policyRows } from "./policy-rows.ts";
import { revokedBy } from "./revoked.ts";
import { serviceRows } from "./service-rows.ts";
import { workloadRow } from "./workload-rows.ts";

export interface BundleOptions {
  readonly nodes: readonly string[];
  readonly timeoutMs: number;
  readonly logLines: number;
}

export interface Bundle {
  readonly entries: readonly TarEntry[];
  readonly outcome: Outcome;
  /** Logs that could not be read, and why. */
  readonly missing: readonly { readonly path: string; readonly why: string }[];
}

export async function gatherBundle(
  mesh: MeshClient,
  { nodes, timeoutMs, logLines }: BundleOptions,
  signal: AbortSignal,
): Promise<Bundle> {
  const options = { nodes, timeoutMs };
  const entries: TarEntry[] = [];
  const add = (path: string, value: unknown) => entries.push({ path, text: `${bundleText(value)}\n` });
  const ask = (kind: Parameters<MeshClient["ask"]>[0]) => mesh.ask(kind, options, signal);
  const now = Date.now();
  const [{ rows: statuses, outcome }, controls, view, held, connections, tunnels, pods, configs] = await Promise.all([
    nodeStatuses(mesh, options, signal),
    mesh.controls(signal),
    mesh.mesh(signal),
    rowsOf(ask({ case: "listCertificates", value: {} }), "certificates", (page, { node }) =>
      page.certificates.map((certificate) => ({ node, certificate })),
    ),
    rowsOf(ask({ case: "listFlows", value: {} }), "flows", ({ flows }, { node }) =>
      flows.map((flow) => connectionRow(node, flow)),
    ),
    rowsOf(ask({ case: "listTunnels", value: {} }), "tunnels", (page, { node }) =>
      page.tunnels.map(({ localIdentity, peerIdentity, peer, tlsVersion, tlsGroup, tlsCipher, flows, direction }) => {
        return {
          node,
          localIdentity,
          peerIdentity,
          peer: socketText(peer),
          tlsVersion,
          tlsGroup,
          tlsCipher,
          flows,
          direction,
        };
      }),
    ),
    rowsOf(ask({ case: "listPods", value: {} }), "pods", (page) => page.pods),
    rowsOf(ask({ case: "getConfig", value: {} }), "config", ({ schema, json }, { node }) => [
      { node, schema, value: JSON.parse(json) as unknown },
    ]),
  ]);
  const isRevoked = await revokedBy(view.settings);
  const certificates = held.map(({ node, certificate }) => certificateLine(node, certificate, { now, isRevoked }));
  add("bundle.json", {
    schema: "warren.bundle/v1",
    version,
    at: new Date(now).toISOString(),
    origin: mesh.origin,
    fanOut: outcome,
  });
  add("control.json", controls.map(controlRow));
  add("check.json", (await healthChecks(mesh, options, signal)).checks);
  add("mesh/settings.json", view.settings);
  add(
    "mesh/workloads.json",
    Array.from(view.workloads(), (one) =>
      workloadRow(
        one,
        pods.find((pod) => pod.uid !== "" && pod.namespace === one.namespace && pod.name === one.name),
      ),
    ),
  );
  add("mesh/services.json", serviceRows(view, new Set()));
  add("mesh/policies.json", policyRows(view, new Set()));
  add("mesh/authorization-policies.json", [...view.authorizationPolicies()]);
  for (const status of statuses) {
    const { node } = status;
    const here = <T extends { readonly node: string }>(rows: readonly T[]) => rows.filter((row) => row.node === node);
    add(`nodes/${node}/status.json`, status);
    add(`nodes/${node}/certificates.json`, here(certificates));
    add(`nodes/${node}/connections.json`, here(connections));
    add(`nodes/${node}/tunnels.json`, here(tunnels));
    for (const { schema, value } of here(configs))
      add(`nodes/${node}/${schema.replace(/^warren\.|\/v\d+$/g, "")}.json`, value);
  }
  const { ground } = mesh;
  if (ground.kind === "lab") entries.push(...(await labLogs(ground.folder, logLines)));
  let missing: Bundle["missing"] = [];
  if (ground.kind === "kubernetes") {
    const found = await podLogs(ground, { nodes, lines: logLines }, signal);
    for (const { path, text } of found.logs) entries.push({ path, text: redact(text) });
    add("cluster/pods.json", found.pods);
    if (found.missing.length > 0) add("logs/missing.json", found.missing);
    missing = found.missing;
  }
  return { entries, outcome, missing };
}

async function podLogs(
  { context, meshNamespace }: Extract<MeshGround, { readonly kind: "kubernetes" }>,
  options: { readonly nodes: readonly string[]; readonly lines: number },
  signal: AbortSignal,
): Promise<ClusterLogs> {
  const [{ ApiClient, apiClientDefaults }, { clusterLogs }] = [
    await import("../../control/kubernetes/api-client.ts"),
    await import("./cluster-logs.ts"),
  ];
  const api = new ApiClient({ ...apiClientDefaults, context: context ?? "" });
  return clusterLogs(api, { meshNamespace, ...options }, signal);
}

/** JSON with every text redacted, and what a key or token would be called left out whatever it holds. */
export function bundleText(value: unknown): string {
  const clean = (key: string, found: unknown): unknown => {
    if (found instanceof Map) return Object.fromEntries(found);
    if (found instanceof Set) return [...found];
    if (typeof found === "bigint") return String(found);
    if (typeof found !== "string") return found;
    return /^(private_?key|key|token|password|secret|bearer|authorization)$/i.test(key) ? "[redacted]" : redact(found);
  };
  return redact(JSON.stringify(value, clean, 2));
}

async function labLogs(folder: string, lines: number): Promise<TarEntry[]> {
  const logs = join(folder, "logs");
  const names = (await readdir(logs)).filter((name) => /^(agent-|control).*\.log$/.test(name)).sort();
  return Promise.all(
    names.map(async (name) => {
      const text = await readFile(join(logs, name), "utf8");
      return { path: `logs/${name}`, text: redact(text.split("\n").slice(-lines).join("\n")) };
    }),
  );
}
