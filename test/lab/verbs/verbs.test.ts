import { describe, expect, it } from "vitest";
import type { FoundLab } from "../../../src/lab/machine/state-folder.ts";
import type { LabStatus } from "../../../src/lab/status.ts";
import { chooseLab } from "../../../src/lab/verbs/choose.ts";
import { parseLabels } from "../../../src/lab/verbs/manifests.ts";
import { renderStatus } from "../../../src/lab/verbs/status.ts";
import { columns } from "../../../src/lib/columns.ts";

function labOf(id: string, kind: "supervisor" | "program" = "supervisor", alive = true): FoundLab {
  const process = { pid: 1, startTime: "1", bootId: "b" };
  return { id, folder: `/run/${id}`, alive, owner: { process, kind, cgroup: `/c/${id}`, createdAt: "" } };
}

describe("chooseLab", () => {
  it("takes the only one", () => {
    expect(chooseLab([labOf("a"), labOf("dead", "supervisor", false)], undefined).id).toBe("a");
  });

  it("prefers one that was left running to tests under way", () => {
    expect(chooseLab([labOf("t", "program"), labOf("a"), labOf("u", "program")], undefined).id).toBe("a");
  });

  it("takes a test's when there is no other", () => {
    expect(chooseLab([labOf("t", "program")], undefined).id).toBe("t");
  });

  it("takes the named one, also a dead one", () => {
    expect(chooseLab([labOf("a"), labOf("b", "supervisor", false)], "b").id).toBe("b");
  });

  it.each([
    [[], undefined, /no lab is up here; make one: warren lab up/],
    [[labOf("a"), labOf("b")], undefined, /several labs are up: a, b; say which with --name/],
    [[labOf("a")], "x", /no lab named x; labs here: a/],
  ])("says what to do when there is no choice (%#)", (labs, name, expected) => {
    expect(() => chooseLab(labs, name)).toThrow(expected);
  });
});

describe("parseLabels", () => {
  it("sets, empties and removes", () => {
    expect(parseLabels(["a=b", "c=", "warren.dev/mode-", "d=e=f"])).toEqual({
      a: "b",
      c: "",
      "warren.dev/mode": null,
      d: "e=f",
    });
  });

  it("refuses anything else", () => {
    expect(() => parseLabels(["a"])).toThrow(/neither key=value nor key-/);
  });
});

describe("renderStatus", () => {
  it("lines columns up", () => {
    expect(
      columns([
        ["A", "B"],
        ["long", "b"],
        ["x", ""],
      ]),
    ).toEqual(["A      B", "long   b", "x"]);
  });

  it("shows a pod that goes, and an agent that was stopped", () => {
    const status: LabStatus = {
      id: "a",
      folder: "/run/a",
      nodes: [{ name: "node-1", ips: ["172.18.1.1"] }],
      services: [],
      mesh: [{ name: "agent/node-1", pid: undefined, ready: false, log: "/l" }],
      pods: [
        {
          namespace: "production",
          name: "web",
          uid: "u",
          node: "node-1",
          serviceAccount: "default",
          labels: {},
          ips: [],
          phase: "Running",
          ready: false,
          going: true,
          restarts: 3,
          startedAt: "",
          probed: false,
          probeSuccesses: 0,
          netnsPath: undefined,
          cgroup: undefined,
        },
      ],
    };
    const text = renderStatus(status).join("\n");
    expect(text).toMatch(/node-1 +172\.18\.1\.1 +stopped +-/);
    expect(text).toMatch(/production +web +node-1 +Terminating +no +3 +-$/m);
    expect(renderStatus(status, true).join("\n")).toMatch(/production +web .* +default +u$/m);
  });
});
