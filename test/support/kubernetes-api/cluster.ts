/**
 * A cluster API for a test: the double, or where `KUBEBUILDER_ASSETS` names a folder with `kube-apiserver` and `etcd` the real thing
 * as well. Both are reached through kubeconfigs and filled through their own API, so that a test need not know which it has.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { temporaryFolder } from "../temporary-folder.ts";
import { ApiServer, type ApiServerOptions } from "./api-server.ts";
import { ApiCalls } from "./calls.ts";
import type { ApiObject, DraftObject } from "./objects.ts";
import { realCluster } from "./real-api-server.ts";

export interface Cluster {
  readonly url: string;
  /** PEM. */
  readonly root: string;
  readonly adminToken: string;
  /** Creates or replaces, status included. */
  apply(...drafts: readonly DraftObject[]): Promise<ApiObject[]>;
  delete(apiVersion: string, kind: string, namespace: string, name: string): Promise<void>;
  get(apiVersion: string, kind: string, namespace: string, name: string): Promise<ApiObject | undefined>;
}

/** The double alone, for what only it can do; stopped when the test ends. */
export async function startApiServer(
  options: ApiServerOptions = {},
): Promise<ApiServer & { readonly adminToken: string }> {
  const api = new ApiServer(options);
  await api.start();
  onTestFinished(() => api.stop());
  const adminToken = api.tokens.issue({ username: "kubernetes-admin", groups: ["system:masters"] });
  return Object.assign(api, { adminToken });
}

/** For a test against each of them: a real API server alone takes seconds to start, many where others want the processors too. */
export const clusterTimeout = { timeout: 180_000 } as const;

/** Every kind of cluster that this machine can run. */
export const clusterKinds: readonly { readonly name: string; readonly start: () => Promise<Cluster> }[] = [
  {
    name: "the double",
    start: async () => {
      const api = await startApiServer();
      return new ApiCalls(api.url, api.root, api.adminToken);
    },
  },
  ...(process.env["KUBEBUILDER_ASSETS"] === undefined
    ? []
    : [{ name: "a real API server", start: () => realCluster(process.env["KUBEBUILDER_ASSETS"] ?? "") }]),
];

/** Path of a kubeconfig with one cluster, one user and the context `test`. */
export async function kubeconfig(
  cluster: { readonly url: string; readonly root: string },
  user: { readonly token?: string; readonly certificate?: string; readonly key?: string },
): Promise<string> {
  const file = join(await temporaryFolder(), "kubeconfig");
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const { token, certificate, key } = user;
  const config = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "test",
    clusters: [
      { name: "cluster", cluster: { server: cluster.url, "certificate-authority-data": base64(cluster.root) } },
    ],
    users: [
      {
        name: "user",
        user: {
          ...(token === undefined ? {} : { token }),
          ...(certificate === undefined ? {} : { "client-certificate-data": base64(certificate) }),
          ...(key === undefined ? {} : { "client-key-data": base64(key) }),
        },
      },
    ],
    contexts: [{ name: "test", context: { cluster: "cluster", user: "user" } }],
  };
  await writeFile(file, JSON.stringify(config), { mode: 0o600 });
  return file;
}
