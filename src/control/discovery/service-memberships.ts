/**
 * Services turned round: what each workload is to the Services that it stands behind, and the endpoints that are no workloads. Kept is
 * only what tells whether something is different; what a workload is to its Services is asked of the mesh when it is to be told.
 */
import { type MeshIndex, serviceKey } from "../../mesh/mesh-index.ts";
import type { Service } from "../../model/service.ts";
import type { Workload, WorkloadUid } from "../../model/workload.ts";
import {
  externalEndpointName,
  type MemberEndpoint,
  type Memberships,
  noMemberships,
} from "../../xds/resources/workload.ts";

export interface ServiceMembers {
  readonly service: Service;
  readonly key: string;
  readonly view: Pick<MeshIndex, "members" | "endpoints" | "settings">;
}

export interface ExternalEndpoint {
  readonly service: { readonly namespace: string; readonly name: string; readonly key: string };
  readonly address: string;
  readonly endpoints: readonly MemberEndpoint[];
}

export interface MembershipChange {
  /** Workloads for which something is different. */
  readonly workloads: Iterable<WorkloadUid>;
  /** By the name of their resource: address and ways to reach it. */
  readonly external: ReadonlyMap<string, ExternalEndpoint>;
  /** Names of external endpoints that are no more. */
  readonly gone: readonly string[];
}

interface Known {
  readonly members: ReadonlyMap<WorkloadUid, string>;
  readonly external: ReadonlySet<string>;
}

/** What the workload is to its Services now. */
export function membershipsOf(workload: Workload, view: Pick<MeshIndex, "servicesOf" | "endpoints">): Memberships {
  const memberships = new Map<string, MemberEndpoint[]>();
  for (const service of view.servicesOf(workload)) {
    const found: MemberEndpoint[] = [];
    for (const { port } of service.ports) {
      for (const { workload: uid, ...endpoint } of view.endpoints(service, port) ?? []) {
        if (uid === workload.uid) found.push({ port, ...endpoint });
      }
    }
    memberships.set(serviceKey(service), found);
  }
  return memberships.size === 0 ? noMemberships : memberships;
}

export class ServiceMemberships {
  readonly #services = new Map<string, Known>();
  /** Keys of the Services that a workload stands behind: nearly always one. */
  readonly #owners = new Map<string, string | readonly string[]>();
  /** The Service of each endpoint that is no workload, by the name of its resource. */
  readonly #externals = new Map<string, string>();

  /** Names of the resources behind a Service. */
  *members(key: string): Iterable<string> {
    const known = this.#services.get(key);
    if (known === undefined) return;
    yield* known.members.keys();
    yield* known.external;
  }

  /** Keys of the Services that a resource is behind. */
  *owners(name: string): Iterable<string> {
    yield* keysOf(this.#owners.get(name));
    const service = this.#externals.get(name);
    if (service !== undefined) yield service;
  }

  /** Undefined members: the Service is gone. */
  update(key: string, now: ServiceMembers | undefined): MembershipChange {
    const before = this.#services.get(key);
    const workloads = new Map<WorkloadUid, MemberEndpoint[]>();
    const external = new Map<string, MemberEndpoint[]>();
    if (now !== undefined) gather(now, workloads, external);
    const texts = new Map([...workloads].map(([uid, list]) => [uid, JSON.stringify(list)]));
    const changed: WorkloadUid[] = [];
    for (const [uid, text] of texts) {
      if (before?.members.get(uid) === text) continue;
      changed.push(uid);
      if (before?.members.has(uid) !== true) this.#own(uid, [...keysOf(this.#owners.get(uid)), key]);
    }
    for (const uid of before?.members.keys() ?? []) {
      if (texts.has(uid)) continue;
      changed.push(uid);
      this.#own(
        uid,
        keysOf(this.#owners.get(uid)).filter((other) => other !== key),
      );
    }
    const found = new Map<string, ExternalEndpoint>();
    if (now !== undefined) {
      const service = { ...now.service, key };
      for (const [address, endpoints] of external) {
        const name = externalEndpointName(now.view.settings.cluster, service, address);
        found.set(name, { service, address, endpoints });
      }
    }
    const gone = [...(before?.external ?? [])].filter((name) => !found.has(name));
    for (const name of gone) this.#externals.delete(name);
    for (const name of found.keys()) this.#externals.set(name, key);
    if (now === undefined) this.#services.delete(key);
    else this.#services.set(key, { members: texts, external: new Set(found.keys()) });
    return { workloads: changed, external: found, gone };
  }

  #own(uid: WorkloadUid, keys: readonly string[]): void {
    const [first, second] = keys;
    if (first === undefined) this.#owners.delete(uid);
    else this.#owners.set(uid, second === undefined ? first : keys);
  }
}

function keysOf(owners: string | readonly string[] | undefined): readonly string[] {
  if (owners === undefined) return [];
  return typeof owners === "string" ? [owners] : owners;
}

function gather(
  { service, view }: ServiceMembers,
  workloads: Map<WorkloadUid, MemberEndpoint[]>,
  external: Map<string, MemberEndpoint[]>,
): void {
  for (const uid of view.members(service)) workloads.set(uid, []);
  for (const { port } of service.ports) {
    for (const { workload, ...endpoint } of view.endpoints(service, port) ?? []) {
      const member = { port, ...endpoint };
      if (workload === undefined) external.set(endpoint.address, [...(external.get(endpoint.address) ?? []), member]);
      else workloads.set(workload, [...(workloads.get(workload) ?? []), member]);
    }
  }
}
