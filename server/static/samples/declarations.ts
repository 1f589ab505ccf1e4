/**
 * What the declarations in `../types` promise is what the modules are; the type check fails where they drift apart.
 */

import { SSEClient as DeclaredClient } from "/static/js/clients/mcp.js";
import { EventStream as DeclaredStream, backoffCeiling as declaredCeiling } from "/static/js/stream.js";
import { SSEClient } from "../js/clients/mcp.js";
import { EventStream, backoffCeiling } from "../js/stream.js";

export const client: typeof DeclaredClient = SSEClient;
export const stream: typeof DeclaredStream = EventStream;
export const ceiling: typeof declaredCeiling = backoffCeiling;

// And the other way: nothing public is left out.
type Missing<Module, Declared> = Exclude<keyof Module, keyof Declared>;
type None<Names extends never> = Names;
export type ClientIsWhole = None<Missing<SSEClient, DeclaredClient>>;
export type StreamIsWhole = None<Missing<EventStream, DeclaredStream>>;
