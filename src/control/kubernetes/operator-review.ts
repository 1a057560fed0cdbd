/**
 * Knows operators by a token of the cluster and asks the cluster's own rules what they may (SubjectAccessReview). There are no such
 * objects as `agents` and `authorities`: roles in the group `warren.dev` grant verbs on them, and nobody but us asks.
 *
 * A token meant for us alone is tried first. One that is meant for the API is accepted too, for people whose kubeconfig holds one.
 */
import { z } from "zod";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import type { Refusal } from "../access/node-authenticator.ts";
import type { OperatorAction, OperatorAuthenticator, OperatorCaller } from "../access/operator-authenticator.ts";
import type { KubernetesApi } from "./api.ts";
import { ReviewCache, type ReviewCacheOptions } from "./review-cache.ts";
import { type ReviewedUser, reviewToken } from "./token-review.ts";

/** What the CLI asks a token for. */
export const operatorAudience = "warren.dev/operator";

/** What a role must grant, in the API group `warren.dev`. */
export const operatorAccess: Readonly<Record<OperatorAction, { readonly verb: string; readonly resource: string }>> = {
  inspect: { verb: "get", resource: "agents" },
  "manage-agents": { verb: "update", resource: "agents" },
  "manage-authority": { verb: "update", resource: "authorities" },
};

export interface OperatorReviewOptions {
  readonly timeoutMs: number;
  readonly cache: ReviewCacheOptions;
}

const answerSchema = z.looseObject({
  status: z.looseObject({ allowed: z.boolean(), denied: z.boolean().nullish(), reason: z.string().nullish() }),
});

export class OperatorReview implements OperatorAuthenticator {
  readonly #api: KubernetesApi;
  readonly #options: OperatorReviewOptions;
  readonly #cache: ReviewCache<OperatorCaller | Refusal>;
  readonly #users: ReviewCache<ReviewedUser | Refusal>;

  constructor(deps: { readonly api: KubernetesApi; readonly clock: Clock }, options: OperatorReviewOptions) {
    this.#api = deps.api;
    this.#options = options;
    this.#cache = new ReviewCache(deps.clock, options.cache);
    this.#users = new ReviewCache(deps.clock, options.cache);
  }

  async authorize(token: string, action: OperatorAction): Promise<OperatorCaller | Refusal> {
    return await this.#cache.get(token, action, () => this.#review(token, action));
  }

  async #review(token: string, action: OperatorAction): Promise<OperatorCaller | Refusal> {
    // Whose token it is does not depend on what is asked for: a stranger's costs one question, whatever it tries.
    const user = await this.#users.get(token, "user", () => this.#user(token));
    return "refused" in user ? user : await this.#access(user, action);
  }

  async #user(token: string): Promise<ReviewedUser | Refusal> {
    const { timeoutMs } = this.#options;
    const ours = await reviewToken(this.#api, token, [operatorAudience], timeoutMs);
    return "refused" in ours && token !== "" ? await reviewToken(this.#api, token, [], timeoutMs) : ours;
  }

  async #access(user: ReviewedUser, action: OperatorAction): Promise<OperatorCaller | Refusal> {
    const { verb, resource } = operatorAccess[action];
    const body = {
      apiVersion: "authorization.k8s.io/v1",
      kind: "SubjectAccessReview",
      spec: {
        user: user.name,
        uid: user.uid,
        groups: user.groups,
        extra: user.extra,
        resourceAttributes: { group: "warren.dev", resource, verb },
      },
    };
    let answer: unknown;
    try {
      const path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
      answer = await this.#api.call({ method: "POST", path, body }, AbortSignal.timeout(this.#options.timeoutMs));
    } catch (error) {
      return { refused: `the API server could not be asked what ${user.name} may: ${messageOf(error)}` };
    }
    const parsed = answerSchema.safeParse(answer);
    if (parsed.success && parsed.data.status.allowed && parsed.data.status.denied !== true) return { name: user.name };
    return { refused: `${user.name} may not ${verb} ${resource}.warren.dev: grant it by a ClusterRole` };
  }
}
