import { z } from "zod";
import { path } from "../../lib/config-schema.ts";

/** Knobs of serving pods that another's CNI agent captures. */
export const zds = z
  .strictObject({
    socket: path()
      .optional()
      .describe(
        "Unix socket of Istio's CNI agent: it says which pods to serve and redirects their traffic itself. Default: none; this agent does both.",
      ),
  })
  .describe("Serving pods that Istio's CNI agent captures, in the place of ztunnel.");
