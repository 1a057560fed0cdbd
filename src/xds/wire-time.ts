import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";

/** Unix time in milliseconds on the wire. Times that jitter made have fractions, which `timestampFromMs` makes unencodable nanoseconds of. */
export function wireTime(unixMs: number): Timestamp {
  return timestampFromMs(Math.round(unixMs));
}
