import { parseExactly } from "../exact.js";
import type { AuditEvent, AuditSummary, AuditTrace } from "../models.js";
import type { Operations, QueryOf } from "../operations.js";
import type { CallOptions } from "../options.js";
import { drain, iterate, type ListQuery, type Page, type PageQuery } from "../pages.js";
import { bytesOf } from "../stream.js";
import { tail, type TailEvent, type TailOptions } from "../tail.js";

const path = "/v1/zones/{zone}/audit";

/** Which audit events are asked for. Times are RFC 3339; `since` is included, `until` is not. */
export type AuditFilter = Omit<QueryOf<typeof path>, "limit" | "cursor" | "format">;

/** Formats of a file of audit events. */
export type ExportFormat = "csv" | "ndjson";

/** What was decided, on which input, by which policies. */
export class Audit {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /**
   * Lists a zone's events, newest first: all that match, in memory. Give a
   * `limit`, or use {@link iterate} or {@link page}, where they may be many.
   */
  list(zoneId: string, query: AuditFilter & ListQuery = {}, options?: CallOptions): Promise<AuditEvent[]> {
    return drain(this.iterate(zoneId, query, options));
  }

  /** Goes through a zone's events, newest first, with one page in memory. */
  iterate(zoneId: string, query: AuditFilter & ListQuery = {}, options?: CallOptions): AsyncGenerator<AuditEvent, void, undefined> {
    const { limit, ...filter } = query;
    return iterate(limit, (at) => this.page(zoneId, { ...filter, ...at }, options));
  }

  /** Reads a page of a zone's events. */
  page(zoneId: string, query: AuditFilter & PageQuery = {}, options?: CallOptions): Promise<Page<AuditEvent>> {
    return this.#operations.call("get", path, { path: { zone: zoneId }, query }, options);
  }

  /**
   * Reads events as a file: all that match, or the newest `limit` of them. The
   * stream fails where the answer breaks off.
   */
  async export(zoneId: string, format: ExportFormat, query: AuditFilter & ListQuery = {}, options?: CallOptions): Promise<ReadableStream<Uint8Array>> {
    const opened = await this.#operations.open(path, { path: { zone: zoneId }, query: { ...query, format } }, "*/*", options);
    return bytesOf(opened, "GET", path.replace("{zone}", zoneId));
  }

  /**
   * Counts a zone's decisions by step of time and by daemon: the last hour by the
   * minute, where nothing else is asked for.
   */
  summary(zoneId: string, query: QueryOf<"/v1/zones/{zone}/audit/summary"> = {}, options?: CallOptions): Promise<AuditSummary> {
    return this.#operations.call("get", "/v1/zones/{zone}/audit/summary", { path: { zone: zoneId }, query }, options);
  }

  /** Lists a request's events, oldest first. 404 `request_not_found`. */
  byRequest(zoneId: string, requestId: string, options?: CallOptions): Promise<AuditEvent[]> {
    return this.#operations.call("get", "/v1/zones/{zone}/audit/by-request/{request}", { path: { zone: zoneId, request: requestId } }, options);
  }

  /**
   * Explains a request: what was decided, by which policies, and for each decision
   * the input that was evaluated, which can be simulated as it is: numbers that
   * JavaScript would round are sent as they were. 404 `request_not_found`, also in
   * the moment before the daemon has shipped it.
   */
  explain(zoneId: string, requestId: string, options?: CallOptions): Promise<AuditTrace> {
    return this.#operations.call("get", "/v1/zones/{zone}/audit/by-request/{request}/explain", { path: { zone: zoneId, request: requestId } }, options, parseExactly);
  }

  /**
   * Follows a zone's events as they arrive, for as long as it is iterated. A lost
   * connection is made again, and goes on after the last event that was given:
   * none is missed, none comes twice. A refusal ends it with an error.
   */
  tail(zoneId: string, options: TailOptions = {}): AsyncGenerator<TailEvent, void, undefined> {
    return tail(this.#operations, zoneId, options);
  }
}
