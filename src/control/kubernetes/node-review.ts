/**
 * Knows agents by the token of their service account: meant for us, of a trusted account, bound to a pod that still lives (the API
 * checks that), on the node that the token names. Before Kubernetes 1.30 tokens name no node; then the pod is asked for.
 */
import { z } from "zod";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import type { NodeAuthenticator, NodeCaller, Refusal } from "../access/node-authenticator.ts";
import type { KubernetesApi } from "./api.ts";
import { ReviewCache, type ReviewCacheOptions } from "./review-cache.ts";
import { type ReviewedUser, reviewToken, serviceAccountOf } from "./token-review.ts";
import { apiPath } from "./watched-kinds.ts";

export interface NodeReviewOptions {
  readonly audiences: readonly string[];
  /** `namespace/name` of the accounts that agents run as. */
  readonly trustedAccounts: readonly string[];
  readonly timeoutMs: number;
  readonly cache: ReviewCacheOptions;
}

const extraKey = (name: string) => `authentication.kubernetes.io/${name}`;

const podsSchema = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({ uid: z.string() }),
      spec: z.looseObject({ nodeName: z.string().nullish(), serviceAccountName: z.string().nullish() }),
    }),
  ),
});

export class NodeReview implements NodeAuthenticator {
  readonly #api: KubernetesApi;
  readonly #options: NodeReviewOptions;
  readonly #cache: ReviewCache<NodeCaller | Refusal>;

  constructor(deps: { readonly api: KubernetesApi; readonly clock: Clock }, options: NodeReviewOptions) {
    this.#api = deps.api;
    this.#options = options;
    this.#cache = new ReviewCache(deps.clock, options.cache);
  }

  async authenticate(token: string): Promise<NodeCaller | Refusal> {
    return await this.#cache.get(token, "node", () => this.#review(token));
  }

  async #review(token: string): Promise<NodeCaller | Refusal> {
    const { audiences, trustedAccounts, timeoutMs } = this.#options;
    const user = await reviewToken(this.#api, token, audiences, timeoutMs);
    if ("refused" in user) return user;
    const account = serviceAccountOf(user.name);
    if (account === undefined) return { refused: `${user.name} is no service account` };
    if (!trustedAccounts.includes(account)) {
      return { refused: `${account} is not among kubernetes.trustedAccounts (${trustedAccounts.join(", ")})` };
    }
    const [pod] = user.extra[extraKey("pod-name")] ?? [];
    const [uid] = user.extra[extraKey("pod-uid")] ?? [];
    if (pod === undefined || uid === undefined) {
      return { refused: `the token of ${account} is bound to no pod; mount it as a projected volume` };
    }
    const [node] = user.extra[extraKey("node-name")] ?? [];
    return node === undefined || node === "" ? await this.#nodeOf(account, pod, uid) : { node };
  }

  async #nodeOf(account: string, name: string, uid: string): Promise<NodeCaller | Refusal> {
    const [namespace = "", serviceAccount = ""] = account.split("/");
    const what = `pod ${namespace}/${name}, to which the token is bound,`;
    let answer: unknown;
    try {
      const path = apiPath("v1", "pods", namespace);
      // A list of one: control may list pods anyway, and needs no right to get them.
      const query = { fieldSelector: `metadata.name=${name}` };
      answer = await this.#api.call({ method: "GET", path, query }, AbortSignal.timeout(this.#options.timeoutMs));
    } catch (error) {
      return { refused: `${what} cannot be read: ${messageOf(error)}` };
    }
    const pod = podsSchema.safeParse(answer).data?.items.find(({ metadata }) => metadata.uid === uid);
    if (pod === undefined) return { refused: `${what} is not there any more` };
    const { nodeName, serviceAccountName } = pod.spec;
    if ((serviceAccountName ?? "default") !== serviceAccount) return { refused: `${what} runs as another account` };
    return nodeName ? { node: nodeName } : { refused: `${what} is on no node yet` };
  }
}

/** For both kinds of callers: the user that a token stands for. */
export type { ReviewedUser };
