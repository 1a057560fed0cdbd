/** Actors of the deciders' tests, and verdicts in one line each so that a table can show them. */
import type { SocketAddress } from "../../src/model/address.ts";
import type { Verdict } from "../../src/tunnel/verdict.ts";
import { localPod, workload } from "../mesh/build.ts";

export const web = workload("web", "10.0.0.1");
export const api = workload("api", "10.0.1.1", { addresses: ["10.0.1.1", "fd00:1::1"] });
export const outside = workload("outside", "10.0.0.9", { tunnel: "none" });
export const api1 = localPod(api);

export function socket(text: string): SocketAddress {
  const colon = text.lastIndexOf(":");
  return { address: text.slice(0, colon), port: Number(text.slice(colon + 1)) };
}

/** A verdict in one line. */
export function show(verdict: Verdict): string {
  if (verdict.kind === "hold") return "hold";
  const about = [verdict.policy && `by ${verdict.policy}`, `on ${verdict.dependsOn?.join("+") ?? "chance"}`]
    .filter((part) => part !== "")
    .join(" ");
  switch (verdict.kind) {
    case "carry":
      return `carry ${verdict.targets.map((t) => `${t.peer.address}:${t.peer.port}/${t.authority}/${t.expected}`).join(" ")} ${about}`;
    case "dial":
      return `${verdict.purpose} ${verdict.targets.map((t) => `${t.destination.address}:${t.destination.port}`).join(" ")} as ${verdict.sourceAddress ?? "itself"} ${about}`;
    case "hand-over":
      return `hand over ${verdict.reason} ${about}`;
    case "refuse":
      return `refuse ${verdict.reason} ${about}`;
  }
}
