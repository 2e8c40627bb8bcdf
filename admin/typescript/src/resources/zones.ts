import type { Activation, Active, Zone, ZoneCreate, ZoneUpdate } from "../models.js";
import type { Operations } from "../operations.js";
import type { CallOptions, WriteOptions } from "../options.js";
import { drain, iterate, type ListQuery, type Page, type PageQuery } from "../pages.js";

/** Tenants, and what governs each. */
export class Zones {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /** Lists the zones that the token reaches, newest first. */
  list(query: ListQuery = {}, options?: CallOptions): Promise<Zone[]> {
    return drain(this.iterate(query, options));
  }

  /** Goes through the zones, newest first. */
  iterate(query: ListQuery = {}, options?: CallOptions): AsyncGenerator<Zone, void, undefined> {
    return iterate(query.limit, (at) => this.page(at, options));
  }

  /** Reads a page of the zones. */
  page(query: PageQuery = {}, options?: CallOptions): Promise<Page<Zone>> {
    return this.#operations.call("get", "/v1/zones", { query }, options);
  }

  /** Reads a zone. 404 `zone_not_found`. */
  get(zoneId: string, options?: CallOptions): Promise<Zone> {
    return this.#operations.call("get", "/v1/zones/{zone}", { path: { zone: zoneId } }, options);
  }

  /** Creates a zone, which denies everything to begin with. */
  create(zone: ZoneCreate, options?: WriteOptions): Promise<Zone> {
    return this.#operations.call("post", "/v1/zones", { body: zone }, options);
  }

  /** Changes the fields that are given. */
  patch(zoneId: string, changes: ZoneUpdate, options?: CallOptions): Promise<Zone> {
    return this.#operations.call("patch", "/v1/zones/{zone}", { path: { zone: zoneId }, body: changes }, options);
  }

  /** Archives a zone; its daemons deny everything from then on. */
  delete(zoneId: string, options?: CallOptions): Promise<void> {
    return this.#operations.call("delete", "/v1/zones/{zone}", { path: { zone: zoneId } }, options);
  }

  /** Reads what governs a zone: set, version, hashes, sequence, since when, by whom. */
  active(zoneId: string, options?: CallOptions): Promise<Active> {
    return this.#operations.call("get", "/v1/zones/{zone}/active", { path: { zone: zoneId } }, options);
  }

  /** Lists a zone's activations, newest first. */
  activations(zoneId: string, query: ListQuery = {}, options?: CallOptions): Promise<Activation[]> {
    return drain(this.iterateActivations(zoneId, query, options));
  }

  /** Goes through a zone's activations, newest first. */
  iterateActivations(zoneId: string, query: ListQuery = {}, options?: CallOptions): AsyncGenerator<Activation, void, undefined> {
    return iterate(query.limit, (at) => this.pageActivations(zoneId, at, options));
  }

  /** Reads a page of a zone's activations. */
  pageActivations(zoneId: string, query: PageQuery = {}, options?: CallOptions): Promise<Page<Activation>> {
    return this.#operations.call("get", "/v1/zones/{zone}/activations", { path: { zone: zoneId }, query }, options);
  }
}
