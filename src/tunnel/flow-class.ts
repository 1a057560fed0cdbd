/** Open flows put together by what policy sees of them. The native engine does the same in `core/flow_classes.cc`. */
import type { FlowClass, FlowId, FlowRow } from "./engine.ts";

export function classesOf(rows: Iterable<FlowRow>): Iterable<FlowClass> {
  const classes = new Map<string, { readonly row: FlowRow; readonly flows: FlowId[] }>();
  for (const row of rows) {
    const key = classKey(row);
    const known = classes.get(key);
    if (known === undefined) classes.set(key, { row, flows: [row.flow] });
    else known.flows.push(row.flow);
  }
  return classes.values();
}

function classKey({ pod, role, peer, source, destination, target, label }: FlowRow): string {
  const alike = `${pod} ${role} ${peer} ${source.address} ${destination.address} ${destination.port}`;
  // Where an outbound flow went, and whether it was joined without a tunnel, only its label tells.
  return role === "outbound" ? `${alike} ${label} ${target?.address} ${target?.port}` : alike;
}
