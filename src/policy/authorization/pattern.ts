/** String values of AuthorizationPolicies: exact, `abc*` (prefix), `*abc` (suffix), `*` (present, that is not empty). */

export type Pattern =
  | { readonly kind: "exact" | "prefix" | "suffix"; readonly text: string }
  | { readonly kind: "presence" };

export function parsePattern(value: string): Pattern {
  if (value === "*") return { kind: "presence" };
  if (value.endsWith("*")) return { kind: "prefix", text: value.slice(0, -1) };
  if (value.startsWith("*")) return { kind: "suffix", text: value.slice(1) };
  return { kind: "exact", text: value };
}

export function matchesPattern(pattern: Pattern, text: string): boolean {
  switch (pattern.kind) {
    case "exact":
      return text === pattern.text;
    case "prefix":
      return text.startsWith(pattern.text);
    case "suffix":
      return text.endsWith(pattern.text);
    case "presence":
      return text !== "";
  }
}

/** Principals are written without the scheme; with it they would never match anything, which nobody means. */
export function parsePrincipal(value: string): Pattern {
  return parsePattern(value.startsWith("spiffe://") ? value.slice("spiffe://".length) : value);
}
