import { describe, expect, test } from "vitest";
import { decideOutbound } from "../../src/tunnel/outbound.ts";
import { localPod, mesh, service, workload } from "../mesh/build.ts";
import { api, outside, show, socket, web } from "./verdicts.ts";

describe("decideOutbound", () => {
  const view = mesh({
    workloads: [web, api, outside],
    services: [
      service("api", ["10.96.0.1"], { 80: [{ workload: api.uid, address: "10.0.1.1", targetPort: 8080 }] }),
      service("mixed", ["10.96.0.2"], {
        80: [
          { workload: api.uid, address: "10.0.1.1", targetPort: 8080, weight: 3 },
          { workload: outside.uid, address: "10.0.0.9", targetPort: 8080, weight: 1 },
        ],
      }),
    ],
  });
  const identities = "spiffe://cluster.local/ns/shop/sa/api";

  test.each([
    ["10.96.0.1:80", 0.5, `carry 10.0.1.1:15008/10.0.1.1:8080/${identities} on destination`],
    ["10.0.1.1:99", 0.5, `carry 10.0.1.1:15008/10.0.1.1:99/${identities} on destination`],
    ["10.0.0.9:80", 0.5, "leave 10.0.0.9:80 as itself on destination"],
    ["198.51.100.1:443", 0.5, "leave 198.51.100.1:443 as itself on destination"],
    ["10.96.0.1:81", 0.5, "refuse unknown-service-port on destination"],
    ["10.96.0.2:80", 0.74, `carry 10.0.1.1:15008/10.0.1.1:8080/${identities} on chance`],
    ["10.96.0.2:80", 0.76, "leave 10.0.0.9:8080 as itself on chance"],
  ] as const)("%s with draw %d: %s", (destination, draw, expected) => {
    expect(show(decideOutbound(view, localPod(web), socket(destination), draw))).toBe(expected);
  });

  test("a pod that the mesh does not know is held", () => {
    const stranger = localPod(workload("stranger", "10.0.0.77"));
    expect(decideOutbound(view, stranger, socket("10.0.1.1:80"), 0)).toEqual({ kind: "hold" });
  });

  test("the label names source, Service and every endpoint that may be reached", () => {
    const verdict = decideOutbound(view, localPod(web), socket("10.96.0.1:80"), 0);
    expect(verdict).toMatchObject({
      source: web,
      service: { name: "api" },
      destinations: new Map([["10.0.1.1", api]]),
    });
  });
});
