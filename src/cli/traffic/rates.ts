/** How much moved between two looks at the mesh. Pure. */
import type { MeshView } from "../../model/mesh.ts";
import type { Column, Listing } from "../output/listing.ts";
import { bytesText } from "../output/words.ts";
import type { SecurityWord } from "../query/connection-rows.ts";
import { type EdgeEnd, edgeRows, endName } from "./edge-rows.ts";
import { keyOfRow, type SeenRow } from "./gather.ts";

export interface TopRow {
  readonly source: EdgeEnd;
  readonly destination: EdgeEnd;
  readonly port: number;
  readonly security: SecurityWord;
  readonly open: number;
  /** Per second, over the interval. */
  readonly connections: number;
  readonly refused: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

/** What was last heard of each row, also of nodes that do not answer just now: they have not begun anew. */
export function remembered(
  before: ReadonlyMap<string, SeenRow>,
  rows: readonly SeenRow[],
): ReadonlyMap<string, SeenRow> {
  return new Map([...before, ...rows.map((row) => [keyOfRow(row), row] as const)]);
}

/** Counts of the rows are what was added since `before`; a count that fell was begun anew, by an agent that restarted. */
export function addedSince(before: ReadonlyMap<string, SeenRow>, after: readonly SeenRow[]): SeenRow[] {
  return after.map((row) => {
    const old = before.get(keyOfRow(row));
    const since = (of: (row: SeenRow) => number) => {
      const had = old === undefined ? 0 : of(old);
      return of(row) >= had ? of(row) - had : of(row);
    };
    return {
      ...row,
      connections: since(({ connectionsTotal }) => connectionsTotal),
      refused: since(({ refusedTotal }) => refusedTotal),
      bytesSent: since(({ bytesSent }) => bytesSent),
      bytesReceived: since(({ bytesReceived }) => bytesReceived),
    };
  });
}

/** Edges with something open or moving, the busiest first. */
export function topRows(
  view: MeshView,
  before: ReadonlyMap<string, SeenRow>,
  after: readonly SeenRow[],
  seconds: number,
): TopRow[] {
  return edgeRows(view, addedSince(before, after))
    .map(
      ({ source, destination, port, security, open, connections, refused, bytesSent, bytesReceived }): TopRow => ({
        source,
        destination,
        port,
        security,
        open,
        connections: connections / seconds,
        refused: refused / seconds,
        bytesSent: bytesSent / seconds,
        bytesReceived: bytesReceived / seconds,
      }),
    )
    .filter((row) => row.open + row.connections + row.refused + row.bytesSent + row.bytesReceived > 0)
    .sort((one, other) => weight(other) - weight(one));
}

function weight({ bytesSent, bytesReceived, connections, open, refused }: TopRow): number {
  return bytesSent + bytesReceived + 1000 * (connections + refused) + open;
}

const columns: readonly Column<TopRow>[] = [
  { title: "SOURCE", cell: ({ source }) => endName(source) },
  { title: "DESTINATION", cell: ({ destination, port }) => `${endName(destination)}:${port}` },
  {
    title: "TLS",
    cell: ({ security }) => (security === "mutual_tls" ? "√" : security === "none" ? "no" : security),
    style: ({ security }, colours) => (security === "none" ? colours.yellow : undefined),
  },
  { title: "OPEN", cell: ({ open }) => String(open) },
  { title: "CONN/S", cell: ({ connections }) => connections.toFixed(1) },
  { title: "REFUSED/S", cell: ({ refused }) => refused.toFixed(1) },
  { title: "SENT/S", cell: ({ bytesSent }) => bytesText(Math.round(bytesSent)) },
  { title: "RECEIVED/S", cell: ({ bytesReceived }) => bytesText(Math.round(bytesReceived)) },
];

export const topListing: Listing<TopRow> = {
  schema: "warren.top/v1",
  items: "edges",
  columns,
  name: ({ source, destination, port }) => `${endName(source)}->${endName(destination)}:${port}`,
  none: "nothing moves",
};
