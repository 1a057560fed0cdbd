/** Bearer tokens and whom they stand for: static ones, and those of service accounts with audience, expiry and bound pod. */
import { randomBytes, randomUUID } from "node:crypto";
import type { ApiObject } from "./objects.ts";
import type { User } from "./rbac.ts";
import { resourceOf } from "./resources.ts";
import type { Store } from "./store.ts";

export const apiAudience = "https://kubernetes.default.svc.cluster.local";

export interface TokenOptions {
  /** Default: the API's own. */
  readonly audiences?: readonly string[];
  readonly lifetimeMs?: number;
  /** The pod that the token is bound to, in the account's namespace. */
  readonly pod?: string;
  /** Kubernetes before 1.30 does not tell the node. */
  readonly tellsNode?: boolean;
}

interface Issued {
  readonly user: User;
  readonly audiences: readonly string[];
  readonly expires: number;
  readonly alive: () => boolean;
}

export interface Review {
  readonly authenticated: boolean;
  readonly user?: User;
  readonly audiences?: readonly string[];
  readonly error?: string;
}

function core(plural: string) {
  const found = resourceOf("", plural);
  if (found === undefined) throw new Error(`${plural} is not of the core group`);
  return found;
}

export class Tokens {
  readonly #store: Store;
  readonly #issued = new Map<string, Issued>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** A token that stands for a person. */
  issue(user: User, audiences: readonly string[] = [apiAudience]): string {
    return this.#keep({ user: withGroups(user), audiences, expires: Infinity, alive: () => true });
  }

  forServiceAccount(namespace: string, name: string, options: TokenOptions = {}): string {
    const { audiences = [apiAudience], lifetimeMs = 3_600_000, tellsNode = true } = options;
    const account = this.#store.require(core("serviceaccounts"), namespace, name);
    const pod = options.pod === undefined ? undefined : this.#store.require(core("pods"), namespace, options.pod);
    const user = withGroups({
      username: `system:serviceaccount:${namespace}:${name}`,
      ...(account.metadata.uid === undefined ? {} : { uid: account.metadata.uid }),
      groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`],
      extra: {
        "authentication.kubernetes.io/credential-id": [`JTI=${randomUUID()}`],
        ...(pod === undefined ? {} : podExtra(pod, tellsNode)),
      },
    });
    const alive = () => {
      const now = this.#store.get(core("serviceaccounts"), namespace, name);
      if (now?.metadata.uid !== account.metadata.uid) return false;
      return (
        pod === undefined ||
        this.#store.get(core("pods"), namespace, pod.metadata.name)?.metadata.uid === pod.metadata.uid
      );
    };
    return this.#keep({ user, audiences, expires: Date.now() + lifetimeMs, alive });
  }

  /** As a TokenReview has it; without audiences the API's own is meant. */
  review(token: string, wanted: readonly string[] = []): Review {
    const issued = this.#issued.get(token);
    if (issued === undefined) return { authenticated: false, error: "invalid bearer token" };
    if (issued.expires <= Date.now()) return { authenticated: false, error: "service account token has expired" };
    if (!issued.alive()) return { authenticated: false, error: "service account token is not valid yet or any more" };
    const audiences = (wanted.length === 0 ? [apiAudience] : wanted).filter((one) => issued.audiences.includes(one));
    if (audiences.length === 0) return { authenticated: false, error: "token audiences are invalid for the target" };
    return { authenticated: true, user: issued.user, audiences };
  }

  revoke(token: string): void {
    this.#issued.delete(token);
  }

  #keep(issued: Issued): string {
    const token = randomBytes(32).toString("base64url");
    this.#issued.set(token, issued);
    return token;
  }
}

function withGroups(user: User): User {
  return { ...user, groups: [...new Set([...user.groups, "system:authenticated"])] };
}

function podExtra({ metadata, spec }: ApiObject, tellsNode: boolean): Record<string, readonly string[]> {
  const { nodeName } = (spec ?? {}) as { nodeName?: string };
  return {
    "authentication.kubernetes.io/pod-name": [metadata.name],
    "authentication.kubernetes.io/pod-uid": [metadata.uid ?? ""],
    ...(tellsNode && nodeName !== undefined ? { "authentication.kubernetes.io/node-name": [nodeName] } : {}),
  };
}
