/** A running lab's objects: read from the folder that it renders them to, changed through its socket. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { clientOf } from "../../lab/verbs/choose.ts";
import { MeshError } from "../../lib/errors.ts";
import { type EnrolmentMode, modeLabel } from "../../manifests/translate/enrolment.ts";
import {
  type ClusterObjects,
  type EnrollableObject,
  isWorkload,
  referenceOf,
  type WorkloadKind,
  type WorkloadObject,
} from "./cluster-objects.ts";
import type { MeshGround } from "./mesh-client.ts";
import { readPodGround } from "./pod-ground.ts";

interface Templated {
  readonly spec: {
    readonly template: Record<string, unknown> & { readonly metadata?: { readonly labels?: Record<string, string> } };
  };
}

const enrolledMode: EnrolmentMode = "ambient";

const workloadKinds: Readonly<Record<string, WorkloadKind>> = {
  deployment: "Deployment",
  statefulset: "StatefulSet",
  daemonset: "DaemonSet",
};

export function labObjects({ name, folder }: Extract<MeshGround, { kind: "lab" }>): ClusterObjects {
  const lab = clientOf(name);
  const read = async ({
    kind,
    namespace,
    name: object,
  }: EnrollableObject): Promise<Record<string, unknown> | undefined> => {
    const file = `${[kind.toLowerCase(), namespace, object].filter((word) => word !== "").join("_")}.yaml`;
    try {
      return parse(await readFile(join(folder, "cluster", file), "utf8")) as Record<string, unknown>;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  };
  const readThere = async (object: EnrollableObject): Promise<Record<string, unknown>> => {
    const found = await read(object);
    if (found !== undefined) return found;
    throw new MeshError("MESH_LAB_NOT_FOUND", `there is no ${referenceOf(object)} in the lab; see: warren lab status`);
  };
  return {
    setMode: async (object, mode) => {
      if (!isWorkload(object)) {
        const home = object.namespace === "" ? undefined : object.namespace;
        await lab.label(object.kind, home, object.name, { [modeLabel]: mode ?? null });
        return;
      }
      const { spec, ...rest } = (await readThere(object)) as Record<string, unknown> & Templated;
      const { [modeLabel]: _, ...labels } = spec.template.metadata?.labels ?? {};
      const metadata = {
        ...spec.template.metadata,
        labels: mode === undefined ? labels : { ...labels, [modeLabel]: mode },
      };
      const changed = { ...rest, spec: { ...spec, template: { ...spec.template, metadata } } };
      await lab.apply(referenceOf(object), stringify(changed, { aliasDuplicateObjects: false }));
    },
    podGround: async (object) => {
      const found = await readThere(object);
      const home = await read({ kind: "Namespace", namespace: "", name: object.namespace });
      return readPodGround(isWorkload(object) ? (found as unknown as Templated).spec.template : found, object, home);
    },
    labelled: async () => (await lab.labelled(modeLabel)).objects,
    enrolledTemplates: async () => {
      const found: WorkloadObject[] = [];
      for (const file of (await readdir(join(folder, "cluster"))).sort()) {
        const [, word = "", namespace = "", object = ""] = /^([a-z]+)_([^_]+)_([^_]+)\.yaml$/.exec(file) ?? [];
        const kind = workloadKinds[word];
        if (kind === undefined) continue;
        const one = { kind, namespace, name: object };
        const { spec } = ((await read(one)) ?? {}) as Partial<Templated>;
        if (spec?.template.metadata?.labels?.[modeLabel] === enrolledMode) found.push(one);
      }
      return found;
    },
    removeMesh: async (told) => {
      for (const { name: node } of (await lab.status()).nodes) {
        await lab.agent(node, "stop");
        told(`the agent of ${node} has stopped`);
      }
    },
  };
}
