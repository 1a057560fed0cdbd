/** What control says of itself to operators: its version and certificates, who is connected and who is expected. */
import { hostname } from "node:os";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { version } from "../../lib/version.ts";
import { type Control, ControlSchema } from "../../xds/gen/warren/operator/v1/operator_pb.ts";
import type { AgentRegistry } from "../inspection/agent-registry.ts";
import { type ClusterView, clusterFindings } from "./cluster-findings.ts";

export interface ControlFacts {
  /** Unix times in milliseconds. */
  readonly startedAt: number;
  readonly now: number;
  readonly trustDomain: string;
  readonly blockers: readonly string[];
  /** Ends of the authority's certificates by name, Unix times in milliseconds. */
  readonly expiry: Readonly<Record<string, number>>;
  readonly agents: AgentRegistry;
  readonly view: ClusterView;
}

export function describeControl(facts: ControlFacts): Control {
  const { startedAt, now, trustDomain, blockers, expiry, agents, view } = facts;
  return create(ControlSchema, {
    version,
    name: hostname(),
    startedAt: timestampFromMs(startedAt),
    now: timestampFromMs(now),
    trustDomain,
    blockers: [...blockers],
    certificates: Object.entries(expiry).map(([name, at]) => ({ name, notAfter: timestampFromMs(at) })),
    agents: agents.agents().map(({ node, hello, connectedAt }) => ({
      node,
      version: hello?.version ?? "",
      ...(hello?.startedAt === undefined ? {} : { startedAt: hello.startedAt }),
      connectedAt: timestampFromMs(connectedAt),
    })),
    nodes: agents.nodes(),
    findings: clusterFindings(view),
  });
}
