/** Whether a pod, or the pods that a template makes, would be enrolled with a given label: asked of the translators that control runs. */
import { MeshError } from "../../lib/errors.ts";
import { type Enrolment, type EnrolmentMode, modeLabel } from "../../manifests/translate/enrolment.ts";
import { frameSchema, type KubernetesObject } from "../../manifests/translate/metadata.ts";
import { type NamespacePiece, translateNamespace } from "../../manifests/translate/namespace.ts";
import { enrolmentOf, translatePod } from "../../manifests/translate/pod.ts";

type Raw = Readonly<Record<string, unknown>>;

/** What decides whether the pods of an object are enrolled. */
export interface PodGround {
  /** The pod, or one as the template would make it. */
  readonly pod: KubernetesObject;
  /** Undefined when there is none. */
  readonly namespace: NamespacePiece | undefined;
}

/** `found` is a pod, or a pod template, which has no name of its own. */
export function readPodGround(
  found: Raw,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  home: Raw | undefined,
): PodGround {
  const metadata = { ...(found["metadata"] as object | undefined), namespace, name };
  const pod = readFrame({ apiVersion: "v1", kind: "Pod", ...found, metadata });
  const space =
    home === undefined ? undefined : translateNamespace(readFrame({ apiVersion: "v1", kind: "Namespace", ...home }));
  return { pod, namespace: space?.kind === "ok" ? space.value : undefined };
}

function readFrame(raw: Raw): KubernetesObject {
  const frame = frameSchema.safeParse(raw);
  if (!frame.success) throw new MeshError("MESH_OBJECT_UNREADABLE", `an object cannot be read: ${frame.error.message}`);
  const { apiVersion, kind, metadata } = frame.data;
  return { apiVersion, kind, metadata, raw };
}

/** With the label that it has, or with another one. Undefined when the mesh can't read such a pod. */
export function enrolmentWith(
  { pod, namespace }: PodGround,
  label: "as it is" | { readonly mode: EnrolmentMode | undefined },
): Enrolment | undefined {
  const labels = new Map(pod.metadata.labels);
  if (label !== "as it is") {
    if (label.mode === undefined) labels.delete(modeLabel);
    else labels.set(modeLabel, label.mode);
  }
  const translation = translatePod({ ...pod, metadata: { ...pod.metadata, labels } }, pod.metadata.namespace ?? "");
  return translation.kind === "ok" ? enrolmentOf(translation.value, namespace) : undefined;
}
