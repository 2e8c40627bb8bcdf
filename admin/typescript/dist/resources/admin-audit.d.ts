import type { AdminEvent } from "../models.js";
import type { Operations, QueryOf } from "../operations.js";
import type { CallOptions } from "../options.js";
import { type ListQuery, type Page, type PageQuery } from "../pages.js";
import type { ExportFormat } from "./audit.js";
declare const path = "/v1/zones/{zone}/admin-audit";
/** Which entries are asked for. Times are RFC 3339; `since` is included, `until` is not. */
export type AdminAuditFilter = Omit<QueryOf<typeof path>, "limit" | "cursor" | "format">;
/** Who did what. A zone of null is everywhere, what belongs to no zone included. */
export declare class AdminAudit {
    #private;
    constructor(operations: Operations);
    /** Lists entries, newest first: all that match, in memory. */
    list(zoneId: string | null, query?: AdminAuditFilter & ListQuery, options?: CallOptions): Promise<AdminEvent[]>;
    /** Goes through entries, newest first, with one page in memory. */
    iterate(zoneId: string | null, query?: AdminAuditFilter & ListQuery, options?: CallOptions): AsyncGenerator<AdminEvent, void, undefined>;
    /** Reads a page of entries. */
    page(zoneId: string | null, query?: AdminAuditFilter & PageQuery, options?: CallOptions): Promise<Page<AdminEvent>>;
    /** Reads entries as a file: all that match, or the newest `limit` of them. */
    export(zoneId: string | null, format: ExportFormat, query?: AdminAuditFilter & ListQuery, options?: CallOptions): Promise<ReadableStream<Uint8Array>>;
}
export {};
