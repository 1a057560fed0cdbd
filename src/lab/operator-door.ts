/** How this machine's user reaches a lab's control plane: a socket that needs no route into its network, a token, and the root to trust. */
import { readdirSync } from "node:fs";
import { join } from "node:path";

/** Of one replica, counted from 1. Unix sockets are found by path from every network namespace. */
export function operatorSocket(folder: string, replica: number): string {
  return join(folder, `operator-${replica}.sock`);
}

/** Of every replica that has run: each knows the agents that are connected to it. */
export function operatorSockets(folder: string): string[] {
  const names = readdirSync(folder).filter((name) => /^operator-\d+\.sock$/.test(name));
  return names.sort().map((name) => join(folder, name));
}

/** Readable by its owner alone, like the folder around it. */
export function operatorTokenFile(folder: string): string {
  return join(folder, "operator-token");
}

export function rootCertificateFile(folder: string): string {
  return join(folder, "root-certificate.pem");
}
