/** Ports of the mesh itself, inside every enrolled pod's netns (Istio's ambient numbers, so that both meshes' peers meet). */
export const outboundPort = 15001;
export const inboundPort = 15006;
export const hbonePort = 15008;

/** Traffic to these would come back to the listener that it was captured by. */
export function isMeshPort(port: number): boolean {
  return port === outboundPort || port === inboundPort || port === hbonePort;
}

/**
 * Where capture's probes of its own path claim to go to or to come from, by family: blocks that documentation owns (RFC 5737,
 * RFC 3849), so no real traffic has them. On a mesh port such a connection is refused, and nobody's access log has it.
 */
export const selfProbeAddresses = { 4: "192.0.2.1", 6: "2001:db8::1" } as const;

export function isSelfProbeAddress(address: string): boolean {
  return address === selfProbeAddresses[4] || address === selfProbeAddresses[6];
}
