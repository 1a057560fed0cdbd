/** Names and labels that the objects share. */
import type { TemplatedObject } from "./knob.ts";
import { releaseNamespace } from "./knob.ts";

export const nodeName = "warren-node";
export const controlName = "warren-control";

export function labels(component: "node" | "control" | "operator"): { readonly [key: string]: string } {
  return {
    "app.kubernetes.io/name": `warren-${component}`,
    "app.kubernetes.io/part-of": "warren",
  };
}

export function metadata(name: string, component: Parameters<typeof labels>[0]): TemplatedObject {
  return { name, namespace: releaseNamespace, labels: labels(component) };
}

/** Of an object without a namespace. */
export function clusterMetadata(name: string, component: Parameters<typeof labels>[0]): TemplatedObject {
  return { name, labels: labels(component) };
}
