/**
 * The policies with one and the same selection. They are compiled when a workload falls under them first: most never meet one. A group
 * that grows large is compiled as it grows, so that the first question costs no more than a few policies.
 */
import type { AuthorizationPolicy } from "../../model/authorization.ts";
import { compilePolicy } from "./compiled-policy.ts";
import { PolicySet } from "./policy-set.ts";

/** Whom a policy selects. */
export type Selector = Pick<AuthorizationPolicy, "namespace" | "scope" | "matchLabels" | "targetServices">;

/** Compiled in about a millisecond. */
const compiledAtOnce = 32;

export class PolicyGroup {
  readonly selector: Selector;
  readonly #read: (key: string) => AuthorizationPolicy | undefined;
  /** Keys of policies that wait to be compiled. */
  #waiting: string[] = [];
  #set: PolicySet | undefined;

  /** `read` finds a policy by its key for as long as it is in the group. */
  constructor(selector: Selector, read: (key: string) => AuthorizationPolicy | undefined) {
    this.selector = selector;
    this.#read = read;
  }

  get size(): number {
    return this.#waiting.length + (this.#set?.size ?? 0);
  }

  get set(): PolicySet {
    this.#set ??= new PolicySet();
    for (const key of this.#waiting.splice(0)) {
      const policy = this.#read(key);
      if (policy !== undefined) this.#set.set(compilePolicy(policy));
    }
    return this.#set;
  }

  /** In place of the one with the same key. */
  add(key: string, policy: AuthorizationPolicy): void {
    if (this.#set !== undefined) this.#set.set(compilePolicy(policy));
    else if (this.#waiting.push(key) > compiledAtOnce) void this.set;
  }

  remove(key: string): void {
    this.#set?.remove(key);
    this.#waiting = this.#waiting.filter((other) => other !== key);
  }
}
