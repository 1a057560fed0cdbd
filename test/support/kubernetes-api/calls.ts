/** An administrator's calls to any API server, the double or a real one: what tests fill a cluster with. */
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import type { Cluster } from "./cluster.ts";
import type { ApiObject, DraftObject } from "./objects.ts";
import { pathOf, type Resource, resourceOfKind } from "./resources.ts";

export interface CallResult {
  readonly code: number;
  readonly body: Record<string, unknown>;
  /** As `Warning` headers tell them; absent where there is none. */
  readonly warnings?: readonly string[];
}

export class ApiCalls implements Cluster {
  readonly url: string;
  readonly root: string;
  readonly adminToken: string;

  constructor(url: string, root: string, adminToken: string) {
    this.url = url;
    this.root = root;
    this.adminToken = adminToken;
  }

  async apply(...drafts: readonly DraftObject[]): Promise<ApiObject[]> {
    const applied: ApiObject[] = [];
    for (const draft of drafts) applied.push(await this.#applyOne(draft));
    return applied;
  }

  async delete(apiVersion: string, kind: string, namespace: string, name: string): Promise<void> {
    const path = pathOf(this.#resource(apiVersion, kind), namespace, name);
    await this.call("DELETE", `${path}?gracePeriodSeconds=0`);
  }

  async get(apiVersion: string, kind: string, namespace: string, name: string): Promise<ApiObject | undefined> {
    const { code, body } = await this.call("GET", pathOf(this.#resource(apiVersion, kind), namespace, name));
    return code === 200 ? (body as ApiObject) : undefined;
  }

  /** Any call with a body of JSON. */
  call(method: string, path: string, body?: object, type = "application/json"): Promise<CallResult> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const headers = {
        authorization: `Bearer ${this.adminToken}`,
        ...(text === undefined ? {} : { "content-type": type, "content-length": Buffer.byteLength(text) }),
      };
      const call = request(new URL(path, this.url), { method, ca: this.root, headers, agent: false });
      call.on("error", reject);
      call.on("response", (response: IncomingMessage) => {
        let answer = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (answer += chunk));
        response.on("error", reject);
        response.on("end", () => {
          const result = { code: response.statusCode ?? 0, body: bodyOf(answer) };
          const { warning } = response.headersDistinct;
          resolve(warning === undefined ? result : { ...result, warnings: warning });
        });
      });
      call.end(text);
    });
  }

  async #applyOne(draft: DraftObject): Promise<ApiObject> {
    const resource = this.#resource(draft.apiVersion, draft.kind);
    const { namespace = "", name = "" } = draft.metadata;
    const path = pathOf(resource, namespace, name);
    const created = await this.call("POST", pathOf(resource, namespace), draft);
    if (created.code === 409) {
      const { metadata: _frame, status: _status, apiVersion: _version, kind: _kind, ...rest } = draft;
      const patch = { ...rest, metadata: { labels: draft.metadata.labels ?? {} } };
      await this.#must("PATCH", path, patch, "application/merge-patch+json");
    } else if (created.code >= 300) {
      throw new Error(`${draft.kind} ${name}: ${JSON.stringify(created.body)}`);
    }
    if (resource.status && draft["status"] !== undefined) {
      await this.#must("PATCH", `${path}/status`, { status: draft["status"] }, "application/merge-patch+json");
    }
    return (await this.#must("GET", path)) as ApiObject;
  }

  async #must(method: string, path: string, body?: object, type?: string): Promise<Record<string, unknown>> {
    const result = await this.call(method, path, body, type);
    if (result.code >= 300) throw new Error(`${method} ${path}: ${JSON.stringify(result.body)}`);
    return result.body;
  }

  #resource(apiVersion: string, kind: string): Resource {
    const resource = resourceOfKind(apiVersion, kind);
    if (resource === undefined) throw new Error(`no resource is known for ${apiVersion} ${kind}`);
    return resource;
  }
}

/** An API server refuses a path that it does not serve (yet) in plain text: "404 page not found". */
function bodyOf(answer: string): Record<string, unknown> {
  try {
    return JSON.parse(answer) as Record<string, unknown>;
  } catch {
    return { message: answer.trim() };
  }
}
