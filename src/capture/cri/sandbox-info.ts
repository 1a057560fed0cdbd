/**
 * Where a sandbox's netns is, from what its runtime tells with `verbose`: the JSON text under `info`. containerd and CRI-O agree on
 * `runtimeSpec`, the OCI configuration, whose network namespace has a path when the runtime made it before the sandbox's process; and on
 * `pid`, which CRI-O leaves at 0 for sandboxes without a process.
 */

/** Undefined when the text says nothing of it. `procRoot` is the host's /proc. */
export function netnsPathOf(info: string, procRoot: string): string | undefined {
  const told = parsed(info);
  const path = networkPath(field(told, "runtimeSpec"));
  if (path !== undefined) return path;
  const pid = field(told, "pid");
  return typeof pid === "number" && Number.isInteger(pid) && pid > 0 ? `${procRoot}/${pid}/ns/net` : undefined;
}

function networkPath(runtimeSpec: unknown): string | undefined {
  const namespaces = field(field(runtimeSpec, "linux"), "namespaces");
  if (!Array.isArray(namespaces)) return undefined;
  const network: unknown = namespaces.find((namespace: unknown) => field(namespace, "type") === "network");
  const path = field(network, "path");
  return typeof path === "string" && path.startsWith("/") ? path : undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
