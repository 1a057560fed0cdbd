/** What a container runs: its manifest's command, arguments and environment, with references resolved as Kubernetes resolves them. */
import { MeshError } from "../../lib/errors.ts";
import type { ConfigMap, Container, Pod } from "../cluster/objects.ts";

export interface ContainerCommand {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface CommandContext {
  readonly pod: Pod;
  readonly configMap: (name: string) => ConfigMap | undefined;
  /** Directories that programs are looked up in. */
  readonly path: string;
}

export function containerCommand(container: Container, context: CommandContext): ContainerCommand {
  const env = containerEnvironment(container, context);
  const argv = [...container.command, ...container.args].map((word) => expand(word, env));
  const { workingDir } = container;
  const { runAsUser, runAsGroup } = { ...context.pod.spec.securityContext, ...container.securityContext };
  return {
    env,
    argv: [
      ...(workingDir === undefined ? [] : ["env", `--chdir=${workingDir}`]),
      ...(runAsUser === undefined && runAsGroup === undefined ? [] : becoming(runAsUser ?? 0, runAsGroup ?? 0)),
      ...argv,
    ],
  };
}

/** A container that is not root has no capabilities, unless its manifest says so: the kernel clears them with the user id. */
function becoming(user: number, group: number): string[] {
  return ["setpriv", `--reuid=${user}`, `--regid=${group}`, "--clear-groups"];
}

export function containerEnvironment(container: Container, context: CommandContext): Record<string, string> {
  const env: Record<string, string> = { PATH: context.path, HOME: "/root", HOSTNAME: context.pod.metadata.name };
  for (const variable of container.env) {
    const value = resolve(variable, context);
    if (value !== undefined) env[variable.name] = expand(value, env);
  }
  return env;
}

function resolve(variable: Container["env"][number], { pod, configMap }: CommandContext): string | undefined {
  const { fieldRef, configMapKeyRef } = variable.valueFrom ?? {};
  if (fieldRef !== undefined) return fieldOf(pod, fieldRef.fieldPath);
  if (configMapKeyRef === undefined) return variable.value ?? "";
  const value = configMap(configMapKeyRef.name)?.data[configMapKeyRef.key];
  if (value === undefined && configMapKeyRef.optional !== true)
    throw new MeshError(
      "MESH_LAB_POD",
      `pod ${pod.metadata.name}: ${variable.name} comes from key ${configMapKeyRef.key} of ConfigMap ${configMapKeyRef.name}, which is not there; apply it`,
    );
  return value;
}

type FieldPath = NonNullable<NonNullable<Container["env"][number]["valueFrom"]>["fieldRef"]>["fieldPath"];

function fieldOf({ metadata, spec, status }: Pod, path: FieldPath): string {
  switch (path) {
    case "metadata.name":
      return metadata.name;
    case "metadata.namespace":
      return metadata.namespace ?? "";
    case "metadata.uid":
      return metadata.uid ?? "";
    case "spec.nodeName":
      return spec.nodeName ?? "";
    case "spec.serviceAccountName":
      return spec.serviceAccountName;
    case "status.hostIP":
      return status?.hostIP ?? "";
    case "status.podIP":
      return status?.podIP ?? "";
    case "status.podIPs":
      return (status?.podIPs ?? []).map(({ ip }) => ip).join(",");
  }
}

/** `$(NAME)` is replaced when NAME is known; `$$(NAME)` stands for the text `$(NAME)`. */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)/g, (whole, name: string | undefined) =>
    name === undefined ? "$" : (env[name] ?? whole),
  );
}
