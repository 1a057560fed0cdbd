import { describe, expect, it } from "vitest";
import { configMapSchema, type Pod, podSchema } from "../../../src/lab/cluster/objects.ts";
import { containerCommand, containerEnvironment, expand } from "../../../src/lab/kubelet/container-command.ts";
import { objectOf, podOf, runningPod } from "../objects.ts";

const settings = objectOf(
  configMapSchema,
  "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: red}}",
);

function context(pod: Pod) {
  return { pod, path: "/bin", configMap: (name: string) => (name === "settings" ? settings : undefined) };
}

function containerOf(pod: Pod, fields: string) {
  const [container] = podOf(pod.metadata.name, {}).spec.containers;
  const [given] = objectOf(
    podSchema,
    `{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: main, command: [serve], ${fields}}]}}`,
  ).spec.containers;
  if (container === undefined || given === undefined) throw new Error("no container");
  return given;
}

describe("containerEnvironment", () => {
  const pod = runningPod("web-1", ["10.244.1.2", "fd00:10:244:1::2"]);
  const envOf = (env: string) => containerEnvironment(containerOf(pod, `env: ${env}`), context(pod));

  it("starts from a small environment of its own, nothing of the lab's", () => {
    expect(envOf("[]")).toEqual({ PATH: "/bin", HOME: "/root", HOSTNAME: "web-1" });
  });

  it.each([
    ["metadata.name", "web-1"],
    ["metadata.namespace", "production"],
    ["metadata.uid", "uid-of-web-1"],
    ["spec.nodeName", "node-1"],
    ["spec.serviceAccountName", "default"],
    ["status.podIP", "10.244.1.2"],
    ["status.podIPs", "10.244.1.2,fd00:10:244:1::2"],
    ["status.hostIP", "172.18.1.1"],
  ])("resolves the field %s", (fieldPath, value) => {
    expect(envOf(`[{name: X, valueFrom: {fieldRef: {fieldPath: ${fieldPath}}}}]`)["X"]).toBe(value);
  });

  it("resolves keys of ConfigMaps, and says which one is missing", () => {
    const of = (name: string, more = "") =>
      envOf(`[{name: X, valueFrom: {configMapKeyRef: {name: ${name}, key: color${more}}}}]`)["X"];
    expect(of("settings")).toBe("red");
    expect(of("absent", ", optional: true")).toBeUndefined();
    expect(() => of("absent")).toThrow(/key color of ConfigMap absent/);
  });

  it("lets later variables use earlier ones", () => {
    expect(envOf("[{name: A, value: one}, {name: B, value: $(A)-two}]")["B"]).toBe("one-two");
  });
});

describe("expand", () => {
  it.each([
    ["$(A)", "1"],
    ["x$(A)y$(B)", "x1y2"],
    ["$(UNKNOWN)", "$(UNKNOWN)"],
    ["$$(A)", "$(A)"],
    ["$A ()", "$A ()"],
  ])("makes %s into %s", (text, expected) => {
    expect(expand(text, { A: "1", B: "2" })).toBe(expected);
  });
});

describe("containerCommand", () => {
  const pod = podOf("web-1");
  it.each([
    ["command and arguments", "args: [--name, $(HOSTNAME)]", ["serve", "--name", "web-1"]],
    ["a working directory", "workingDir: /tmp", ["env", "--chdir=/tmp", "serve"]],
    [
      "a user",
      "securityContext: {runAsUser: 65534, runAsGroup: 65533}",
      ["setpriv", "--reuid=65534", "--regid=65533", "--clear-groups", "serve"],
    ],
  ])("runs %s", (_, fields, argv) => {
    expect(containerCommand(containerOf(pod, fields), context(pod)).argv).toEqual(argv);
  });
});
