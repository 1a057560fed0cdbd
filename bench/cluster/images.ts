/** The two images of a run on kind: the product's, and what the bench's pods run. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findLoadGenerator } from "../lab/program.ts";
import { dockerfiles } from "./preflight.ts";
import { tool } from "./tool.ts";

export const meshImage = "warren:bench";
export const loadImage = "warren-load:bench";

const buildMs = 20 * 60_000;

export async function buildImages(root: string, signal: AbortSignal): Promise<readonly string[]> {
  const dockerfile = dockerfiles.map((path) => join(root, path)).find(existsSync) ?? join(root, dockerfiles[0]);
  const options = { signal, timeoutMs: buildMs };
  await tool("docker", ["build", "--tag", meshImage, "--file", dockerfile, root], options);
  const own = fileURLToPath(new URL("Dockerfile", import.meta.url));
  // Only the generator's folder is sent: it is all that the image takes.
  const context = join(findLoadGenerator(), "..");
  await tool("docker", ["build", "--tag", loadImage, "--file", own, context], options);
  return [meshImage, loadImage];
}
