/** How the lab starts this very program's other verbs: the copy that the lab itself runs from, built or not. */
import { fileURLToPath } from "node:url";

export function warrenCommand(): string[] {
  const self = fileURLToPath(import.meta.url);
  return [process.execPath, self.replace(/lab\/mesh\/program\.([jt]s)$/, "main.$1")];
}
