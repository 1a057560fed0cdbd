/**
 * Path templates of AuthorizationPolicy: `{*}` stands for one path segment, `{**}` for zero or more characters of any number of
 * segments and must be the last operator. A value with either is a template; asterisks outside braces are then not allowed.
 */

export function isPathTemplate(value: string): boolean {
  return value.includes("{*}") || value.includes("{**}");
}

/** What is wrong with a path value that has braces; undefined if nothing is. */
export function pathTemplateProblem(value: string): string | undefined {
  const quoted = JSON.stringify(value);
  if (!isPathTemplate(value)) {
    return /[{}]/.test(value) ? `${quoted} has braces that are neither {*} nor {**}` : undefined;
  }
  const rest = value.replaceAll(/\{\*\*?\}/g, "");
  if (/[{}*]/.test(rest)) return `${quoted} mixes a template with other braces or asterisks`;
  const last = value.indexOf("{**}");
  if (last !== -1 && /\{\*\*?\}/.test(value.slice(last + 4))) return `${quoted} has an operator after {**}`;
  if (/[^/]\{\*\}|\{\*\}[^/]|[^/]\{\*\*\}/.test(value)) return `${quoted} has an operator that is not a whole segment`;
  return value.startsWith("/") ? undefined : `${quoted} must start with "/"`;
}

/** A matcher for a template without problems. Only one part can backtrack, so matching is linear in the path. */
export function compilePathTemplate(template: string): (path: string) => boolean {
  const source = template
    .split(/(\{\*\*?\})/)
    .map((part) => {
      if (part === "{*}") return "[^/]+";
      if (part === "{**}") return ".*";
      return part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
    })
    .join("");
  const expression = new RegExp(`^${source}$`, "s");
  return (path) => expression.test(path);
}
