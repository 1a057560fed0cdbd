/**
 * Modes for clients that know only Istio's types. STRICT is a DENY of everybody without an identity, which workloads name in their list of
 * policies. Workloads with the same effective modes share one, so there are few of them however many objects and workloads there are.
 * DISABLE has no word: where it holds for all ports, such clients are told of a workload that speaks no HBONE.
 */
import { create } from "@bufbuild/protobuf";
import type { MeshView } from "../../model/mesh.ts";
import type { Workload } from "../../model/workload.ts";
import { Action, MatchSchema, Scope } from "../gen/istio/security/authorization_pb.ts";
import { authorizationResource, clauseOf, ruleOf } from "./authorization.ts";
import { stringMatch } from "./authorization-strings.ts";
import type { NamedResource } from "./resource-types.ts";

/** Where plaintext is refused: on all ports but `ports`, or on `ports` only. */
export interface PlaintextRefusal {
  readonly except: boolean;
  /** In order. */
  readonly ports: readonly number[];
}

/** Asked for the ports that some PeerAuthentication names: all others have the mode of port 0, which nobody names. */
export function plaintextRefusal(
  view: Pick<MeshView, "inboundMode">,
  workload: Workload,
  namedPorts: Iterable<number>,
): PlaintextRefusal | undefined {
  const refuses = (port: number) => view.inboundMode(workload, port).mode === "STRICT";
  const except = refuses(0);
  const ports = [...namedPorts].filter((port) => refuses(port) !== except).sort((one, other) => one - other);
  return except || ports.length > 0 ? { except, ports } : undefined;
}

/** False where PeerAuthentication says DISABLE for all ports, asked for those that it names. */
export function takesTunnels(
  view: Pick<MeshView, "inboundMode">,
  workload: Workload,
  namedPorts: Iterable<number>,
): boolean {
  const takes = (port: number) => view.inboundMode(workload, port).mode !== "DISABLE";
  return takes(0) || [...namedPorts].some(takes);
}

/** Parentheses: no object can have this name. */
export function plaintextPolicyName({ except, ports }: PlaintextRefusal): string {
  if (ports.length === 0) return "(strict)";
  return `(strict-${except ? "except" : "on"}-${ports.join("-")})`;
}

export function encodePlaintextRefusal(refusal: PlaintextRefusal, namespace: string): NamedResource {
  const clauses = [clauseOf([create(MatchSchema, { notPrincipals: [stringMatch({ kind: "presence" })] })])];
  const ports = [...refusal.ports];
  if (ports.length > 0) {
    const field = refusal.except ? { notDestinationPorts: ports } : { destinationPorts: ports };
    clauses.push(clauseOf([create(MatchSchema, field)]));
  }
  return authorizationResource({
    name: plaintextPolicyName(refusal),
    namespace,
    scope: Scope.WORKLOAD_SELECTOR,
    action: Action.DENY,
    dryRun: false,
    rules: [ruleOf(clauses)],
  });
}
