/**
 * Knows agents by bearer tokens from a file, for meshes without Kubernetes: `tokens: {<node>: <SHA-256 of the token, hexadecimal>}`.
 * The file is watched; a bad one is reported and the last good one stays in force, so that a slip of the pen cuts nobody off.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { parse } from "yaml";
import { z } from "zod";
import type { Clock } from "../../lib/clock.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { WatchedFile } from "../../lib/watched-file.ts";
import type { NodeAuthenticator, NodeCaller, Refusal } from "./node-authenticator.ts";

const fileSchema = z.strictObject({
  tokens: z.record(z.string().min(1), z.string().regex(/^[0-9a-f]{64}$/i, "is not a SHA-256 in hexadecimal")),
});

export interface NodeTokensDeps {
  readonly clock: Clock;
  readonly log: { info(fields: object, message: string): void; error(fields: object, message: string): void };
}

/** How soon a new token is taken, and a removed one refused. */
const pollMs = 1000;

export class NodeTokens implements NodeAuthenticator {
  readonly #watch: WatchedFile;
  readonly #deps: NodeTokensDeps;
  readonly #path: string;
  #digests: readonly { readonly node: string; readonly digest: Buffer }[] = [];

  constructor(deps: NodeTokensDeps, options: { readonly path: string }) {
    this.#deps = deps;
    this.#path = options.path;
    this.#watch = new WatchedFile(
      {
        clock: deps.clock,
        onText: (text) => this.#take(text),
        onError: (error) => deps.log.error({ file: this.#path }, `node tokens stay as they were: ${messageOf(error)}`),
      },
      { path: options.path, intervalMs: pollMs },
    );
  }

  /** Rejects with MESH_NODE_TOKENS_INVALID when the file cannot be used. */
  async start(): Promise<void> {
    try {
      await this.#watch.start();
    } catch (error) {
      throw error instanceof MeshError ? error : this.#invalid(messageOf(error), error);
    }
  }

  stop(): void {
    this.#watch.stop();
  }

  authenticate(token: string): Promise<NodeCaller | Refusal> {
    return Promise.resolve(this.#find(token));
  }

  /** Compares with every digest and in constant time, so that timing tells nothing about any of them. */
  #find(token: string): NodeCaller | Refusal {
    if (token === "") return { refused: "no bearer token was shown" };
    const shown = createHash("sha256").update(token).digest();
    let found: string | undefined;
    for (const { node, digest } of this.#digests) if (timingSafeEqual(digest, shown)) found = node;
    return found === undefined ? { refused: `the token is none of those in ${this.#path}` } : { node: found };
  }

  #take(text: string): void {
    let json: unknown;
    try {
      json = parse(text);
    } catch (error) {
      throw this.#invalid(`is not YAML: ${messageOf(error)}`, error);
    }
    const parsed = fileSchema.safeParse(json);
    if (!parsed.success) throw this.#invalid(problems(parsed.error), parsed.error);
    const digests = Object.entries(parsed.data.tokens).map(([node, hex]) => ({
      node,
      digest: Buffer.from(hex, "hex"),
    }));
    const shared = digests.find(({ digest }, index) =>
      digests.slice(0, index).some((other) => other.digest.equals(digest)),
    );
    if (shared !== undefined)
      throw this.#invalid(`tokens.${shared.node}: another node has the same token; each needs its own`);
    this.#digests = digests;
    this.#deps.log.info({ nodes: digests.length, file: this.#path }, "node tokens in force");
  }

  #invalid(why: string, cause?: unknown): MeshError {
    return new MeshError("MESH_NODE_TOKENS_INVALID", `the node token file ${this.#path}: ${why}`, { cause });
  }
}

function problems(error: z.ZodError): string {
  return error.issues.map(({ path, message }) => `${path.join(".") || "file"}: ${message}`).join("; ");
}
