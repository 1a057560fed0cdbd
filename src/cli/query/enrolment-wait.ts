/** Waiting until agents have done what a label asks: every pod that is meant captured, or let go, and its certificate there. */
import { setTimeout as delay } from "node:timers/promises";
import type { Workload } from "../../model/workload.ts";
import { Certificate_State, type Pod } from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { type Outcome, rowsOf } from "./asked.ts";
import { type EnrollableObject, isWorkload } from "./cluster-objects.ts";
import type { MeshClient } from "./mesh-client.ts";

export interface EnrolmentState {
  /** Every pod that the label is about, by the mesh's word. */
  readonly workloads: readonly Workload[];
  /** What agents have of them, by `namespace/name`. */
  readonly pods: ReadonlyMap<string, Pod>;
  /** Identities with a certificate in force, by `node identity`. */
  readonly certified: ReadonlySet<string>;
  readonly outcome: Outcome;
}

const pollMs = 300;

export function isMeant(object: EnrollableObject): (workload: Workload) => boolean {
  const { kind, namespace, name } = object;
  if (kind === "Namespace") return (workload) => workload.namespace === name;
  if (!isWorkload(object)) return (workload) => workload.namespace === namespace && workload.name === name;
  return ({ namespace: home, owner }) => home === namespace && owner.kind === kind && owner.name === name;
}

export async function enrolmentState(
  mesh: MeshClient,
  object: EnrollableObject,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<EnrolmentState> {
  const view = await mesh.mesh(signal);
  const askedPods = mesh.ask({ case: "listPods", value: {} }, { timeoutMs }, signal);
  const askedCertificates = mesh.ask({ case: "listCertificates", value: {} }, { timeoutMs }, signal);
  const [pods, certified] = await Promise.all([
    rowsOf(askedPods, "pods", (page) => page.pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod] as const)),
    rowsOf(askedCertificates, "certificates", (page, { node }) =>
      page.certificates
        .filter(({ state }) => state === Certificate_State.READY)
        .map(({ identity }) => `${node} ${identity}`),
    ),
  ]);
  return {
    workloads: [...view.workloads()].filter(isMeant(object)),
    pods: new Map(pods),
    certified: new Set(certified),
    outcome: askedPods.outcome,
  };
}

/** Pods of a state that are not yet as they should be, in words. `whole`: none of them may be left out. */
export function notYet(state: EnrolmentState, wanted: "captured" | "released", whole: boolean): string[] {
  const { workloads, pods, certified, outcome } = state;
  if (wanted === "released") {
    const meant = new Set(workloads.map(({ namespace, name }) => `${namespace}/${name}`));
    const held = [...pods.keys()].filter((pod) => meant.has(pod));
    const enrolled = workloads.filter(({ tunnel }) => tunnel === "hbone").map((one) => `${one.namespace}/${one.name}`);
    return [...new Set([...held, ...enrolled])].map((pod) => `${pod} is still in the mesh`);
  }
  const silent = outcome.failures.map(({ node, message }) => `${node}: ${message}`);
  const leftOut = workloads.filter(({ tunnel }) => whole && tunnel !== "hbone");
  return [
    ...silent,
    ...leftOut.map(({ namespace, name }) => `${namespace}/${name} is not in the mesh yet`),
    ...workloads
      .filter(({ tunnel }) => tunnel === "hbone")
      .flatMap(({ namespace, name, node, identity }) => {
        const pod = pods.get(`${namespace}/${name}`);
        if (pod?.state !== "captured")
          return [
            `${namespace}/${name} is ${pod?.state ?? "not known to its agent"}${pod?.lastError ? `: ${pod.lastError}` : ""}`,
          ];
        return certified.has(`${node} ${identity}`) ? [] : [`${namespace}/${name} waits for its certificate`];
      }),
  ];
}

/** The first state in which nothing is missing, or the last one seen when the time is up. */
export async function waitForEnrolment(
  mesh: MeshClient,
  object: EnrollableObject,
  wanted: "captured" | "released",
  options: {
    readonly waitMs: number;
    readonly timeoutMs: number;
    readonly whole: boolean;
    readonly settled: (state: EnrolmentState) => boolean;
  },
  signal: AbortSignal,
): Promise<{ readonly state: EnrolmentState; readonly missing: readonly string[] }> {
  const deadline = Date.now() + options.waitMs;
  for (;;) {
    const state = await enrolmentState(mesh, object, options.timeoutMs, signal);
    const heard = options.settled(state) ? [] : ["control has not heard of the change yet"];
    const missing = [...heard, ...notYet(state, wanted, options.whole)];
    if (missing.length === 0 || Date.now() >= deadline) return { state, missing };
    await delay(pollMs, undefined, { signal });
  }
}
