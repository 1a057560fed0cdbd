/**
 * A question about policy, answered by the decider that runs in the agent: who asks, how that one's traffic arrives at the destination
 * (through a tunnel with an identity, or in plaintext without), and what is said to it there.
 */
import { MeshError } from "../../lib/errors.ts";
import { canonicalIp, ipFamily } from "../../lib/ip.ts";
import type { HttpRequestFacts } from "../../model/authorization.ts";
import type { Identity } from "../../model/identity.ts";
import type { MeshView } from "../../model/mesh.ts";
import { isMeshPort } from "../../model/ports.ts";
import type { Workload } from "../../model/workload.ts";
import { type Explanation, explain } from "../../policy/explain.ts";
import { normaliseTarget } from "../../tunnel/http/request-path.ts";
import { findService, portBehind } from "./service-reference.ts";
import { findWorkloads } from "./workload-reference.ts";

export interface QuestionFlags {
  /** `namespace/account`, or `plaintext`. */
  readonly from: string;
  /** `workload:port`. */
  readonly to: string;
  readonly sourceIp?: string;
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  /** `Name: value` or `Name=value`. */
  readonly header?: readonly string[];
}

/** For pods to which the same is said, for the same reasons. */
export interface ExplainedAnswer extends Explanation {
  /** `namespace/name`. */
  readonly pods: readonly string[];
  readonly port: number;
  /** False: no agent stands before these pods, so whatever policy says, they are reached. */
  readonly enforced: boolean;
  readonly arrives: "mtls" | "plaintext";
  /** Empty when nothing proves one. */
  readonly identity: Identity | "";
  readonly sourceAddress: string;
  readonly notes: readonly string[];
}

interface Asker {
  readonly identity: Identity | "";
  readonly pods: readonly Workload[];
}

export function answer(view: MeshView, namespace: string, flags: QuestionFlags): ExplainedAnswer[] {
  const { reference, port } = parseTarget(flags.to);
  const asker = askerOf(view, flags.from);
  const http = requestOf(flags, reference);
  const answers = new Map<string, ExplainedAnswer>();
  const service = findService(view, reference, namespace);
  for (const workload of findWorkloads(view, reference, namespace)) {
    const answered = answerFor(view, workload, portBehind(view, service, workload, port), {
      asker,
      http,
      sourceIp: flags.sourceIp,
    });
    const { pods, ...same } = answered;
    const key = JSON.stringify(same);
    answers.set(key, { ...answered, pods: [...(answers.get(key)?.pods ?? []), ...pods] });
  }
  return [...answers.values()];
}

/** True if every pod would serve it. `needs-http` is no yes: some request may be refused. */
export function allAllowed(answers: readonly ExplainedAnswer[]): boolean {
  return answers.every(({ enforced, outcome }) => !enforced || outcome === "allow");
}

function parseTarget(text: string): { reference: string; port: number } {
  const [, reference = "", digits = ""] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (reference === "" || port < 1 || port > 65_535) {
    throw new MeshError(
      "MESH_CONFIG_TARGET",
      `--to ${text} is no workload and port: write for example deploy/api:8080`,
    );
  }
  if (isMeshPort(port)) {
    throw new MeshError("MESH_CONFIG_TARGET", `port ${port} is the mesh's own: name the application's port`);
  }
  return { reference, port };
}

function askerOf(view: MeshView, text: string): Asker {
  if (text === "plaintext") return { identity: "", pods: [] };
  const [, namespace, account] = /^([a-z0-9][-a-z0-9]*)\/([a-z0-9][-a-z0-9.]*)$/.exec(text) ?? [];
  if (namespace === undefined || account === undefined) {
    throw new MeshError(
      "MESH_CONFIG_SOURCE",
      `--from ${text} is no identity: write namespace/serviceaccount, or plaintext`,
    );
  }
  const identity = `spiffe://${view.settings.trustDomain}/ns/${namespace}/sa/${account}` as Identity;
  return { identity, pods: [...view.workloads()].filter((workload) => workload.identity === identity) };
}

/** Undefined without any flag about a request: then the connection alone is judged. */
function requestOf({ method, path, host, header }: QuestionFlags, reference: string): HttpRequestFacts | undefined {
  if (method === undefined && path === undefined && host === undefined && header === undefined) return undefined;
  const normal = normaliseTarget(path ?? "/");
  if (normal === undefined) {
    throw new MeshError(
      "MESH_CONFIG_REQUEST",
      `--path ${path} is refused as malformed: write it as a request line does`,
    );
  }
  const headers = (header ?? []).map(parseHeader);
  return {
    method: method ?? "GET",
    host: (host ?? reference.slice(reference.indexOf("/") + 1)).toLowerCase(),
    path: normal.path,
    header: (name) => headers.flatMap(([known, value]) => (known === name ? [value] : [])),
  };
}

function parseHeader(text: string): [name: string, value: string] {
  const [, name, value] = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s*[:=]\s*(.*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new MeshError("MESH_CONFIG_REQUEST", `--header ${text} is no header: write Name=value`);
  }
  return [name.toLowerCase(), value.trim()];
}

interface Circumstances {
  readonly asker: Asker;
  readonly http: HttpRequestFacts | undefined;
  readonly sourceIp: string | undefined;
}

function answerFor(
  view: MeshView,
  workload: Workload,
  port: number,
  { asker, http, sourceIp }: Circumstances,
): ExplainedAnswer {
  const notes: string[] = [];
  const enforced = workload.tunnel === "hbone";
  if (!enforced) notes.push("the destination is not enrolled: nothing enforces policy there");
  const identity = provenIdentity(view, workload, port, asker, notes);
  const address = workload.addresses[0] ?? "0.0.0.0";
  if (workload.addresses.length === 0) notes.push("the destination has no address yet");
  const sourceAddress = sourceAddressOf(asker, sourceIp, address, notes);
  const explanation = explain(view, workload, {
    peer: identity,
    sourceAddress,
    destination: { address, port },
    ...(http === undefined ? {} : { http }),
  });
  return {
    pods: [`${workload.namespace}/${workload.name}`],
    port,
    enforced,
    arrives: identity === "" ? "plaintext" : "mtls",
    identity,
    sourceAddress,
    notes,
    ...explanation,
  };
}

/** What the destination's agent learns about the asker. */
function provenIdentity(
  view: MeshView,
  workload: Workload,
  port: number,
  { identity, pods }: Asker,
  notes: string[],
): Identity | "" {
  if (identity === "" || workload.tunnel === "none") return "";
  if (view.inboundMode(workload, port).mode === "DISABLE") {
    notes.push("PeerAuthentication is DISABLE here: peers of the mesh send plaintext, which proves no identity");
    return "";
  }
  if (pods.length > 0 && pods.every(({ tunnel }) => tunnel === "none")) {
    notes.push("no pod of this ServiceAccount is enrolled: its traffic comes in plaintext, which proves no identity");
    return "";
  }
  if (pods.length === 0) notes.push("no pod has this ServiceAccount now: answered as for an enrolled one");
  return identity;
}

/** Of the family that the destination is asked in, so that blocks of addresses mean something. */
function sourceAddressOf({ pods }: Asker, given: string | undefined, destination: string, notes: string[]): string {
  if (given !== undefined) {
    const address = canonicalIp(given);
    if (address === undefined) throw new MeshError("MESH_CONFIG_SOURCE", `--source-ip ${given} is no IP address`);
    return address;
  }
  const family = ipFamily(destination);
  const known = pods.flatMap(({ addresses }) => addresses.filter((address) => ipFamily(address) === family));
  const [only] = known;
  if (only !== undefined) {
    if (known.length > 1) notes.push(`asked from ${only}, one of ${known.length} addresses; see --source-ip`);
    return only;
  }
  notes.push("the source's address is not known: rules about addresses are asked with none; see --source-ip");
  return family === 4 ? "0.0.0.0" : "::";
}
