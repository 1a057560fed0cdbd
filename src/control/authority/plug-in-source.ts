/** Where plug-in certificates come from: the contract of the places that can hold them, a folder or a Secret. */

/** One set of files, read together. */
export interface PlugInReader {
  /** For messages: the folder's path, the Secret's name. */
  readonly where: string;
  /** By file name, Istio's or those of a `kubernetes.io/tls` Secret; whatever else lies there may be in it. */
  read(): Promise<Readonly<Record<string, string>>>;
  /** Calls when the files may have changed, too often rather than too rarely. Returns how to stop. */
  watch(changed: () => void): () => void;
}
