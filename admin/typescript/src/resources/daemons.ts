import type { Daemon } from "../models.js";
import type { Operations } from "../operations.js";
import type { CallOptions } from "../options.js";
import { drain, iterate, type ListQuery, type Page, type PageQuery } from "../pages.js";

/** The fleet: which daemons there are and what each has loaded. A zone of null is every zone. */
export class Daemons {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /** Lists the daemons that have reported. */
  list(zoneId: string | null = null, query: ListQuery = {}, options?: CallOptions): Promise<Daemon[]> {
    return drain(this.iterate(zoneId, query, options));
  }

  /** Goes through the daemons that have reported. */
  iterate(zoneId: string | null = null, query: ListQuery = {}, options?: CallOptions): AsyncGenerator<Daemon, void, undefined> {
    return iterate(query.limit, (at) => this.page(zoneId, at, options));
  }

  /** Reads a page of the daemons that have reported. */
  page(zoneId: string | null = null, query: PageQuery = {}, options?: CallOptions): Promise<Page<Daemon>> {
    return zoneId === null
      ? this.#operations.call("get", "/v1/daemons", { query }, options)
      : this.#operations.call("get", "/v1/zones/{zone}/daemons", { path: { zone: zoneId }, query }, options);
  }
}
