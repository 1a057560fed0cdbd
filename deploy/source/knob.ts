/**
 * Objects of a Kubernetes installation with holes in them. The same objects become plain manifests, where each hole is filled with its
 * default, and a Helm chart, where it refers to `.Values`: neither can say something that the other does not.
 */

/** A value that whoever installs may set, by its path in the values. */
export class Knob {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }
}

/** A knob's value as JSON inside of a text, for lists. */
export class Json {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }
}

/** A knob's list of words inside of a text, with commas between them. */
export class Commas {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }
}

/** The namespace that Warren is installed in. */
export class ReleaseNamespace {
  readonly expression = "{{ .Release.Namespace }}";
}

/** Text with knobs in it. */
export class Text {
  readonly parts: readonly (string | Knob | Json | Commas | ReleaseNamespace)[];

  constructor(parts: Text["parts"]) {
    this.parts = parts;
  }
}

/** An item of a list, or a whole object, that is there only while a knob is on, or is no empty text. */
export class When<T> {
  readonly path: string;
  readonly item: T;

  constructor(path: string, item: T) {
    this.path = path;
    this.item = item;
  }
}

/** A scalar with its reason written beside it. */
export class Because {
  readonly value: string;
  readonly reason: string;

  constructor(value: string, reason: string) {
    this.value = value;
    this.reason = reason;
  }
}

export const knob = (path: string): Knob => new Knob(path);
export const json = (path: string): Json => new Json(path);
export const commas = (path: string): Commas => new Commas(path);
export const releaseNamespace = new ReleaseNamespace();
export const because = (value: string, reason: string): Because => new Because(value, reason);
export const when = <T>(path: string, item: T): When<T> => new When(path, item);

/** `text\`${knob("image")}:1\``. */
export function text(strings: TemplateStringsArray, ...holes: readonly (Knob | ReleaseNamespace)[]): Text {
  return new Text(strings.flatMap((string, index) => [string, ...(index < holes.length ? [holes[index] ?? ""] : [])]));
}

/** A Kubernetes object, or any part of one. */
export type Templated =
  | string
  | number
  | boolean
  | Knob
  | ReleaseNamespace
  | Text
  | Because
  | When<Templated>
  | readonly Templated[]
  | { readonly [key: string]: Templated };

export type TemplatedObject = { readonly [key: string]: Templated };
