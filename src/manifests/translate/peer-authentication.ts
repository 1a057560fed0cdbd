/**
 * PeerAuthentication, read strictly: a misspelt field would otherwise turn a STRICT into "says nothing". An object that cannot be
 * read is rejected; where there is no earlier version, the safe reading is STRICT for whatever it selects.
 */
import { z } from "zod";
import type { PeerAuthentication } from "../../model/peer-authentication.ts";
import type { KubernetesObject } from "./metadata.ts";
import { readMatchLabels, selectorSchema } from "./selector.ts";
import { type FieldProblem, ok, problemsOf, rejected, type Translation } from "./translation.ts";

const modeSchema = z.enum(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]);
const mtls = z.strictObject({ mode: modeSchema.nullish() }).nullish();

/** Every field that is read; the CRD in `deploy/` must have the same. */
export const peerAuthenticationSpecSchema = z
  .strictObject({
    selector: selectorSchema,
    mtls,
    portLevelMtls: z
      .record(z.string(), mtls)
      .refine((ports) => Object.keys(ports).length > 0, "needs at least one port")
      .nullish(),
  })
  .nullish();

export function translatePeerAuthentication(
  object: KubernetesObject,
  namespace: string,
): Translation<PeerAuthentication> {
  const parsed = peerAuthenticationSpecSchema.safeParse(object.raw.spec);
  if (!parsed.success) {
    const problems = problemsOf(parsed.error).map(({ field, message }) => ({
      field: field === "" ? "spec" : `spec.${field}`,
      message,
    }));
    return rejected(problems, strictReading(object, namespace));
  }
  const spec = parsed.data ?? {};
  const problems: FieldProblem[] = [];
  const matchLabels = readMatchLabels(spec.selector, problems);
  const portModes: PeerAuthentication["portModes"] = new Map(
    Object.entries(spec.portLevelMtls ?? {}).map(([port, setting]) => {
      if (!/^[1-9]\d{0,4}$/.test(port) || Number(port) > 65535) {
        problems.push({ field: `spec.portLevelMtls[${port}]`, message: "must be a port of 1 to 65535" });
      }
      return [Number(port), setting?.mode ?? "UNSET"];
    }),
  );
  if (portModes.size > 0 && (matchLabels === undefined || matchLabels.size === 0)) {
    problems.push({
      field: "spec.portLevelMtls",
      message: "mesh and namespace objects cannot have port modes; add a selector",
    });
  }
  const { name, creationTimestamp } = object.metadata;
  const value: PeerAuthentication = {
    name,
    namespace,
    createdAt: creationTimestamp,
    matchLabels,
    mode: spec.mtls?.mode ?? "UNSET",
    portModes,
  };
  return problems.length > 0 ? rejected(problems, strictReading(object, namespace)) : ok(value);
}

function strictReading(object: KubernetesObject, namespace: string): PeerAuthentication {
  const spec = object.raw.spec;
  const selector = selectorSchema.safeParse(
    typeof spec === "object" && spec !== null ? (spec as { selector?: unknown }).selector : undefined,
  );
  return {
    name: object.metadata.name,
    namespace,
    createdAt: object.metadata.creationTimestamp,
    // A selector that cannot be read either selects the whole namespace.
    matchLabels: selector.success ? readMatchLabels(selector.data, []) : undefined,
    mode: "STRICT",
    portModes: new Map(),
  };
}
