/** Loaded into a process of the product by `--import`, to hear of its event loop what it does not tell by itself. */
import { endWithParent, watchLoop } from "./messages.ts";

watchLoop();
endWithParent();
