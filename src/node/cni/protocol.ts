/** What `warren-cni` and the agent say to each other: one line of JSON each, over the agent's unix socket (docs/cni.md). */
import { z } from "zod";
import { canonicalIp } from "../../lib/ip.ts";

const address = z.string().transform((text, context) => {
  const canonical = canonicalIp(text);
  if (canonical !== undefined) return canonical;
  context.addIssue({ code: "custom", message: `${JSON.stringify(text)} is not an IP address` });
  return z.NEVER;
});

/** Further keys are for later versions of the plugin: a node's plugin and agent may differ for a moment of an upgrade. */
export const cniRequestSchema = z.object({
  version: z.literal(1),
  command: z.enum(["add", "check", "del", "status"]),
  /** The sandbox's id: a pod whose sandbox is made anew keeps its uid and gets another one of these. */
  container: z.string(),
  /** Path of its netns; empty when a pod goes whose netns is gone already. */
  netns: z.string(),
  interface: z.string(),
  /** The uid is empty with runtimes that do not tell it. */
  pod: z.object({ uid: z.string(), name: z.string(), namespace: z.string() }),
  addresses: z.array(address),
});

export type CniRequest = z.output<typeof cniRequestSchema>;

export type CniAnswer =
  | { readonly ok: true }
  | {
      readonly ok: false;
      /** The agent cannot say yet, as if it were not there: plugins that fail open let the pod start. */
      readonly away: boolean;
      readonly message: string;
      /** Where to look next. */
      readonly details: string;
    };

export function encodeAnswer(answer: CniAnswer): string {
  return `${JSON.stringify(answer)}\n`;
}
