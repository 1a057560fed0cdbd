/**
 * The path as policies see it and as the application gets it: one and the same text, so that nothing can be matched as one path and
 * served as another. What is done is Istio's default (`BASE`): RFC 3986 §6.2.2.2 and §6.2.2.3 (unreserved characters are decoded, dot
 * segments are resolved) and a backslash is a slash. Encoded slashes, double slashes, `;parameters` and letter case stay as they are.
 */

export interface NormalTarget {
  /** Without the query: what policies match. */
  readonly path: string;
  /** With the query, which is passed on untouched. */
  readonly target: string;
}

/** Visible ASCII without the fragment's sign: a fragment never belongs on the wire (RFC 9112 §3.2). */
const targetBytes = /^[!"$-~]+$/;

/**
 * Undefined for what cannot be made one text: bytes that no URI has, a NUL (many an application's language ends there), and a percent
 * sign without two digits. With the latter `%%32%65` would decode into `%2e`, which the application would decode once more.
 */
export function normaliseTarget(target: string): NormalTarget | undefined {
  if (!targetBytes.test(target) || !target.startsWith("/")) return undefined;
  const mark = target.indexOf("?");
  const raw = mark === -1 ? target : target.slice(0, mark);
  const query = mark === -1 ? "" : target.slice(mark);
  if (/%(?![0-9A-Fa-f]{2})|%00/.test(raw)) return undefined;
  const path = raw.includes("%") || raw.includes(".") || raw.includes("\\") ? resolve(decode(raw)) : raw;
  return { path, target: path + query };
}

function decode(path: string): string {
  return path
    .replaceAll(/%[0-9A-Fa-f]{2}/g, (encoded) => {
      const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
      return /[A-Za-z0-9\-._~]/.test(character) ? character : encoded;
    })
    .replaceAll("\\", "/");
}

/** RFC 3986 §5.2.4, on a path that starts with a slash. */
function resolve(path: string): string {
  const segments = path.split("/").slice(1);
  const kept: string[] = [];
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    if (segment === "..") kept.pop();
    else if (segment !== ".") kept.push(segment);
    if (last && (segment === ".." || segment === ".")) kept.push("");
  }
  return `/${kept.join("/")}`;
}
