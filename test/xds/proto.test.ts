import { execFileSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { DescMessage } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import {
  AggregatedDiscoveryService,
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
  ResourceSchema,
} from "../../src/xds/gen/envoy/service/discovery/v3/discovery_pb.ts";
import {
  AuthorizationSchema,
  MatchSchema,
  StringMatchSchema,
} from "../../src/xds/gen/istio/security/authorization_pb.ts";
import { IstioCertificateRequestSchema, IstioCertificateService } from "../../src/xds/gen/istio/v1/auth/ca_pb.ts";
import {
  AddressSchema,
  GatewayAddressSchema,
  NetworkAddressSchema,
  ServiceSchema,
  WorkloadSchema,
} from "../../src/xds/gen/istio/workload/workload_pb.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const buf = (...args: string[]) =>
  execFileSync(join(root, "node_modules/.bin/buf"), args, {
    cwd: root,
    env: { ...process.env, PATH: `${join(root, "node_modules/.bin")}:${process.env["PATH"]}` },
    stdio: "pipe",
  });

async function filesUnder(folder: string): Promise<Record<string, string>> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(".ts")).sort();
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), "utf8")] as const)),
  );
}

test("the .proto files are clean, and the committed code is what they generate", async () => {
  buf("lint");
  buf("format", "--diff", "--exit-code");
  const folder = await temporaryFolder();
  for (const [template, generated] of [
    ["buf.gen.yaml", "src/xds/gen"],
    ["buf.gen.cri.yaml", "src/capture/cri/gen"],
  ] as const) {
    buf("generate", "--template", template, "--output", folder);
    expect(await filesUnder(join(folder, generated))).toEqual(await filesUnder(join(root, generated)));
  }
});

const numbers = ({ fields }: DescMessage) => Object.fromEntries(fields.map(({ name, number }) => [name, number]));

describe("field numbers are those that istiod and ztunnel use", () => {
  test.each<[DescMessage, Record<string, number>]>([
    [
      WorkloadSchema,
      {
        name: 1,
        namespace: 2,
        addresses: 3,
        network: 4,
        tunnel_protocol: 5,
        trust_domain: 6,
        service_account: 7,
        waypoint: 8,
        node: 9,
        canonical_name: 10,
        canonical_revision: 11,
        workload_type: 12,
        workload_name: 13,
        native_tunnel: 14,
        authorization_policies: 16,
        status: 17,
        cluster_id: 18,
        network_gateway: 19,
        uid: 20,
        hostname: 21,
        services: 22,
        application_tunnel: 23,
        locality: 24,
        network_mode: 25,
        extensions: 26,
        capacity: 27,
      },
    ],
    [
      ServiceSchema,
      {
        name: 1,
        namespace: 2,
        hostname: 3,
        addresses: 4,
        ports: 5,
        subject_alt_names: 6,
        waypoint: 7,
        load_balancing: 8,
        ip_families: 9,
        extensions: 10,
        canonical: 11,
        ingress_use_waypoint: 12,
        weighted_waypoints: 13,
        visibility: 14,
      },
    ],
    [AddressSchema, { workload: 1, service: 2 }],
    [NetworkAddressSchema, { network: 1, address: 2, length: 3 }],
    [GatewayAddressSchema, { hostname: 1, address: 2, hbone_mtls_port: 3 }],
    [AuthorizationSchema, { name: 1, namespace: 2, scope: 3, action: 4, rules: 5, dry_run: 6, extensions: 7 }],
    [
      MatchSchema,
      {
        namespaces: 1,
        not_namespaces: 2,
        principals: 3,
        not_principals: 4,
        source_ips: 5,
        not_source_ips: 6,
        destination_ips: 7,
        not_destination_ips: 8,
        destination_ports: 9,
        not_destination_ports: 10,
        service_accounts: 11,
        not_service_accounts: 12,
        extensions: 13,
      },
    ],
    [StringMatchSchema, { exact: 1, prefix: 2, suffix: 3, presence: 4 }],
    [
      DeltaDiscoveryRequestSchema,
      {
        node: 1,
        type_url: 2,
        resource_names_subscribe: 3,
        resource_names_unsubscribe: 4,
        initial_resource_versions: 5,
        response_nonce: 6,
        error_detail: 7,
        more: 1000,
      },
    ],
    [
      DeltaDiscoveryResponseSchema,
      {
        system_version_info: 1,
        resources: 2,
        type_url: 4,
        nonce: 5,
        removed_resources: 6,
        control_plane: 7,
        more: 1000,
      },
    ],
    [ResourceSchema, { version: 1, resource: 2, name: 3, aliases: 4, ttl: 6 }],
    [IstioCertificateRequestSchema, { csr: 1, validity_duration: 3, metadata: 4 }],
  ])("%s", (schema, expected) => {
    expect(numbers(schema)).toEqual(expected);
  });

  test("and so are the names of types and calls", () => {
    expect(AddressSchema.typeName).toBe("istio.workload.Address");
    expect(AuthorizationSchema.typeName).toBe("istio.security.Authorization");
    expect(IstioCertificateService.typeName).toBe("istio.v1.auth.IstioCertificateService");
    expect(AggregatedDiscoveryService.typeName).toBe("envoy.service.discovery.v3.AggregatedDiscoveryService");
    expect(AggregatedDiscoveryService.method.deltaAggregatedResources.methodKind).toBe("bidi_streaming");
  });
});
