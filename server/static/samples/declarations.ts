/**
 * What the declarations in `../types` promise is what the modules are; the type check fails where they drift apart.
 */

import { SSEClient as DeclaredClient } from "/static/js/clients/mcp.js";
import { NovaSSEClient as DeclaredNova } from "/static/js/clients/nova.js";
import { ConnectionStatus as DeclaredStatus } from "/static/js/components/ConnectionStatus.js";
import { EventStreamService as DeclaredService, PROFILES as declaredProfiles } from "/static/js/services/EventStreamService.js";
import { EventStream as DeclaredStream, backoffCeiling as declaredCeiling } from "/static/js/stream.js";
import { SSEClient } from "../js/clients/mcp.js";
import { NovaSSEClient } from "../js/clients/nova.js";
import { ConnectionStatus } from "../js/components/ConnectionStatus.js";
import { EventStreamService, PROFILES } from "../js/services/EventStreamService.js";
import { EventStream, backoffCeiling } from "../js/lib/event-stream.js";

export const client: typeof DeclaredClient = SSEClient;
export const nova: typeof DeclaredNova = NovaSSEClient;
export const status: typeof DeclaredStatus = ConnectionStatus;
export const service: typeof DeclaredService = EventStreamService;
export const profiles: typeof declaredProfiles = PROFILES;
export const stream: typeof DeclaredStream = EventStream;
export const ceiling: typeof declaredCeiling = backoffCeiling;

// And the other way: nothing public is left out.
type Missing<Module, Declared> = Exclude<keyof Module, keyof Declared>;
type None<Names extends never> = Names;
export type ClientIsWhole = None<Missing<SSEClient, DeclaredClient>>;
export type NovaIsWhole = None<Missing<NovaSSEClient, DeclaredNova>>;
export type StatusIsWhole = None<Missing<ConnectionStatus, DeclaredStatus>>;
export type ServiceIsWhole = None<Missing<EventStreamService, DeclaredService>>;
export type StreamIsWhole = None<Missing<EventStream, DeclaredStream>>;
