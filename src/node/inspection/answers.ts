/**
 * What the agent answers over its inspection stream: the listings that the admin port shows as well, as messages, in pages. Everything
 * is read at the moment of asking; nothing here holds a key. Between pages others have their turn, so that a listing of every flow of
 * a busy node holds up no decision.
 */
import { setImmediate } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CertificateRow, CertificateState } from "../../identity/certificate-store.ts";
import { MeshError } from "../../lib/errors.ts";
import type { MeshView } from "../../model/mesh.ts";
import type { Workload } from "../../model/workload.ts";
import type { Driver } from "../../tunnel/driver.ts";
import type { FlowId } from "../../tunnel/engine.ts";
import {
  Certificate_State,
  type CertificateSchema,
  type ListFlows,
  type PodSchema,
  type WorkloadSchema,
} from "../../xds/gen/warren/inspect/v1/inspect_pb.ts";
import { wireAddress } from "../../xds/resources/checked.ts";
import { wireTime } from "../../xds/wire-time.ts";
import type { PodRow } from "../pod-enrolment.ts";
import { configDocuments } from "./config-documents.ts";
import { flowMatches, wireFlow, wireTunnel } from "./flow-rows.ts";
import type { Answer, AnswerKind, Answers } from "./inspection-session.ts";
import { getLogLevel, type LogLevels, setLogLevel } from "./log-level.ts";
import { describeStatus, type StatusSources } from "./status.ts";

export interface InspectionSources extends StatusSources {
  /** As read, defaults included: paths of secrets, never their content. */
  readonly config: unknown;
  view(): MeshView;
  certificates(): readonly CertificateRow[];
  pods(): readonly PodRow[];
  /** Undefined until the agent has come that far. */
  driver(): Driver | undefined;
  readonly log: LogLevels;
}

/** Rows in one message: some tens of kilobytes. */
const pageRows = 200;

/** Certificate chains are large. */
const certificateRows = 20;

export function inspectionAnswers(sources: InspectionSources): Answers {
  return {
    getStatus: () => once(async () => ({ case: "status", value: await describeStatus(sources) })),
    listFlows: (ask) => listFlows(sources, ask),
    listTunnels: () =>
      paged(sources.driver()?.tunnels() ?? [], pageRows, (tunnels) => ({
        case: "tunnels",
        value: { tunnels: tunnels.map(wireTunnel) },
      })),
    listCertificates: ({ identity }) =>
      paged(
        sources.certificates().filter((row) => identity === "" || row.identity === identity),
        certificateRows,
        (rows) => ({ case: "certificates", value: { certificates: rows.map(wireCertificate) } }),
      ),
    listWorkloads: ({ namespace }) =>
      paged(
        [...sources.view().workloads()].filter((workload) => namespace === "" || workload.namespace === namespace),
        pageRows,
        (workloads) => ({ case: "workloads", value: { workloads: workloads.map(wireWorkload) } }),
      ),
    listPods: () => paged(sources.pods(), pageRows, (pods) => ({ case: "pods", value: { pods: pods.map(wirePod) } })),
    getConfig: () =>
      Array.from(configDocuments(sources), ({ schema, value }): AnswerKind => {
        return { case: "config", value: { schema, json: JSON.stringify(value) } };
      }),
    setLogLevel: ({ level }) => once(() => ({ case: "logLevel", value: setLogLevel(sources.log, level) })),
    getLogLevel: () => once(() => ({ case: "logLevel", value: getLogLevel(sources.log) })),
    closeFlows: ({ flows }) => once(() => closeFlows(sources, flows)),
  };
}

async function* once(make: () => AnswerKind | Promise<AnswerKind>): Answer {
  yield await make();
}

async function* paged<T>(
  rows: readonly T[],
  size: number,
  message: (page: readonly T[]) => AnswerKind,
): AsyncGenerator<AnswerKind> {
  for (let first = 0; first < rows.length; first += size) {
    if (first > 0) await setImmediate();
    yield message(rows.slice(first, first + size));
  }
}

function listFlows(sources: InspectionSources, { filter, limit }: ListFlows): Answer {
  const open = sources.driver()?.flows() ?? [];
  const wanted = open.filter((flow) => flowMatches(filter, { flow, label: flow.judged, pod: flow.localPod }));
  const listed = limit === 0 ? wanted : wanted.slice(0, limit);
  return paged(listed, pageRows, (flows) => ({ case: "flows", value: { flows: flows.map(wireFlow) } }));
}

function closeFlows(sources: InspectionSources, numbers: readonly bigint[]): AnswerKind {
  const driver = sources.driver();
  if (driver === undefined) throw new MeshError("MESH_INSPECT_STARTING", "the agent is starting and has no flows yet");
  const open = new Set<FlowId>(driver.flows().map(({ flow }) => flow));
  const meant = numbers.map((number) => Number(number) as FlowId).filter((flow) => open.has(flow));
  driver.closeFlows(meant, "closed-by-operator");
  return { case: "flowsClosed", value: { closed: BigInt(meant.length) } };
}

const certificateStates: Readonly<Record<CertificateState, Certificate_State>> = {
  pending: Certificate_State.PENDING,
  ready: Certificate_State.READY,
  unavailable: Certificate_State.UNAVAILABLE,
};

/** The public parts, named one by one: a row may hold more than listings show. */
function wireCertificate(row: CertificateRow): MessageInitShape<typeof CertificateSchema> {
  const { identity, state, certificate, renewsAt, lastError } = row;
  return {
    identity,
    state: certificateStates[state],
    lastError,
    ...(renewsAt === undefined ? {} : { renewsAt: wireTime(renewsAt) }),
    ...(certificate === undefined
      ? {}
      : {
          serial: certificate.serial,
          notBefore: wireTime(certificate.notBefore),
          notAfter: wireTime(certificate.notAfter),
          issuer: certificate.issuer,
          keyType: certificate.keyType,
          chain: certificate.chain,
          trustBundle: certificate.trustBundle,
        }),
  };
}

function wireWorkload(workload: Workload): MessageInitShape<typeof WorkloadSchema> {
  const { uid, namespace, name, addresses, node, tunnel, ready, identity } = workload;
  return {
    uid,
    namespace,
    name,
    addresses: addresses.map(wireAddress),
    node,
    hbone: tunnel === "hbone",
    ready,
    identity,
  };
}

function wirePod(pod: PodRow): MessageInitShape<typeof PodSchema> {
  const { uid, namespace, name, identity, addresses, state, backend, lastError } = pod;
  return {
    uid,
    namespace,
    name,
    identity,
    addresses: addresses.map(wireAddress),
    state,
    capture: backend ?? "",
    lastError,
  };
}
