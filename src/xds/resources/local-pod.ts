/** The pods that a node's agent enrols: `warren.node.v1.LocalPod`, named by pod UID. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { identityParts } from "../../model/identity.ts";
import type { LocalPod, WorkloadUid } from "../../model/workload.ts";
import { LocalPodSchema, Mode, NetworkPolicy } from "../gen/warren/node/v1/local_pod_pb.ts";
import { checkedAddress, checkedIdentity, checkedName, checkedPort, checkedText, wireAddress } from "./checked.ts";
import { InvalidResource, type NamedResource } from "./resource-types.ts";

export function encodeLocalPod(pod: LocalPod): NamedResource {
  const message = create(LocalPodSchema, {
    uid: pod.uid,
    workload: pod.workload,
    name: pod.name,
    namespace: pod.namespace,
    serviceAccount: pod.serviceAccount,
    trustDomain: identityParts(pod.identity).trustDomain,
    addresses: pod.addresses.map(wireAddress),
    mode: Mode.AMBIENT,
    failOpen: pod.failOpen,
    probePorts: [...pod.probePorts],
    networkPolicy: pod.networkPolicy === undefined ? NetworkPolicy.UNSPECIFIED : networkPolicies[pod.networkPolicy],
  });
  return { name: pod.uid, aliases: [], bytes: toBinary(LocalPodSchema, message) };
}

const networkPolicies = { none: NetworkPolicy.NONE, selected: NetworkPolicy.SELECTED } as const;

/** Undefined for a pod that is to stay outside the mesh. */
export function decodeLocalPod(name: string, bytes: Uint8Array): LocalPod | undefined {
  const message = fromBinary(LocalPodSchema, bytes);
  const uid = checkedText(message.uid, "uid");
  if (uid !== name) throw new InvalidResource(`is named ${JSON.stringify(name)} and says that it is ${uid}`);
  if (message.mode === Mode.NONE) return undefined;
  if (message.mode !== Mode.AMBIENT) throw new InvalidResource(`mode: ${message.mode} is neither AMBIENT nor NONE`);
  const namespace = checkedName(message.namespace, "namespace");
  const serviceAccount = checkedName(message.serviceAccount, "service_account");
  return {
    uid,
    workload: checkedText(message.workload, "workload") as WorkloadUid,
    name: checkedName(message.name, "name"),
    namespace,
    serviceAccount,
    identity: checkedIdentity({ trustDomain: message.trustDomain, namespace, serviceAccount }),
    addresses: message.addresses.map((address, index) => checkedAddress(address, `addresses[${index}]`)),
    failOpen: message.failOpen,
    probePorts: message.probePorts.map((port) => checkedPort(port, "probe_ports")),
    ...networkPolicyOf(message.networkPolicy),
  };
}

function networkPolicyOf(word: NetworkPolicy): Pick<LocalPod, "networkPolicy"> {
  if (word === NetworkPolicy.UNSPECIFIED) return {};
  // A word that we don't know may be a stricter one.
  return { networkPolicy: word === NetworkPolicy.NONE ? "none" : "selected" };
}
