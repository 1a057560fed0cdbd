/** The objects that the mesh is made from, listed through a cluster's API with the rights of whoever asks. */
import { z } from "zod";
import { isApiError, type KubernetesApi, type RawObject } from "../../control/kubernetes/api.ts";
import { apiPath, watchedKinds } from "../../control/kubernetes/watched-kinds.ts";

const page = z.looseObject({
  metadata: z.looseObject({ continue: z.string().nullish() }).nullish(),
  items: z.array(z.record(z.string(), z.unknown())),
});

const pageSize = "500";

/** In the order in which control watches them. What a CRD defines may not be there; everything else must be readable. */
export async function listCluster(
  api: KubernetesApi,
  signal: AbortSignal,
  wanted?: ReadonlySet<string>,
): Promise<RawObject[]> {
  const found: RawObject[] = [];
  for (const { kind, apiVersion, plural, optional } of watchedKinds) {
    if (kind === "ServiceAccount" || wanted?.has(kind) === false) continue;
    try {
      // Items of a list don't say what they are.
      for await (const item of listed(api, apiPath(apiVersion, plural), signal))
        found.push({ ...item, apiVersion, kind });
    } catch (error) {
      if (!(optional && isApiError(error, 404))) throw error;
    }
  }
  return found;
}

async function* listed(api: KubernetesApi, path: string, signal: AbortSignal): AsyncGenerator<RawObject> {
  let next = "";
  do {
    const query = { limit: pageSize, ...(next === "" ? {} : { continue: next }) };
    const { metadata, items } = page.parse(await api.call({ method: "GET", path, query }, signal));
    yield* items;
    next = metadata?.continue ?? "";
  } while (next !== "");
}
