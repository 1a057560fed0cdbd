import { describe, expect, test } from "vitest";
import type { PeerAuthentication, PeerAuthenticationMode } from "../../src/model/peer-authentication.ts";
import { compileModes, modeOfPort } from "../../src/policy/peer-authentication.ts";

const root = "warren-system";
const workload = { namespace: "shop", labels: new Map([["app", "api"]]) };

function policy(overrides: Partial<PeerAuthentication>): PeerAuthentication {
  return {
    name: "default",
    namespace: "shop",
    createdAt: 1,
    matchLabels: undefined,
    mode: "UNSET",
    portModes: new Map(),
    ...overrides,
  };
}

const choices = [undefined, "UNSET", "DISABLE", "PERMISSIVE", "STRICT"] as const;
type Choice = (typeof choices)[number];

/**
 * The documented rule, told another way round: walk from the port outward to the mesh and take the first level that says
 * anything at all; if nobody does, PERMISSIVE.
 */
function oracle(fromPortToMesh: readonly Choice[]): Exclude<PeerAuthenticationMode, "UNSET"> {
  for (const choice of fromPortToMesh) if (choice !== undefined && choice !== "UNSET") return choice;
  return "PERMISSIVE";
}

test("all 625 combinations of mesh, namespace, workload and port give the documented mode", () => {
  let cases = 0;
  for (const mesh of choices)
    for (const namespace of choices)
      for (const selected of choices)
        for (const port of choices) {
          cases += 1;
          const policies: PeerAuthentication[] = [];
          if (mesh !== undefined) policies.push(policy({ namespace: root, mode: mesh }));
          if (namespace !== undefined) policies.push(policy({ mode: namespace }));
          // A port level needs an object with a selector; an absent workload level is then an object that says nothing else.
          if (selected !== undefined || port !== undefined) {
            policies.push(
              policy({
                name: "api",
                matchLabels: workload.labels,
                mode: selected ?? "UNSET",
                portModes: new Map(port === undefined ? [] : [[8080, port]]),
              }),
            );
          }
          const modes = compileModes(policies, workload, root);
          const where = JSON.stringify({ mesh, namespace, selected, port });
          expect(modeOfPort(modes, 8080).mode, where).toBe(oracle([port, selected, namespace, mesh]));
          expect(modeOfPort(modes, 9090).mode, where).toBe(oracle([selected, namespace, mesh]));
        }
  expect(cases).toBe(625);
});

describe("which object decides", () => {
  test("the oldest of a level, whatever the order of arrival, and names break ties of age", () => {
    const older = policy({ name: "z", createdAt: 1, mode: "STRICT" });
    const younger = policy({ name: "a", createdAt: 2, mode: "DISABLE" });
    for (const policies of [
      [older, younger],
      [younger, older],
    ]) {
      expect(compileModes(policies, workload, root).mode).toEqual({ mode: "STRICT", policy: "shop/z" });
    }
    const twin = policy({ name: "a", createdAt: 1, mode: "DISABLE" });
    expect(compileModes([older, twin], workload, root).mode.policy).toBe("shop/a");
  });

  test("the oldest even when it says UNSET: it then inherits, and the younger one is not asked", () => {
    const policies = [
      policy({ name: "old", createdAt: 1, mode: "UNSET" }),
      policy({ name: "young", createdAt: 2, mode: "STRICT" }),
    ];
    expect(compileModes(policies, workload, root).mode).toEqual({ mode: "PERMISSIVE", policy: "" });
  });

  test("objects of other namespaces, of other labels, and selectors in the root namespace do not", () => {
    const policies = [
      policy({ namespace: "other", mode: "STRICT" }),
      policy({ name: "web", matchLabels: new Map([["app", "web"]]), mode: "STRICT" }),
      policy({ namespace: root, matchLabels: workload.labels, mode: "STRICT" }),
    ];
    expect(compileModes(policies, workload, root).mode).toEqual({ mode: "PERMISSIVE", policy: "" });
  });

  test("an empty selector selects the whole namespace", () => {
    expect(compileModes([policy({ matchLabels: new Map(), mode: "STRICT" })], workload, root).mode.mode).toBe("STRICT");
  });

  test("an object in the root namespace is the mesh's, also for workloads of the root namespace", () => {
    const inRoot = { namespace: root, labels: workload.labels };
    expect(compileModes([policy({ namespace: root, mode: "STRICT" })], inRoot, root).mode.mode).toBe("STRICT");
  });

  test("a port that says UNSET names the policy of the level that it inherits from", () => {
    const policies = [
      policy({ mode: "STRICT" }),
      policy({ name: "api", matchLabels: workload.labels, portModes: new Map([[8080, "UNSET"]]) }),
    ];
    expect(modeOfPort(compileModes(policies, workload, root), 8080)).toEqual({
      mode: "STRICT",
      policy: "shop/default",
    });
  });

  test("a workload that says nothing keeps its port's DISABLE under a STRICT parent", () => {
    const policies = [
      policy({ mode: "STRICT" }),
      policy({ name: "api", matchLabels: workload.labels, portModes: new Map([[9090, "DISABLE"]]) }),
    ];
    const modes = compileModes(policies, workload, root);
    expect(modeOfPort(modes, 9090)).toEqual({ mode: "DISABLE", policy: "shop/api" });
    expect(modeOfPort(modes, 8080).mode).toBe("STRICT");
  });
});
