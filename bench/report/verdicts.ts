/** What the figures say about the costs that the mission gives for sidecar meshes. Pure. */
import type { BenchDocument, Row, Variant } from "../model.ts";
import { rotationShare } from "../scenarios/rotation.ts";
import { show } from "./figures.ts";

export type Outcome = "beaten" | "inside" | "missed" | "unknown";

export interface Verdict {
  readonly claim: string;
  readonly outcome: Outcome;
  readonly found: string;
}

/** Ours is judged by the native engine, and by the other one where that was not there; the words say by which. */
function judged(
  rows: readonly Row[],
  name: string,
): { readonly variant: Variant; readonly value: number; readonly row: Row } | undefined {
  const row = rows.find((one) => one.name === name);
  for (const variant of ["warren", "typescript"]) {
    const value = row?.medians[variant];
    if (row !== undefined && typeof value === "number") return { variant, value, row };
  }
  return undefined;
}

export function missionVerdicts({ scenarios }: BenchDocument): readonly Verdict[] {
  return [
    warmConnection(scenarios),
    newTunnel(scenarios),
    processors(scenarios),
    memoryPerPod(scenarios),
    renewal(scenarios),
  ];
}

function between(value: number, low: number, high: number): Outcome {
  if (value < low) return "beaten";
  return value <= high ? "inside" : "missed";
}

/** Of a measure that has no figure: why, if it was tried. */
function unknown(claim: string, rows: readonly Row[], measure: string, scenario: string): Verdict {
  const reasons = rows.find(({ name }) => name === measure)?.reasons;
  const reason = reasons?.["warren"] ?? reasons?.["typescript"];
  return {
    claim,
    outcome: "unknown",
    found: reason === undefined ? `not measured in this run: --scenario ${scenario}` : `no figure: ${reason}`,
  };
}

function warmConnection(rows: readonly Row[]): Verdict {
  const claim = "1–3 ms per new connection: to a peer that is known already";
  const found = judged(rows, "first_byte_added_p50");
  if (found === undefined) return unknown(claim, rows, "first_byte_added_p50", "connect");
  const milliseconds = found.value / 1000;
  return {
    claim,
    outcome: between(milliseconds, 1, 3),
    found: `${show(milliseconds)} ms more than direct until the first byte is back (median, ${found.variant})`,
  };
}

function newTunnel(rows: readonly Row[]): Verdict {
  const claim = "1–3 ms per new connection: the first to a peer, with its handshake";
  const found = judged(rows, "sessions_full_p50");
  if (found === undefined) return unknown(claim, rows, "sessions_full_p50", "sessions");
  return {
    claim,
    outcome: between(found.value, 1, 3),
    found: `${show(found.value)} ms until the first byte is back (median, ${found.variant}); all later ones share the tunnel`,
  };
}

function processors(rows: readonly Row[]): Verdict {
  const claim = "5–10 % CPU for encryption";
  const name = ["openloop_50_cpu_per_1k", "openloop_70_cpu_per_1k"].find((one) => judged(rows, one) !== undefined);
  const found = name === undefined ? undefined : judged(rows, name);
  if (found === undefined) return unknown(claim, rows, "openloop_70_cpu_per_1k", "openloop");
  const percent = found.value * 100;
  return {
    claim,
    outcome: between(percent, 5, 10),
    found: `${show(percent)} % of one processor per 1000 requests/s of 1 KiB, both nodes' agents together, all they do (${found.variant})`,
  };
}

function memoryPerPod(rows: readonly Row[]): Verdict {
  const claim = "50–100 MB memory per pod";
  const found = judged(rows, "memory_per_pod");
  if (found === undefined) return unknown(claim, rows, "memory_per_pod", "footprint");
  const megabytes = (found.value * 1024) / 1e6;
  const agent = judged(rows, "agent_anonymous");
  return {
    claim,
    outcome: between(megabytes, 50, 100),
    found: `${show(megabytes)} MB per pod${agent === undefined ? "" : `, beside ${show(agent.value)} MiB once per node`} (${found.variant})`,
  };
}

/** Noise of two figures on a shared machine is well above a tenth. */
const negligible = 1.25;

function renewal(rows: readonly Row[]): Verdict {
  const claim = "certificate rotation negligible";
  const rotating = judged(rows, "rotation_p99");
  if (rotating === undefined) return unknown(claim, rows, "rotation_p99", "rotation");
  const unanswered = rotating.row === undefined ? 0 : (judged(rows, "rotation_unanswered")?.value ?? 0);
  const renewals = judged(rows, "rotation_renewals")?.value ?? 0;
  const steady = rows.find(({ name }) => name === `openloop_${rotationShare * 100}_p99`)?.medians[rotating.variant];
  const told = `${renewals} renewals in a round, ${unanswered} requests unanswered, p99 ${show(rotating.value)} ms`;
  if (typeof steady !== "number")
    return {
      claim,
      outcome: "unknown",
      found: `${told}; without the same load in steady state nothing to hold it against (${rotating.variant})`,
    };
  return {
    claim,
    outcome: unanswered === 0 && rotating.value <= steady * negligible ? "inside" : "missed",
    found: `${told}, against ${show(steady)} ms with no renewals (${rotating.variant})`,
  };
}
