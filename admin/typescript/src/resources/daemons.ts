import type { Daemon, Fleet } from "../models.js";
import type { Operations, QueryOf } from "../operations.js";
import type { CallOptions, WriteOptions } from "../options.js";
import { drain, iterate, type ListQuery, type Page, type PageQuery } from "../pages.js";

/** Which daemons are meant: by state, by labels (`["region=eu"]`), by a part of their name, id or version. */
export type DaemonFilter = Omit<QueryOf<"/v1/fleet">, "zone">;

/** The fleet: which daemons there are, how they are, and what each has loaded. A zone of null is every zone. */
export class Daemons {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /** Lists daemons, by id: all that match, in memory. Retired ones are only listed where they are asked for. */
  list(zoneId: string | null = null, query: DaemonFilter & ListQuery = {}, options?: CallOptions): Promise<Daemon[]> {
    return drain(this.iterate(zoneId, query, options));
  }

  /** Goes through daemons, by id, with one page in memory. */
  iterate(zoneId: string | null = null, query: DaemonFilter & ListQuery = {}, options?: CallOptions): AsyncGenerator<Daemon, void, undefined> {
    const { limit, ...filter } = query;
    return iterate(limit, (at) => this.page(zoneId, { ...filter, ...at }, options));
  }

  /** Reads a page of daemons. */
  page(zoneId: string | null = null, query: DaemonFilter & PageQuery = {}, options?: CallOptions): Promise<Page<Daemon>> {
    return zoneId === null
      ? this.#operations.call("get", "/v1/daemons", { query }, options)
      : this.#operations.call("get", "/v1/zones/{zone}/daemons", { path: { zone: zoneId }, query }, options);
  }

  /** Reads a daemon with all of its zones. 404 `daemon_not_found`. */
  get(daemonId: string, options?: CallOptions): Promise<Daemon> {
    return this.#operations.call("get", "/v1/daemons/{daemon}", { path: { daemon: daemonId } }, options);
  }

  /**
   * Retires a daemon that is gone: activations wait for it no more, and the next
   * token or certificate to report for it has it. One that reports again is back.
   */
  retire(daemonId: string, options?: WriteOptions): Promise<void> {
    return this.#operations.call("delete", "/v1/daemons/{daemon}", { path: { daemon: daemonId } }, options);
  }

  /** Counts daemons by state and version. */
  fleet(zoneId: string | null = null, filter: DaemonFilter = {}, options?: CallOptions): Promise<Fleet> {
    return this.#operations.call("get", "/v1/fleet", { query: { ...filter, zone: zoneId } }, options);
  }
}
