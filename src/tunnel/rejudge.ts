/**
 * Re-judging: after a change of the mesh, open inbound flows are asked again whether they may be. Only what is now forbidden is cut;
 * that a flow would be routed elsewhere today is no reason. Outbound flows are the other end's to judge, except local ones: there is
 * no other agent, so they are asked as the inbound flows that they are too.
 */
import { formatHostPort } from "../lib/host-port.ts";
import type { SocketAddress } from "../model/address.ts";
import type { Identity } from "../model/identity.ts";
import type { MeshView } from "../model/mesh.ts";
import type { Reason } from "../model/reason.ts";
import type { LocalPod } from "../model/workload.ts";
import type { FlowRole, FlowRow, PodHandle } from "./engine.ts";
import { decideConnect } from "./inbound.ts";
import { decidePlaintext } from "./inbound-passthrough.ts";
import { judgeLocal, type LocalPair, type LocalPods } from "./local.ts";
import type { HttpStance, RefuseVerdict, Verdict } from "./verdict.ts";

/** Refusals that mean "forbidden"; others (a stale address, an illegal port) are about getting there, and this flow is there. */
const forbidding: ReadonlySet<Reason> = new Set<Reason>([
  "strict-plaintext",
  "policy-denied",
  "policy-unevaluable",
  "tunnel-disabled",
  "certificate-revoked",
]);

/** What of a class's row is needed to judge it; rows are reused by the engine. */
export interface JudgedFlow {
  readonly pod: PodHandle;
  readonly role: Exclude<FlowRole, "outbound">;
  readonly peer: Identity | "";
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
}

export function copyRow(row: FlowRow): JudgedFlow | undefined {
  if (row.role === "outbound") return undefined;
  const { pod, role, peer, source, destination } = row;
  return { pod, role, peer, source: { ...source }, destination: { ...destination } };
}

/** A local flow; it was accepted for the client's pod. */
export interface JudgedLocalFlow {
  readonly pod: PodHandle;
  readonly role: "local";
  readonly pair: LocalPair;
}

/** `unfit`: policy says nothing against the two, but this way of joining them is closed now. */
export function forbiddenLocal(view: MeshView, pods: LocalPods, pair: LocalPair): RefuseVerdict | "unfit" | undefined {
  const verdict = judgeLocal(view, pods, pair);
  if (verdict === undefined) return "unfit";
  return verdict.kind === "refuse" ? verdict : undefined;
}

/**
 * The refusal that an open flow would meet today; undefined if it may go on. `handedOver`: its requests are judged one by one. Bytes of
 * other flows pass unread, so they end when requests begin to matter.
 */
export function forbidden(
  view: MeshView,
  pod: LocalPod,
  flow: JudgedFlow,
  http: { readonly stance: HttpStance; readonly handedOver: boolean },
): RefuseVerdict | undefined {
  const verdict = judge(view, pod, flow, http.stance);
  if (verdict?.kind === "hand-over") return http.handedOver ? undefined : { ...verdict, kind: "refuse" };
  return verdict?.kind === "refuse" && forbidding.has(verdict.reason) ? verdict : undefined;
}

function judge(view: MeshView, pod: LocalPod, flow: JudgedFlow, stance: HttpStance): Verdict | undefined {
  if (flow.role === "inbound-plaintext") return decidePlaintext(view, pod, flow, stance);
  if (flow.peer === "") return undefined;
  const authority = formatHostPort(flow.destination.address, flow.destination.port);
  return decideConnect(view, pod, { peer: flow.peer, source: flow.source, authority }, stance);
}
