/** Which connections and requests get a line in the access log: a decision without side effects, made at each one's end. */

export const accessModes = ["all", "failures", "off"] as const;
/** `failures` keeps refusals and errors only. */
export type AccessMode = (typeof accessModes)[number];

export interface AccessChoice {
  readonly mode: AccessMode;
  /** Modes of namespaces that have their own, by the namespace of the agent's pod. */
  readonly namespaces: ReadonlyMap<string, AccessMode>;
  /** Share of successful ones that is kept, 0 to 1. */
  readonly sample: number;
}

export interface AccessEnd {
  /** Of the pod that this agent speaks for; undefined when it is not known any more. */
  readonly namespace: string | undefined;
  readonly succeeded: boolean;
}

/**
 * Failures are never sampled: who looks for one refusal must find it. `draw` gives a number in [0, 1), and is asked only where
 * chance decides.
 */
export function wantsAccessLine(
  choice: AccessChoice,
  { namespace, succeeded }: AccessEnd,
  draw: () => number,
): boolean {
  const mode = (namespace === undefined ? undefined : choice.namespaces.get(namespace)) ?? choice.mode;
  if (mode === "off") return false;
  if (!succeeded) return true;
  if (mode === "failures") return false;
  return choice.sample >= 1 || (choice.sample > 0 && draw() < choice.sample);
}
