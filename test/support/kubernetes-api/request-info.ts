/** What a request asks for: path and query to verb, resource, namespace, name. */
import { noSuchPath } from "./failure.ts";

export interface RequestInfo {
  readonly verb: "list" | "watch" | "get" | "create" | "update" | "patch" | "delete";
  readonly group: string;
  readonly version: string;
  readonly namespace: string;
  readonly plural: string;
  readonly name: string;
  readonly subresource: string;
  readonly query: URLSearchParams;
}

const verbs: Readonly<Record<string, RequestInfo["verb"]>> = {
  POST: "create",
  PUT: "update",
  PATCH: "patch",
  DELETE: "delete",
};

export function requestInfo(method: string, url: string): RequestInfo {
  const { pathname, searchParams: query } = new URL(url, "https://api");
  const [, root, ...parts] = pathname.split("/").map(decodeURIComponent);
  const group = root === "apis" ? (parts.shift() ?? "") : "";
  const version = parts.shift() ?? "";
  if ((root !== "api" && root !== "apis") || parts.length === 0) throw noSuchPath();
  let namespace = "";
  // `/namespaces/x` alone is the Namespace itself.
  if (parts[0] === "namespaces" && parts.length > 2) [, namespace = ""] = parts.splice(0, 2);
  const [plural = "", name = "", subresource = ""] = parts;
  const reading = name !== "" ? "get" : query.get("watch") === "true" || query.get("watch") === "1" ? "watch" : "list";
  return { verb: verbs[method] ?? reading, group, version, namespace, plural, name, subresource, query };
}
