/**
 * Whether a cluster's clocks agree, before any agent is there to say: this machine's against the API server's (RFC 9110 §6.6.1), and
 * each node's by its Lease, which its kubelet renews every ten seconds with the time of its own clock.
 */
import { z } from "zod";
import { counted, spanText } from "../output/words.ts";
import { type Check, checkOf } from "./check-report.ts";
import type { TextApi } from "./cluster-logs.ts";

const leaseSchema = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({ name: z.string() }),
      spec: z.looseObject({ renewTime: z.string().nullish(), leaseDurationSeconds: z.number().nullish() }).nullish(),
    }),
  ),
});

export interface ClockFacts {
  /** By how much this machine's clock is ahead of the API server's, and by how much that may be wrong, milliseconds. */
  readonly aheadMs: number;
  readonly uncertainMs: number;
  readonly leases: readonly {
    readonly node: string;
    /** By how much its last renewal is ahead of the API server's clock: below zero, as a rule. */
    readonly aheadMs: number;
    readonly durationMs: number;
  }[];
}

/** As for agents: from here on the backdating of certificates (a minute) hides no difference. */
const failureMs = 50_000;
const warningMs = 2000;

/** Of a node that is well, between two renewals, when one of them failed. */
const renewalsMs = 20_000;

/** The header has whole seconds: it is from the second that it names. */
const dateMs = 1000;

export async function clockFacts(api: TextApi, signal: AbortSignal, now = Date.now): Promise<ClockFacts> {
  const path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
  const asked = now();
  const { text, date } = await api.text(path, {}, signal);
  const heard = now();
  const server = Date.parse(date) + dateMs / 2;
  const { items } = leaseSchema.parse(JSON.parse(text));
  return {
    aheadMs: (asked + heard) / 2 - server,
    uncertainMs: (heard - asked + dateMs) / 2,
    leases: items.flatMap(({ metadata, spec }) => {
      const renewed = Date.parse(spec?.renewTime ?? "");
      const durationMs = (spec?.leaseDurationSeconds ?? 40) * 1000;
      return Number.isNaN(renewed) ? [] : [{ node: metadata.name, aheadMs: renewed - server, durationMs }];
    }),
  };
}

export function clockCheck(
  base: Pick<Check, "code" | "group" | "name">,
  { aheadMs, uncertainMs, leases }: ClockFacts,
): Check {
  const off = Math.abs(aheadMs) - uncertainMs;
  const early = leases.filter((lease) => lease.aheadMs - uncertainMs > warningMs);
  const late = leases.filter((lease) => -lease.aheadMs > lease.durationMs + renewalsMs);
  const worst = Math.max(off, ...early.map((lease) => lease.aheadMs));
  return checkOf(
    base,
    worst > failureMs ? "failure" : "warning",
    [
      ...(off > warningMs
        ? [`this machine is ${spanText(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead of" : "behind"} the API server`]
        : []),
      ...early.map((lease) => `${lease.node} is ${spanText(lease.aheadMs)} ahead of the API server`),
      ...late.map((lease) => `${lease.node} is behind, or has not been heard for ${spanText(-lease.aheadMs)}`),
    ],
    "certificates are judged by the clock: run a time service on every node",
    counted(leases.length, "node"),
  );
}
