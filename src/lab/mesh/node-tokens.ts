/** The bearer tokens that agents, and the lab's user, show to the control plane. It gets their hashes alone. */
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { operatorTokenFile } from "../operator-door.ts";

export interface NodeTokens {
  /** File of SHA-256 hashes by node. */
  readonly hashesPath: string;
  tokenPath(node: string): string;
}

export function makeNodeTokens(folder: string, nodes: readonly string[]): NodeTokens {
  const tokens = join(folder, "tokens");
  mkdirSync(tokens, { recursive: true, mode: 0o700 });
  const tokenPath = (node: string) => join(tokens, node);
  const hashes = Object.fromEntries(nodes.map((node) => [node, makeToken(tokenPath(node))]));
  const operator = makeToken(operatorTokenFile(folder));
  const hashesPath = join(folder, "node-tokens.yaml");
  const actions = ["inspect", "manage-agents", "manage-authority"];
  writeFileSync(hashesPath, stringify({ tokens: hashes, operators: { lab: { token: operator, actions } } }));
  return { hashesPath, tokenPath };
}

/** The SHA-256 of a new token, which only its file holds. */
function makeToken(path: string): string {
  const token = randomBytes(32).toString("base64url");
  writeFileSync(path, token, { mode: 0o600 });
  return createHash("sha256").update(token).digest("hex");
}
