/** `host:port` and `[v6]:port` texts. */

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Undefined unless the text is a host and a port of 0 … 65535; IPv6 addresses need brackets. */
export function parseHostPort(text: string): HostPort | undefined {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]/@]+)):(\d{1,5})$/.exec(text);
  if (parts === null) return undefined;
  const host = parts[1] ?? parts[2] ?? "";
  const port = Number(parts[3]);
  return port <= 65535 ? { host, port } : undefined;
}

/** Brackets an IPv6 host. */
export function formatHostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
