import { describe, expect, it } from "vitest";
import { podSchema } from "../../../src/lab/cluster/objects.ts";
import { networkQuestion } from "../../../src/lab/kubelet/probe-attempt.ts";
import { initialVerdict, judge } from "../../../src/lab/kubelet/probe-verdict.ts";
import { restartDelayMs, shouldRestart } from "../../../src/lab/kubelet/restart-policy.ts";
import { objectOf } from "../objects.ts";

describe("judge", () => {
  const verdicts = (kind: "readiness" | "liveness" | "startup", results: string) => {
    let verdict = initialVerdict(kind);
    return results.split("").map((result) => {
      verdict = judge(verdict, result === "+", { successThreshold: 2, failureThreshold: 3 });
      return verdict.healthy === undefined ? "?" : verdict.healthy ? "+" : "-";
    });
  };

  it.each([
    ["readiness", "++---++", "-+++--+"],
    ["readiness", "+-+-++", "-----+"],
    ["liveness", "--+---", "+++++-"],
    ["startup", "--+++", "???++"],
    ["startup", "---", "??-"],
  ] as const)("of %s after %s goes %s", (kind, results, expected) => {
    expect(verdicts(kind, results).join("")).toBe(expected);
  });
});

describe("networkQuestion", () => {
  const ask = (probe: string) => {
    const pod = objectOf(
      podSchema,
      `
apiVersion: v1
kind: Pod
metadata: {name: x}
spec: {containers: [{name: c, command: [a], ports: [{name: http, containerPort: 8080}], readinessProbe: ${probe}}]}
`,
    );
    const [container] = pod.spec.containers;
    if (container?.readinessProbe === undefined) throw new Error("no probe");
    return networkQuestion(container.readinessProbe, container, "10.244.1.2");
  };

  it.each([
    ["{tcpSocket: {port: 9000}}", { kind: "tcp", host: "10.244.1.2", port: 9000 }],
    ["{tcpSocket: {port: http}}", { kind: "tcp", host: "10.244.1.2", port: 8080 }],
    ["{tcpSocket: {port: 1, host: 127.0.0.1}}", { kind: "tcp", host: "127.0.0.1", port: 1 }],
    [
      "{httpGet: {port: http, path: /ok, scheme: HTTPS, httpHeaders: [{name: Host, value: a}]}}",
      { kind: "http", host: "10.244.1.2", port: 8080, scheme: "HTTPS", path: "/ok", headers: { Host: "a" } },
    ],
    ["{tcpSocket: {port: unknown}}", undefined],
    ["{}", undefined],
  ])("for %s asks what the kubelet would", (probe, expected) => {
    expect(ask(probe)).toEqual(expected);
  });
});

describe("restart policy", () => {
  it.each([
    ["Always", 0, true],
    ["Always", 1, true],
    ["OnFailure", 0, false],
    ["OnFailure", 1, true],
    ["Never", 1, false],
  ] as const)("%s after exit code %i starts again: %s", (policy, code, expected) => {
    expect(shouldRestart(policy, code)).toBe(expected);
  });

  it("waits longer after each early end, up to a limit, and forgives a long run", () => {
    const waits: number[] = [];
    let failures = 0;
    for (let run = 0; run < 8; run++) {
      const delay = restartDelayMs(failures, 0);
      waits.push(delay.waitMs);
      failures = delay.failures;
    }
    expect(waits).toEqual([200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    expect(restartDelayMs(failures, 60_000)).toEqual({ waitMs: 200, failures: 1 });
  });
});
