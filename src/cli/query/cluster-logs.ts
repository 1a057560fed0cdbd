/** What Warren's own pods wrote, with the rights of whoever makes a support archive: control may not read logs, and need not. */
import { join } from "node:path";
import { z } from "zod";
import type { ApiQuery, KubernetesApi } from "../../control/kubernetes/api.ts";
import { isApiError } from "../../control/kubernetes/api.ts";
import { messageOf } from "../../lib/errors.ts";
import { partOfLabel, partOfWarren } from "../../manifests/translate/enrolment.ts";

/** A Kubernetes API of which answers can be had as they came. */
export interface TextApi extends KubernetesApi {
  /** `date` is the server's clock. */
  text(path: string, query: ApiQuery, signal: AbortSignal): Promise<{ readonly text: string; readonly date: string }>;
}

export interface ClusterLogs {
  /** By their path in an archive. */
  readonly logs: readonly { readonly path: string; readonly text: string }[];
  /** Pods as the API tells them, for their restarts and conditions. */
  readonly pods: readonly object[];
  /** What could not be read, and why. */
  readonly missing: readonly { readonly path: string; readonly why: string }[];
}

const container = z.looseObject({ name: z.string() });
const listSchema = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({ name: z.string(), labels: z.record(z.string(), z.string()).nullish() }),
      spec: z.looseObject({
        nodeName: z.string().nullish(),
        containers: z.array(container),
        initContainers: z.array(container).nullish(),
      }),
      status: z
        .looseObject({
          containerStatuses: z.array(z.looseObject({ name: z.string(), restartCount: z.number() })).nullish(),
        })
        .nullish(),
    }),
  ),
});

const largestLog = 16 * 1024 * 1024;

/** Of `nodes` alone when some are named; control's pods always. */
export async function clusterLogs(
  api: TextApi,
  {
    meshNamespace,
    nodes,
    lines,
  }: { readonly meshNamespace: string; readonly nodes: readonly string[]; readonly lines: number },
  signal: AbortSignal,
): Promise<ClusterLogs> {
  const base = `/api/v1/namespaces/${meshNamespace}/pods`;
  const logs: { path: string; text: string }[] = [];
  const missing: { path: string; why: string }[] = [];
  const query = { labelSelector: `${partOfLabel}=${partOfWarren}` };
  let items: z.infer<typeof listSchema>["items"] = [];
  try {
    ({ items } = listSchema.parse(await api.call({ method: "GET", path: base, query }, signal)));
  } catch (error) {
    signal.throwIfAborted();
    missing.push({ path: "logs", why: messageOf(error) });
  }
  const wanted = items.filter(
    ({ metadata, spec }) =>
      nodes.length === 0 ||
      nodes.includes(spec.nodeName ?? "") ||
      metadata.labels?.["app.kubernetes.io/name"] === "warren-control",
  );
  for (const { metadata, spec, status } of wanted) {
    for (const { name } of [...(spec.initContainers ?? []), ...spec.containers]) {
      const restarts = status?.containerStatuses?.find((one) => one.name === name)?.restartCount ?? 0;
      for (const previous of restarts > 0 ? [false, true] : [false]) {
        const path = join("logs", metadata.name, `${name}${previous ? ".previous" : ""}.log`);
        const asked = {
          container: name,
          tailLines: String(lines),
          limitBytes: String(largestLog),
          timestamps: "true",
          ...(previous ? { previous: "true" } : {}),
        };
        try {
          const { text } = await api.text(`${base}/${encodeURIComponent(metadata.name)}/log`, asked, signal);
          logs.push({ path, text });
        } catch (error) {
          signal.throwIfAborted();
          // A log from before a restart is gone when its node has cleaned up.
          if (!(previous && isApiError(error, 400))) missing.push({ path, why: messageOf(error) });
        }
      }
    }
  }
  return {
    logs,
    pods: wanted.map(({ metadata, spec, status }) => ({ metadata, node: spec.nodeName, status })),
    missing,
  };
}
