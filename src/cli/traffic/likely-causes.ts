/**
 * What is probably the matter between two workloads: facts of both agents and of the mesh's state, joined. Pure. Sure causes come
 * first; what was only seen in the past says when. Codes are stable.
 */
import { isReason, reasonInfo } from "../../model/reason.ts";
import { counted } from "../output/words.ts";

export interface SideFacts {
  /** `namespace/pod` or what was asked for. */
  readonly name: string;
  readonly node: string;
  readonly enrolled: boolean;
  /** Why it can't be: host network, opted out; empty when it could. */
  readonly notEnrolledBecause: string;
  /** False when its node's agent was not heard. */
  readonly answered: boolean;
  /** How far enrolment is (`captured`, `pending`, …), and what stopped it; empty when the agent does not know the pod. */
  readonly captureState: string;
  readonly captureError: string;
  /** `ready`, `pending`, `unavailable` or empty, and why the last attempt failed. */
  readonly certificate: string;
  readonly certificateError: string;
  /** By how much the node's clock is ahead of control's, and by how much that may be wrong, milliseconds. */
  readonly clockAheadMs: number;
  readonly clockUncertainMs: number;
}

/** A refusal or failure that one of the agents remembers between the two. */
export interface RememberedRefusal {
  readonly side: "source" | "destination";
  readonly reason: string;
  readonly policy: string;
  readonly detail: string;
  readonly count: number;
  /** Of requests on connections that were let in: the last one. */
  readonly request?: { readonly method: string; readonly host: string; readonly path: string; readonly status: number };
  /** Unix time in milliseconds. */
  readonly lastSeen: number;
}

export interface CauseFacts {
  readonly source: SideFacts;
  readonly destination: SideFacts & { readonly listening: boolean | undefined; readonly port: number };
  /** What policy says now. */
  readonly verdict: {
    readonly allowed: boolean;
    readonly reason: string;
    readonly policy: string;
    readonly mode: string;
    readonly arrives: "mtls" | "plaintext";
    /** `METHOD /path`, where a request was asked about; else the connection alone. */
    readonly request: string;
  };
  readonly refusals: readonly RememberedRefusal[];
  /** Connections between them that the mesh does not carry. */
  readonly uncarried: number;
  /** What control knows of NetworkPolicies that let no tunnel out of the source or into the destination, in words. */
  readonly blocked: readonly { readonly side: "source" | "destination"; readonly by: string }[];
}

export interface Cause {
  readonly code: string;
  readonly certainty: "sure" | "likely" | "seen";
  readonly text: string;
  readonly fix: string;
}

/** Certificates are backdated by more than this; beyond it their dates begin to matter. */
const clockSkewMs = 30_000;

export function likelyCauses(facts: CauseFacts): Cause[] {
  const causes = [
    ...sides(facts),
    ...policies(facts),
    ...clocks(facts),
    ...blockedPort(facts),
    ...notListening(facts),
    ...remembered(facts),
    ...uncarried(facts),
  ];
  const order = { sure: 0, likely: 1, seen: 2 };
  return causes.sort((one, other) => order[one.certainty] - order[other.certainty]);
}

function sides({ source, destination, verdict }: CauseFacts): Cause[] {
  return [source, destination].flatMap((side): Cause[] => {
    const isSource = side === source;
    if (!side.enrolled) {
      // A client in clear only matters where the destination minds; a destination in clear is only a note.
      if (isSource && verdict.mode !== "STRICT" && verdict.allowed) return [];
      const because = side.notEnrolledBecause === "" ? "" : ` (${side.notEnrolledBecause})`;
      return [
        {
          code: isSource ? "client-not-enrolled" : "destination-not-enrolled",
          certainty: isSource && !verdict.allowed ? "sure" : "likely",
          text: isSource
            ? `${side.name} is not enrolled${because}: it sends plaintext and proves no identity`
            : `${side.name} is not enrolled${because}: nothing enforces policy there, and peers send it plaintext`,
          fix:
            side.notEnrolledBecause === ""
              ? `warren enroll ns/${side.name.split("/")[0]}`
              : "enrol it where that is possible",
        },
      ];
    }
    if (!side.answered) {
      return [
        {
          code: "agent-silent",
          certainty: "likely",
          text: `the agent of ${side.node || "its node"} does not answer: while it is away, connections of its pods are refused`,
          fix: `warren status; look at the agent's log on ${side.node || "the node"}`,
        },
      ];
    }
    const found: Cause[] = [];
    if (side.captureState !== "captured") {
      found.push({
        code: "not-captured",
        certainty: "likely",
        text: `${side.name} is enrolled and not captured yet (${side.captureState || "unknown to its agent"})${side.captureError === "" ? "" : `: ${side.captureError}`}`,
        fix: "warren status; wait, or see the agent's log",
      });
    }
    if (side.certificate !== "ready") {
      found.push({
        code: "certificate-missing",
        certainty: "sure",
        text: `there is no certificate for ${side.name} yet${side.certificateError === "" ? "" : `: ${side.certificateError}`}`,
        fix: "warren certs; check that the agent reaches control on 15012",
      });
    }
    return found;
  });
}

function policies({ verdict, source }: CauseFacts): Cause[] {
  const { allowed, reason, policy, mode, arrives, request } = verdict;
  if (allowed) return [];
  const who = policy === "" ? "the default" : policy;
  if (reason === "strict-plaintext") {
    // Told above when it is the client's doing.
    if (!source.enrolled) return [];
    return [
      {
        code: "strict-plaintext",
        certainty: "sure",
        text: `${who} is STRICT and the client arrives in plaintext`,
        fix: hintOf(reason),
      },
    ];
  }
  if (reason === "certificate-revoked") {
    const identity = `the identity or certificate of ${source.name} is revoked: nobody in the mesh takes it`;
    const fix = "warren ca status lists what is revoked; warren ca restore lets an identity in again";
    return [{ code: reason, certainty: "sure", text: identity, fix }];
  }
  return [
    {
      code: isReason(reason) ? reason : "policy-denied",
      certainty: "sure",
      text: `${who} refuses ${request === "" ? "it" : request} (${reason}; the port is ${mode}, the client arrives ${arrives === "mtls" ? "with mutual TLS" : "in plaintext"})`,
      fix: "warren authz explain shows which rule",
    },
  ];
}

function clocks({ source, destination, refusals }: CauseFacts): Cause[] {
  const dated = /not yet valid|expired|notBefore|notAfter/i;
  const told = refusals.some(({ reason, detail }) => reason === "tls-failed" && dated.test(detail));
  return [source, destination].flatMap(({ node, answered, clockAheadMs, clockUncertainMs }): Cause[] => {
    if (!answered || Math.abs(clockAheadMs) - clockUncertainMs < clockSkewMs) return [];
    const seconds = Math.round(clockAheadMs / 1000);
    return [
      {
        code: "clock-skew",
        certainty: told ? "sure" : "likely",
        text: `the clock of ${node} is ${Math.abs(seconds)} s ${seconds > 0 ? "ahead of" : "behind"} control's: certificates look ${seconds > 0 ? "expired" : "not yet valid"} there`,
        fix: "repair time synchronisation (NTP) on the node",
      },
    ];
  });
}

function blockedPort({ refusals, source, destination, verdict, blocked }: CauseFacts): Cause[] {
  if (verdict.arrives !== "mtls") return [];
  const timeouts = refusals.filter(({ side, reason }) => side === "source" && reason === "connect-timeout");
  if (blocked.length > 0) {
    return blocked.map(({ side, by }) => ({
      code: "hbone-port-blocked",
      // A cluster's network may not enforce the policy; what timed out says that it does.
      certainty: timeouts.length > 0 ? "sure" : "likely",
      text: `${side === "source" ? source.name : destination.name}: ${by}`,
      fix: "let TCP 15008 pass between the mesh's pods, beside the application's ports",
    }));
  }
  if (timeouts.length === 0) return [];
  return [
    {
      code: "hbone-port-blocked",
      certainty: "likely",
      text: `port 15008 of ${destination.name} did not answer: a NetworkPolicy or a firewall may block it, or its node is away`,
      fix: "warren check names NetworkPolicies that block 15008; let it in beside the application's ports",
    },
  ];
}

function notListening({ destination, refusals }: CauseFacts): Cause[] {
  const refused = refusals.some(({ reason }) => reason === "connect-failed");
  if (destination.listening !== false) return [];
  return [
    {
      code: "nothing-listens",
      certainty: refused ? "sure" : "likely",
      text: `no program in ${destination.name} listens on port ${destination.port}`,
      fix: "compare the Service's targetPort with what the application listens on",
    },
  ];
}

/** Reasons that the causes above have not said yet, in the agents' own words. */
function remembered({ refusals, source, destination }: CauseFacts): Cause[] {
  return refusals.map(({ side, reason, policy, detail, count, request }) => {
    const info = isReason(reason) ? reasonInfo(reason) : undefined;
    const who = side === "source" ? source : destination;
    const named = policy === "" ? "" : ` by ${policy}`;
    if (request !== undefined) {
      const { method, path, status } = request;
      const answered = status === 0 ? "ended without an answer" : `answered ${status}`;
      const because = detail === "" ? reason : `${reason}: ${detail}`;
      return {
        code: reason,
        certainty: "seen",
        text: `the agent of ${who.node || side} refused ${counted(count, "request")} on connections that were let in, the last ${method} ${path}, ${answered}${named} (${because})`,
        fix:
          info?.flags === "DENY" && policy !== ""
            ? `ask again: warren why ${referenceOf(source)} ${referenceOf(destination)}:${destination.port} --method ${method} --path ${path}`
            : (info?.hint ?? ""),
      };
    }
    return {
      code: reason,
      certainty: "seen",
      text: `the agent of ${who.node || side} remembers ${count === 0 ? "a connection" : `${count} refused`}: ${info?.text ?? reason}${named}${detail === "" ? "" : ` (${detail})`}`,
      fix: info?.hint ?? "",
    };
  });
}

/** As a command line takes it. */
function referenceOf({ name }: SideFacts): string {
  const [namespace, pod] = name.split("/");
  return pod === undefined ? "plaintext" : `pod/${pod}.${namespace}`;
}

function uncarried({ uncarried: count, source }: CauseFacts): Cause[] {
  if (count === 0) return [];
  return [
    {
      code: "open-before-enrolment",
      certainty: "sure",
      text: `${count} of their connections were open before enrolment: they go on in clear, past the mesh`,
      fix: `warren enroll ns/${source.name.split("/")[0]} --cut`,
    },
  ];
}

function hintOf(reason: string): string {
  return isReason(reason) ? reasonInfo(reason).hint : "";
}
