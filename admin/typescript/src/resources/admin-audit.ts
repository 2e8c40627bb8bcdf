import type { AdminEvent } from "../models.js";
import type { Operations, QueryOf } from "../operations.js";
import type { CallOptions } from "../options.js";
import { drain, iterate, type ListQuery, type Page, type PageQuery } from "../pages.js";
import { bytesOf } from "../stream.js";
import type { ExportFormat } from "./audit.js";

const path = "/v1/zones/{zone}/admin-audit";
const pathOfAll = "/v1/admin-audit";

/** Which entries are asked for. Times are RFC 3339; `since` is included, `until` is not. */
export type AdminAuditFilter = Omit<QueryOf<typeof path>, "limit" | "cursor" | "format">;

/** Who did what. A zone of null is everywhere, what belongs to no zone included. */
export class AdminAudit {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /** Lists entries, newest first: all that match, in memory. */
  list(zoneId: string | null, query: AdminAuditFilter & ListQuery = {}, options?: CallOptions): Promise<AdminEvent[]> {
    return drain(this.iterate(zoneId, query, options));
  }

  /** Goes through entries, newest first, with one page in memory. */
  iterate(zoneId: string | null, query: AdminAuditFilter & ListQuery = {}, options?: CallOptions): AsyncGenerator<AdminEvent, void, undefined> {
    const { limit, ...filter } = query;
    return iterate(limit, (at) => this.page(zoneId, { ...filter, ...at }, options));
  }

  /** Reads a page of entries. */
  page(zoneId: string | null, query: AdminAuditFilter & PageQuery = {}, options?: CallOptions): Promise<Page<AdminEvent>> {
    return zoneId === null
      ? this.#operations.call("get", pathOfAll, { query }, options)
      : this.#operations.call("get", path, { path: { zone: zoneId }, query }, options);
  }

  /** Reads entries as a file: all that match, or the newest `limit` of them. */
  async export(zoneId: string | null, format: ExportFormat, query: AdminAuditFilter & ListQuery = {}, options?: CallOptions): Promise<ReadableStream<Uint8Array>> {
    const asked = { ...query, format };
    const opened =
      zoneId === null
        ? await this.#operations.open(pathOfAll, { query: asked }, "*/*", options)
        : await this.#operations.open(path, { path: { zone: zoneId }, query: asked }, "*/*", options);
    return bytesOf(opened, "GET", zoneId === null ? pathOfAll : path.replace("{zone}", zoneId));
  }
}
