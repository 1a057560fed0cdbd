/** What the token that we show says of ourselves: control planes that read it too want to be told nothing else. */
import { z } from "zod";

const claims = z.looseObject({
  sub: z.string(),
  "kubernetes.io": z.looseObject({ pod: z.looseObject({ name: z.string() }).optional() }).optional(),
});

export interface TokenAccount {
  readonly namespace: string;
  /** Undefined where the token is bound to no pod. */
  readonly pod: string | undefined;
}

/** The account and pod of a Kubernetes token (a JWT, RFC 7519 §3), unverified, for it is our own; undefined for tokens of another kind. */
export function tokenAccount(token: string): TokenAccount | undefined {
  const [, payload = ""] = token.trim().split(".");
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
  } catch {
    return undefined;
  }
  const parsed = claims.safeParse(json).data;
  const [, namespace] = /^system:serviceaccount:([a-z0-9-]+):[a-z0-9.-]+$/.exec(parsed?.sub ?? "") ?? [];
  if (namespace === undefined) return undefined;
  return { namespace, pod: parsed?.["kubernetes.io"]?.pod?.name };
}
