/** Ports of the mesh itself, inside every enrolled pod's netns (Istio's ambient numbers, so that both meshes' peers meet). */
export const outboundPort = 15001;
export const inboundPort = 15006;
export const hbonePort = 15008;

/** Traffic to these would come back to the listener that it was captured by. */
export function isMeshPort(port: number): boolean {
  return port === outboundPort || port === inboundPort || port === hbonePort;
}
