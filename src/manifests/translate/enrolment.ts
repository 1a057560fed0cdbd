/** Which pods are part of the mesh: the opt-in label, and the pods that never are. */
import type { FieldProblem } from "./translation.ts";

export const modeLabel = "warren.dev/mode";
/** Warren's own pods say so with Kubernetes' recommended label; capturing them would cut the mesh's own branch. */
export const partOfLabel = "app.kubernetes.io/part-of";
export const partOfWarren = "warren";

export type EnrolmentMode = "ambient" | "none";

/** Another mesh's proxy in the pod would fight over the same traffic. */
export const sidecarAnnotations = ["sidecar.istio.io/status"];
const sidecarContainers = new Set(["istio-proxy", "linkerd-proxy"]);

export type Enrolment =
  | { readonly enrolled: true; readonly because: "pod label" | "namespace label" }
  | {
      readonly enrolled: false;
      readonly because:
        | "no label"
        | "opted out by pod label"
        | "opted out by namespace label"
        | "host network"
        | "part of warren"
        | "has another mesh's sidecar"
        | "finished"
        | "not a Linux pod";
    };

export interface EnrolmentFacts {
  readonly podMode: EnrolmentMode | undefined;
  readonly namespaceMode: EnrolmentMode | undefined;
  readonly hostNetwork: boolean;
  readonly finished: boolean;
  readonly windows: boolean;
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
  readonly containerNames: readonly string[];
}

/** The pod's label wins over the namespace's; what can't or must not be captured never is, whatever the labels say. */
export function enrolment(pod: EnrolmentFacts): Enrolment {
  if (pod.finished) return { enrolled: false, because: "finished" };
  if (pod.hostNetwork) return { enrolled: false, because: "host network" };
  if (pod.windows) return { enrolled: false, because: "not a Linux pod" };
  if (pod.labels.get(partOfLabel) === partOfWarren) return { enrolled: false, because: "part of warren" };
  if (
    sidecarAnnotations.some((annotation) => pod.annotations.has(annotation)) ||
    pod.containerNames.some((name) => sidecarContainers.has(name))
  ) {
    return { enrolled: false, because: "has another mesh's sidecar" };
  }
  if (pod.podMode === "none") return { enrolled: false, because: "opted out by pod label" };
  if (pod.podMode === "ambient") return { enrolled: true, because: "pod label" };
  if (pod.namespaceMode === "none") return { enrolled: false, because: "opted out by namespace label" };
  if (pod.namespaceMode === "ambient") return { enrolled: true, because: "namespace label" };
  return { enrolled: false, because: "no label" };
}

/** The label's value; anything but the two known words is a problem and counts as no label. */
export function readMode(value: string | undefined, problems: FieldProblem[]): EnrolmentMode | undefined {
  if (value === undefined || value === "ambient" || value === "none") return value;
  problems.push({
    field: `metadata.labels[${modeLabel}]`,
    message: `${JSON.stringify(value)} is neither "ambient" nor "none"; read as no label`,
  });
  return undefined;
}
