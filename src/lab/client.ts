/** Another process's end of a running lab's socket. */
import { request } from "node:http";
import { join } from "node:path";
import { MeshError } from "../lib/errors.ts";
import type { NamespaceKind } from "./machine/launch.ts";
import type { FoundLab } from "./machine/state-folder.ts";
import type { LabelledObject, LabStatus } from "./status.ts";

/** Where a program that is run by hand in a pod lives. */
export interface RemotePlace {
  readonly cgroup: string;
  readonly holder: { readonly pid: number; readonly namespaces: readonly NamespaceKind[] };
  readonly env: Readonly<Record<string, string>>;
}

export class LabClient {
  readonly lab: FoundLab;

  constructor(lab: FoundLab) {
    this.lab = lab;
  }

  status(): Promise<LabStatus> {
    return this.#ask<LabStatus>("GET", "/status");
  }

  place(pod: string): Promise<RemotePlace> {
    return this.#ask<RemotePlace>("GET", "/place", { pod });
  }

  logPath(of: string, container?: string): Promise<{ path: string }> {
    return this.#ask<{ path: string }>("GET", "/log", { of, container });
  }

  async apply(name: string, text: string): Promise<void> {
    await this.#ask("POST", "/apply", { name }, text);
  }

  async delete(kind: string, namespace: string | undefined, name: string): Promise<void> {
    await this.#ask("POST", "/delete", { kind, namespace, name });
  }

  async label(kind: string, namespace: string | undefined, name: string, labels: object): Promise<void> {
    await this.#ask("POST", "/label", { kind, namespace, name }, JSON.stringify(labels));
  }

  /** Namespaces and pods that carry a label. */
  labelled(label: string): Promise<{ objects: readonly LabelledObject[] }> {
    return this.#ask("GET", "/labelled", { label });
  }

  async agent(node: string, action: string): Promise<void> {
    await this.#ask("POST", "/agent", { node, action });
  }

  /** False when the process that owns the lab takes it down itself. */
  async down(): Promise<boolean> {
    return (await this.#ask<{ accepted: boolean }>("POST", "/down")).accepted;
  }

  #ask<T>(
    method: string,
    path: string,
    query: Readonly<Record<string, string | undefined>> = {},
    body = "",
  ): Promise<T> {
    const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return new Promise((resolve, reject) => {
      const asked = request(
        {
          socketPath: join(this.lab.folder, "lab.sock"),
          method,
          path: `${path}?${new URLSearchParams(given).toString()}`,
          agent: false,
        },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (chunk: string) => {
            text += chunk;
          });
          response.on("error", reject);
          response.on("end", () => {
            try {
              const value = JSON.parse(text) as T & { code: `MESH_${string}`; message: string };
              if (response.statusCode === 200) resolve(value);
              else reject(new MeshError(value.code, value.message));
            } catch (cause) {
              reject(cause);
            }
          });
        },
      );
      asked.on("error", (cause) =>
        reject(
          new MeshError(
            "MESH_LAB_UNREACHABLE",
            `lab ${this.lab.id} does not answer; is its process ${this.lab.owner.process.pid} alive?`,
            { cause },
          ),
        ),
      );
      asked.end(body);
    });
  }
}
