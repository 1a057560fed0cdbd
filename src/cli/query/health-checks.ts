/** The checks of a running mesh: pure judgements over what control and agents say, and the one function that gathers it. */
import { version as ownVersion } from "../../lib/version.ts";
import type { Control } from "../../xds/gen/warren/operator/v1/operator_pb.ts";
import { spanText, unixMs } from "../output/words.ts";
import { type AskOptions, type Outcome, rowsOf } from "./asked.ts";
import { type CertificateLine, certificateLine, isBad } from "./certificate-rows.ts";
import { type Check, checkOf } from "./check-report.ts";
import type { MeshClient } from "./mesh-client.ts";
import { type Headroom, type NodeStatus, nodeStatuses } from "./node-statuses.ts";
import { revokedBy } from "./revoked.ts";
import { type WorkloadRow, workloadRow } from "./workload-rows.ts";

export interface HealthFacts {
  readonly controls: readonly Control[];
  readonly nodes: readonly NodeStatus[];
  readonly certificates: readonly CertificateLine[];
  readonly workloads: readonly WorkloadRow[];
  /** Unix time in milliseconds. */
  readonly now: number;
}

export async function healthChecks(
  mesh: MeshClient,
  options: AskOptions,
  signal: AbortSignal,
): Promise<{ readonly checks: readonly Check[]; readonly outcome: Outcome }> {
  const now = Date.now();
  const [controls, { rows: nodes, outcome }, held, view, pods] = await Promise.all([
    mesh.controls(signal),
    nodeStatuses(mesh, options, signal),
    rowsOf(mesh.ask({ case: "listCertificates", value: {} }, options, signal), "certificates", (page, { node }) =>
      page.certificates.map((certificate) => ({ node, certificate })),
    ),
    mesh.mesh(signal),
    rowsOf(mesh.ask({ case: "listPods", value: {} }, options, signal), "pods", (page) =>
      page.pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod] as const),
    ),
  ]);
  const isRevoked = await revokedBy(view.settings);
  const certificates = held.map(({ node, certificate }) => certificateLine(node, certificate, { now, isRevoked }));
  const known = new Map(pods);
  const asked = new Set(outcome.asked);
  const workloads = [...view.workloads()]
    .filter(({ node }) => asked.has(node))
    .map((workload) => workloadRow(workload, known.get(`${workload.namespace}/${workload.name}`)));
  return { checks: judge({ controls, nodes, certificates, workloads, now }), outcome };
}

const dayMs = 86_400_000;

/** Roots are replaced by hand, in steps that take days. */
const rootWarningMs = 60 * dayMs;

/** Above this the backdating of certificates (a minute) no longer hides the difference. */
const clockFailureMs = 50_000;
const clockWarningMs = 2000;

/** Kubernetes' own agents take some dozens; 128 is the kernel's old default, and kind's well-known trap. */
const inotifyWanted = 256;

export function judge(facts: HealthFacts): Check[] {
  return [
    ...controlChecks(facts),
    ...agentChecks(facts),
    ...certificateChecks(facts),
    ...captureChecks(facts),
    ...nodeChecks(facts),
  ];
}

function controlChecks({ controls, nodes, now }: HealthFacts): Check[] {
  const group = "control plane";
  const blockers = controls.flatMap(({ name, blockers: waits }) => waits.map((one) => `${name} waits for ${one}`));
  const ends = controls.flatMap(({ name, certificates }) =>
    certificates.map((one) => ({
      what: `${one.name} of ${name}`,
      root: one.name === "root",
      left: one.notAfter ? unixMs(one.notAfter) - now : 0,
    })),
  );
  const late = ends.filter(({ root, left }) => left < (root ? rootWarningMs : 0));
  const versions = [
    ...controls.map((one) => one.version),
    ...nodes.flatMap((one) => (one.answered ? [one.version] : [])),
  ];
  const others = [...new Set(versions)].filter((one) => one !== ownVersion);
  // Replicas of control find the same.
  const found = (wanted: string) => [
    ...new Set(
      controls.flatMap(({ findings }) =>
        findings.filter(({ code }) => code === wanted).map(({ object, message }) => `${object}: ${message}`),
      ),
    ),
  ];
  return [
    checkOf(
      { code: "control-ready", group, name: "the control plane is ready" },
      "failure",
      blockers,
      "see its log",
      controls.length === 1 ? "1 replica answers" : `${controls.length} replicas answer`,
    ),
    checkOf(
      { code: "authority-valid", group, name: "the authority's certificates are good for long enough" },
      late.some(({ left }) => left < 7 * dayMs) ? "failure" : "warning",
      late.map(({ what, left }) => `the ${what} ends in ${spanText(left)}`),
      "warren ca rotate replaces it while everything runs",
      ends.map(({ what, left }) => `${what.split(" ")[0]} ${spanText(left)}`).join(", "),
    ),
    checkOf(
      { code: "versions-match", group, name: "all parts have one version" },
      "warning",
      others.map((one) => `${one} beside this program's ${ownVersion}`),
      "fine during an upgrade; afterwards see which with: warren version",
      ownVersion,
    ),
    checkOf(
      { code: "network-policies", group, name: "no NetworkPolicy is in the way of tunnels" },
      "failure",
      found("network-policy-blocks-hbone"),
      "allow TCP 15008 to and from the pods that it selects, beside the application's ports",
    ),
    checkOf(
      { code: "resources-told", group, name: "every object of the mesh can be told to agents" },
      "warning",
      found("resource-untold"),
      "its last good version stays in force, a policy that had none refuses: repair the object that is named; warren lint says what is wrong with policies",
    ),
    checkOf(
      { code: "clients-accept", group, name: "other discovery clients take what they are told" },
      "warning",
      found("client-rejects"),
      "a client that is no agent of this mesh keeps its last good version: see its log, and interoperability in the documentation",
    ),
  ];
}

function agentChecks({ nodes }: HealthFacts): Check[] {
  const group = "agents";
  const answered = nodes.filter((one) => one.answered);
  const silent = nodes.filter((one) => !one.answered);
  return [
    checkOf(
      { code: "agents-answer", group, name: "every node's agent answers" },
      "failure",
      silent.map(({ node, failure }) => `${node}: ${failure}`),
      "is the agent running there, and can it reach control on 15012? see its log",
      `${answered.length}/${nodes.length}`,
    ),
    checkOf(
      { code: "agents-ready", group, name: "agents are ready" },
      "failure",
      answered.flatMap(({ node, blockers }) =>
        blockers.length === 0 ? [] : [`${node} waits for ${blockers.join(", ")}`],
      ),
      "the agent's log says what each of them waits for",
    ),
    checkOf(
      { code: "mesh-state", group, name: "agents can use all of the mesh's state" },
      "warning",
      answered.flatMap(({ node, problems }) => problems.map((problem) => `${node}: ${problemText(problem)}`)),
      "what was last good stays in force; warren lint finds what is wrong with policies",
    ),
    checkOf(
      { code: "clocks", group, name: "clocks agree" },
      answered.some((one) => clockOff(one) > clockFailureMs) ? "failure" : "warning",
      answered
        .filter((one) => clockOff(one) > clockWarningMs)
        .map(({ node, clock }) => `${node} is ${spanText(clock.aheadMs)} ahead of control`),
      "certificates are judged by the clock: run a time service on the node",
      answered.length === 0
        ? ""
        : `within ${Math.max(0, ...answered.map(({ clock }) => Math.abs(clock.aheadMs) + clock.uncertainMs))} ms`,
    ),
  ];
}

/** Agents tell of problems as JSON, of a shape that is their source's. */
function problemText(problem: string): string {
  try {
    const told = JSON.parse(problem) as { readonly object?: unknown; readonly message?: unknown };
    if (typeof told.message !== "string") return problem;
    return typeof told.object === "string" ? `${told.object}: ${told.message}` : told.message;
  } catch {
    return problem;
  }
}

/** The least that it must be off, whatever the answer's way took. */
function clockOff({ clock }: NodeStatus): number {
  return Math.abs(clock.aheadMs) - clock.uncertainMs;
}

function certificateChecks({ certificates, now }: HealthFacts): Check[] {
  const group = "certificates";
  const failing = certificates.filter((one) => !isBad(one) && one.lastError !== "");
  const first = Math.min(...certificates.flatMap(({ notAfter }) => (notAfter === "" ? [] : [Date.parse(notAfter)])));
  return [
    checkOf(
      { code: "certificates-valid", group, name: "every identity has a valid certificate" },
      "failure",
      certificates
        .filter(isBad)
        .map(
          ({ node, identity, revoked, lastError }) =>
            `${identity} on ${node}: ${revoked ? "it is revoked, and refused everywhere" : lastError || "it is not valid now"}`,
        ),
      "warren certs lists them; what was refused control's log explains, what is revoked warren ca status lists and warren ca restore lets in again",
      Number.isFinite(first) ? `${certificates.length}, the first ends in ${spanText(first - now)}` : "",
    ),
    checkOf(
      { code: "certificates-renew", group, name: "renewals succeed" },
      "warning",
      failing.map(({ node, identity, lastError }) => `${identity} on ${node}: ${lastError}`),
      "the one in force still holds; control's log says why",
    ),
  ];
}

function captureChecks({ workloads, nodes }: HealthFacts): Check[] {
  const group = "capture";
  const enrolled = workloads.filter(({ protocol }) => protocol === "HBONE");
  const answered = new Set(nodes.filter((one) => one.answered).map(({ node }) => node));
  return [
    checkOf(
      { code: "capture-audit", group, name: "every enrolled pod is captured" },
      "failure",
      enrolled
        .filter(({ state, node }) => state !== "captured" && answered.has(node))
        .map(
          ({ namespace, name, state, lastError }) =>
            `${namespace}/${name} is ${state}${lastError === "" ? "" : `: ${lastError}`}`,
        ),
      "its connections are refused until it is; the agent's log of that node says more",
      `${enrolled.filter(({ state }) => state === "captured").length}/${enrolled.length}`,
    ),
    checkOf(
      { code: "kernel-features", group, name: "kernels can redirect traffic" },
      nodes.some(({ answered: heard, kernel }) => heard && !kernel.backends.some(({ usable }) => usable))
        ? "failure"
        : "warning",
      nodes.flatMap(({ answered: heard, node, kernel }) =>
        heard
          ? kernel.backends
              .filter(({ usable }) => !usable)
              .map(({ name, missing }) => `${node} lacks for ${name}: ${missing.join(", ")}`)
          : [],
      ),
      "with eBPF missing pods are captured with nftables; with both missing they can't be",
    ),
  ];
}

function nodeChecks({ nodes }: HealthFacts): Check[] {
  const group = "nodes";
  const answered = nodes.filter((one) => one.answered);
  const tight = (what: string, read: (one: NodeStatus) => Headroom | undefined) =>
    answered.flatMap((one) => {
      const room = read(one);
      return room !== undefined && room.limit > 0 && room.used > 0.8 * room.limit
        ? [`${one.node} uses ${room.used} of ${room.limit} ${what}`]
        : [];
    });
  return [
    checkOf(
      { code: "headroom", group, name: "descriptors and connection tracking have room" },
      "warning",
      [
        ...tight("descriptors", ({ runtime }) => runtime.descriptors),
        ...tight("tracked connections", ({ kernel }) => kernel.conntrack),
      ],
      "raise LimitNOFILE of the agent, or net.netfilter.nf_conntrack_max of the node",
    ),
    checkOf(
      { code: "inotify", group, name: "inotify instances suffice" },
      "warning",
      answered
        .map(({ node, runtime }) => ({ node, ...runtime.inotifyInstances }))
        .filter(({ used, limit }) => limit > 0 && (limit < inotifyWanted || used > 0.8 * limit))
        .map(({ node, used, limit }) => `${node} uses ${used} of ${limit} to a user`),
      `sysctl fs.inotify.max_user_instances=8192: below ${inotifyWanted} programs fail with "too many open files"`,
      answered
        .map(({ node, runtime: { inotifyInstances: room } }) => `${node} ${room.used} of ${room.limit}`)
        .join(", "),
    ),
    checkOf(
      { code: "aes", group, name: "processors encrypt in hardware" },
      "warning",
      answered.filter(({ runtime }) => runtime.aes === "none").map(({ node }) => `${node} has no AES instructions`),
      "throughput through tunnels is a fraction there; a hypervisor may be hiding them",
      [...new Set(answered.map(({ runtime }) => runtime.aes))].join(", "),
    ),
  ];
}
