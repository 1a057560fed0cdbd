/** Requests that are answered and not kept: TokenReview, SubjectAccessReview, TokenRequest. */
import { badRequest, noSuchPath } from "./failure.ts";
import type { ApiObject } from "./objects.ts";
import type { AccessRules, User } from "./rbac.ts";
import type { Tokens } from "./tokens.ts";

interface TokenReviewSpec {
  readonly token?: string;
  readonly audiences?: readonly string[];
}

interface SubjectAccessReviewSpec {
  readonly user?: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
  readonly resourceAttributes?: {
    readonly verb?: string;
    readonly group?: string;
    readonly resource?: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
}

interface TokenRequestSpec {
  readonly audiences?: readonly string[];
  readonly expirationSeconds?: number;
  readonly boundObjectRef?: { readonly kind: string; readonly name: string };
}

export const reviewPlurals: ReadonlyMap<string, string> = new Map([
  ["tokenreviews", "authentication.k8s.io"],
  ["subjectaccessreviews", "authorization.k8s.io"],
  ["selfsubjectaccessreviews", "authorization.k8s.io"],
]);

export function review(plural: string, body: ApiObject, caller: User, tokens: Tokens, rules: AccessRules): object {
  switch (plural) {
    case "tokenreviews": {
      const { token = "", audiences } = (body["spec"] ?? {}) as TokenReviewSpec;
      if (token === "") throw badRequest("token is required for TokenReview in authentication");
      return { ...body, status: tokens.review(token, audiences) };
    }
    case "subjectaccessreviews":
    case "selfsubjectaccessreviews": {
      const spec = (body["spec"] ?? {}) as SubjectAccessReviewSpec;
      const { user = "", groups = [], resourceAttributes: wanted } = spec;
      if (wanted === undefined) throw badRequest("resourceAttributes is required here");
      const subject = plural.startsWith("self") ? caller : { username: user, groups };
      const { verb = "", group = "", resource = "", subresource = "", namespace = "", name = "" } = wanted;
      const allowed = rules.allows(subject, {
        verb,
        group,
        resource: subresource === "" ? resource : `${resource}/${subresource}`,
        namespace,
        name,
      });
      return { ...body, status: allowed ? { allowed, reason: "RBAC" } : { allowed, reason: "" } };
    }
    default:
      throw noSuchPath();
  }
}

export function requestToken(namespace: string, account: string, body: ApiObject, tokens: Tokens): object {
  const { audiences, expirationSeconds = 3600, boundObjectRef } = (body["spec"] ?? {}) as TokenRequestSpec;
  if (expirationSeconds < 600)
    throw badRequest("spec.expirationSeconds: may not specify a duration less than 10 minutes");
  const token = tokens.forServiceAccount(namespace, account, {
    lifetimeMs: expirationSeconds * 1000,
    ...(audiences === undefined || audiences.length === 0 ? {} : { audiences }),
    ...(boundObjectRef?.kind === "Pod" ? { pod: boundObjectRef.name } : {}),
  });
  const expirationTimestamp = new Date(Date.now() + expirationSeconds * 1000).toISOString();
  return { ...body, status: { token, expirationTimestamp } };
}
