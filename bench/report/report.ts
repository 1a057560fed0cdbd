/** What reports are made from. */
import type { Absence, BenchDocument, Sample } from "../model.ts";

export interface Report {
  readonly document: BenchDocument;
  readonly samples: readonly Sample[];
  readonly absences: readonly Absence[];
}
