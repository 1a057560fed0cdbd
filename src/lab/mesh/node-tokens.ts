/** The bearer tokens that agents show to the control plane. It gets their hashes alone. */
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";

export interface NodeTokens {
  /** File of SHA-256 hashes by node. */
  readonly hashesPath: string;
  tokenPath(node: string): string;
}

export function makeNodeTokens(folder: string, nodes: readonly string[]): NodeTokens {
  const tokens = join(folder, "tokens");
  mkdirSync(tokens, { recursive: true, mode: 0o700 });
  const tokenPath = (node: string) => join(tokens, node);
  const hashes: Record<string, string> = {};
  for (const node of nodes) {
    const token = randomBytes(32).toString("base64url");
    writeFileSync(tokenPath(node), token, { mode: 0o600 });
    hashes[node] = createHash("sha256").update(token).digest("hex");
  }
  const hashesPath = join(folder, "node-tokens.yaml");
  writeFileSync(hashesPath, stringify({ tokens: hashes }));
  return { hashesPath, tokenPath };
}
