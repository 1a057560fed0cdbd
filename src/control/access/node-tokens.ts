/**
 * Knows agents and operators by bearer tokens from a file, for meshes without Kubernetes: `tokens: {<node>: <SHA-256 of the token,
 * hexadecimal>}` and `operators: {<name>: {token: <SHA-256>, actions: [inspect, …]}}`. The file is watched; a bad one is reported and the last good one stays in force, so that a slip of the pen cuts nobody off.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { parse } from "yaml";
import { z } from "zod";
import type { Clock } from "../../lib/clock.ts";
import { MeshError, messageOf } from "../../lib/errors.ts";
import { WatchedFile } from "../../lib/watched-file.ts";
import type { NodeAuthenticator, NodeCaller, Refusal } from "./node-authenticator.ts";
import {
  type OperatorAction,
  type OperatorAuthenticator,
  type OperatorCaller,
  operatorActions,
} from "./operator-authenticator.ts";

const digest = z.string().regex(/^[0-9a-f]{64}$/i, "is not a SHA-256 in hexadecimal");
const operator = z.strictObject({ token: digest, actions: z.array(z.enum(operatorActions)).min(1) });
const fileSchema = z.strictObject({
  tokens: z.record(z.string().min(1), digest),
  operators: z.record(z.string().min(1), operator).optional(),
});

export interface NodeTokensDeps {
  readonly clock: Clock;
  readonly log: { info(fields: object, message: string): void; error(fields: object, message: string): void };
}

/** How soon a new token is taken, and a removed one refused. */
const pollMs = 1000;

interface KnownOperator extends OperatorCaller {
  readonly digest: Buffer;
  readonly actions: ReadonlySet<OperatorAction>;
}

export class NodeTokens implements NodeAuthenticator, OperatorAuthenticator {
  readonly #watch: WatchedFile;
  readonly #deps: NodeTokensDeps;
  readonly #path: string;
  #nodes: readonly (NodeCaller & { readonly digest: Buffer })[] = [];
  #operators: readonly KnownOperator[] = [];

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
    const found = this.#find(token, this.#nodes);
    return Promise.resolve("refused" in found ? found : { node: found.node });
  }

  authorize(token: string, action: OperatorAction): Promise<OperatorCaller | Refusal> {
    const found = this.#find(token, this.#operators);
    if ("refused" in found) return Promise.resolve(found);
    const { name, actions } = found;
    return Promise.resolve(actions.has(action) ? { name } : { refused: `${name} may not ${action}` });
  }

  /** Compares with every digest and in constant time, so that timing tells nothing about any of them. */
  #find<T extends { readonly digest: Buffer }>(token: string, known: readonly T[]): T | Refusal {
    if (token === "") return { refused: "no bearer token was shown" };
    const shown = createHash("sha256").update(token).digest();
    let found: T | undefined;
    for (const one of known) if (timingSafeEqual(one.digest, shown)) found = one;
    return found ?? { refused: `the token is none of those in ${this.#path}` };
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
    const { tokens, operators = {} } = parsed.data;
    const nodes = Object.entries(tokens).map(([node, hex]) => ({ node, digest: Buffer.from(hex, "hex") }));
    const people = Object.entries(operators).map(([name, { token, actions }]) => {
      return { name, digest: Buffer.from(token, "hex"), actions: new Set(actions) };
    });
    const all = [
      ...nodes.map(({ node, digest: one }) => ({ field: `tokens.${node}`, digest: one })),
      ...people.map(({ name, digest: one }) => ({ field: `operators.${name}`, digest: one })),
    ];
    const shared = all.find((one, index) => all.slice(0, index).some((other) => other.digest.equals(one.digest)));
    if (shared !== undefined)
      throw this.#invalid(`${shared.field}: another node has the same token, or an operator; each needs its own`);
    this.#nodes = nodes;
    this.#operators = people;
    const { log } = this.#deps;
    log.info({ nodes: nodes.length, operators: people.length, file: this.#path }, "node tokens in force");
  }

  #invalid(why: string, cause?: unknown): MeshError {
    return new MeshError("MESH_NODE_TOKENS_INVALID", `the node token file ${this.#path}: ${why}`, { cause });
  }
}

function problems(error: z.ZodError): string {
  return error.issues.map(({ path, message }) => `${path.join(".") || "file"}: ${message}`).join("; ");
}
