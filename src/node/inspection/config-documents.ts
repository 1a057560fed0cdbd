/** The agent's configuration and live state as documents, for support archives: what is long has verbs of its own. */
import type { MeshView } from "../../model/mesh.ts";

export interface ConfigSources {
  /** As read, defaults included: paths of secrets, never their content. */
  readonly config: unknown;
  view(): MeshView;
  problems(): readonly object[];
  blockers(): readonly { readonly name: string; readonly forMs: number }[];
  stats(): object;
}

export interface ConfigDocument {
  readonly schema: string;
  readonly value: unknown;
}

export function* configDocuments(sources: ConfigSources): Iterable<ConfigDocument> {
  const view = sources.view();
  yield { schema: "warren.agent-config/v1", value: sources.config };
  yield {
    schema: "warren.agent-state/v1",
    value: {
      epoch: view.epoch,
      settings: view.settings,
      problems: sources.problems(),
      blockers: sources.blockers(),
      stats: sources.stats(),
    },
  };
}
