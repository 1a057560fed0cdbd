/** Asks the API whom a bearer token stands for (`authentication.k8s.io/v1` TokenReview). Tokens are neither logged nor kept. */
import { z } from "zod";
import { messageOf } from "../../lib/errors.ts";
import type { Refusal } from "../access/node-authenticator.ts";
import type { KubernetesApi } from "./api.ts";

export interface ReviewedUser {
  readonly name: string;
  readonly uid: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

const answerSchema = z.looseObject({
  status: z.looseObject({
    authenticated: z.boolean().nullish(),
    error: z.string().nullish(),
    audiences: z.array(z.string()).nullish(),
    user: z
      .looseObject({
        username: z.string().nullish(),
        uid: z.string().nullish(),
        groups: z.array(z.string()).nullish(),
        extra: z.record(z.string(), z.array(z.string())).nullish(),
      })
      .nullish(),
  }),
});

/** Longer than any token that an API server signs; what is longer is not sent on. */
const longestToken = 16 * 1024;

/** Without audiences the API's own are meant. Never rejects: what could not be asked is a refusal that says so. */
export async function reviewToken(
  api: KubernetesApi,
  token: string,
  audiences: readonly string[],
  timeoutMs: number,
): Promise<ReviewedUser | Refusal> {
  if (token === "") return { refused: "no bearer token was shown" };
  if (token.length > longestToken) return { refused: `the token has ${token.length} characters` };
  const body = {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenReview",
    spec: { token, ...(audiences.length === 0 ? {} : { audiences }) },
  };
  let answer: unknown;
  try {
    const path = "/apis/authentication.k8s.io/v1/tokenreviews";
    answer = await api.call({ method: "POST", path, body }, AbortSignal.timeout(timeoutMs));
  } catch (error) {
    return { refused: `the API server could not be asked about the token: ${messageOf(error)}` };
  }
  const parsed = answerSchema.safeParse(answer);
  if (!parsed.success) return { refused: "the API server's answer about the token cannot be read" };
  const { authenticated, error, user, audiences: valid } = parsed.data.status;
  if (authenticated !== true || !user?.username) {
    return { refused: `the API server does not accept the token: ${error || "not authenticated"}` };
  }
  // An API server that knows nothing of audiences leaves them out, and then the token was meant for anybody.
  if (audiences.length > 0 && !(valid ?? []).some((audience) => audiences.includes(audience))) {
    return { refused: `the token is not meant for ${audiences.join(" or ")}` };
  }
  return { name: user.username, uid: user.uid ?? "", groups: user.groups ?? [], extra: user.extra ?? {} };
}

/** `namespace/name` of a service account's user name. */
export function serviceAccountOf(username: string): string | undefined {
  const [, namespace, name] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(username) ?? [];
  return namespace === undefined ? undefined : `${namespace}/${name}`;
}
