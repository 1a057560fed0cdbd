import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import { rotationSteps } from "../../../src/cli/ca/rotation-log.ts";
import {
  Rotation_Phase,
  type RotationSchema,
  StatusSchema,
} from "../../../src/xds/gen/warren/authority/v1/authority_pb.ts";

const oldRoot = "aa".repeat(32);
const newRoot = "bb".repeat(32);
const status = (rotation?: MessageInitShape<typeof RotationSchema>) =>
  create(StatusSchema, rotation === undefined ? {} : { rotation: { oldRoot, newRoot, ...rotation } });
const away = { node: "w2", reason: "its agent is not connected" };
const notBefore = timestampFromMs(Date.UTC(2026, 0, 1));

const trusting = status({ phase: Rotation_Phase.TRUST, waiting: [away], confirmedNodes: ["w1"] });
const trusted = status({ phase: Rotation_Phase.TRUST, confirmedNodes: ["w1", "w2"], notBefore });
const issuing = status({ phase: Rotation_Phase.ISSUE, waiting: [away] });

describe("the log of a rotation", () => {
  test.each<[string, Parameters<typeof rotationSteps>, string[]]>([
    [
      "begins with what happens and who is waited for",
      [undefined, trusting],
      [
        "trust: agents learn the new root bbbbbbbbbbbbbbbb; aaaaaaaaaaaaaaaa issues",
        "waiting: 1 nodes have confirmed, waiting for w2 (its agent is not connected)",
      ],
    ],
    ["says nothing twice", [trusting, trusting], []],
    [
      "tells when nobody is waited for any more, and until when it waits all the same",
      [trusting, trusted],
      ["waiting: every agent has confirmed; the next step comes at 2026-01-01T00:00:00.000Z at the earliest"],
    ],
    [
      "tells of the next step, and who is waited for now",
      [trusted, issuing],
      [
        "issue: bbbbbbbbbbbbbbbb issues; aaaaaaaaaaaaaaaa is trusted until no certificate comes from it",
        "waiting: 0 nodes have confirmed, waiting for w2 (its agent is not connected)",
      ],
    ],
    [
      "ends with the root that is left",
      [issuing, status()],
      ["retired: the old root aaaaaaaaaaaaaaaa is retired; bbbbbbbbbbbbbbbb is the mesh's root"],
    ],
    ["has nothing to say where there is no rotation", [undefined, status()], []],
  ])("%s", (_what, [seen, now], lines) => {
    expect(rotationSteps(seen, now).map(({ step, message }) => `${step}: ${message}`)).toEqual(lines);
  });
});
