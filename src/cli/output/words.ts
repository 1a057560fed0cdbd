/** How times, sizes and addresses read in tables. */
import { formatHostPort } from "../../lib/host-port.ts";
import { ipFromBytes } from "../../lib/ip.ts";

export interface WireTime {
  readonly seconds: bigint;
  readonly nanos: number;
}

export interface WireSocket {
  readonly address: Uint8Array;
  readonly port: number;
}

/** ISO 8601, empty when it is not known. */
export function isoTime(time: WireTime | undefined): string {
  return time === undefined ? "" : new Date(unixMs(time)).toISOString();
}

export function unixMs({ seconds, nanos }: WireTime): number {
  return Number(seconds) * 1000 + Math.round(nanos / 1e6);
}

export function ipText(address: Uint8Array): string {
  return ipFromBytes(address) ?? "";
}

export function socketText(socket: WireSocket | undefined): string {
  return socket === undefined ? "" : formatHostPort(ipText(socket.address), socket.port);
}

/** The two largest units: `6d4h`, `19h12m`, `12s`; `-` before what has passed. */
export function spanText(milliseconds: number): string {
  const units = [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ] as const;
  let rest = Math.floor(Math.abs(milliseconds) / 1000);
  const first = units.findIndex(([, size]) => rest >= size);
  if (first === -1) return "0s";
  let text = milliseconds < 0 ? "-" : "";
  for (const [unit, size] of units.slice(first, first + 2)) {
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
  }
  return text;
}

/** `1 node`, `2 nodes`, `0 nodes` */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
