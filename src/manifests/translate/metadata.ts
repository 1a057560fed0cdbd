/** `apiVersion`, `kind` and `metadata`: what every object has. Names follow RFC 1123 as Kubernetes reads it. */
import { z } from "zod";

const subdomain = z
  .string()
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, "must be a DNS-1123 name (lower case letters, digits, '-' and '.')");
const label = z
  .string()
  .max(63)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, "must be a DNS-1123 label (lower case letters, digits and '-')");

const texts = z
  .record(z.string(), z.string())
  .nullish()
  .transform((record) => new Map(Object.entries(record ?? {})));

/** RFC 3339 text to Unix milliseconds; absent is 0, "older than anything dated". */
const timestamp = z
  .string()
  .nullish()
  .transform((text, context) => {
    if (text === undefined || text === null) return 0;
    const time = Date.parse(text);
    if (Number.isNaN(time)) context.addIssue({ code: "custom", message: `${JSON.stringify(text)} is not a time` });
    return time;
  });

export const metadataSchema = z.object({
  name: subdomain,
  namespace: label.nullish().transform((namespace) => namespace ?? undefined),
  uid: z
    .string()
    .nullish()
    .transform((uid) => uid ?? undefined),
  labels: texts,
  annotations: texts,
  creationTimestamp: timestamp,
  deletionTimestamp: timestamp,
  ownerReferences: z
    .array(z.object({ kind: z.string(), name: z.string(), controller: z.boolean().nullish() }))
    .nullish()
    .transform((references) => references ?? []),
});

export type Metadata = z.output<typeof metadataSchema>;

/** An object whose frame was read: enough to know what it is and how to name it in a message. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Metadata;
  /** The whole object, still unchecked. */
  readonly raw: { readonly spec?: unknown } & Readonly<Record<string, unknown>>;
}

export const frameSchema = z.object({
  apiVersion: z.string("is missing: every object says its apiVersion"),
  kind: z.string("is missing: every object says its kind"),
  metadata: metadataSchema,
});
