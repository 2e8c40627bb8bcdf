import { Operations } from "./operations.js";
import { settle, type AdminClientOptions } from "./options.js";
import { AdminAudit } from "./resources/admin-audit.js";
import { Audit } from "./resources/audit.js";
import { Bundles } from "./resources/bundles.js";
import { Daemons } from "./resources/daemons.js";
import { Keys } from "./resources/keys.js";
import { Policies } from "./resources/policies.js";
import { PolicySets } from "./resources/policy-sets.js";
import { PolicyTemplates } from "./resources/policy-templates.js";
import { System } from "./resources/system.js";
import { Tokens } from "./resources/tokens.js";
import { Zones } from "./resources/zones.js";
import { Transport } from "./transport.js";

/**
 * A client of one control plane: a method for each call of its API. Its methods
 * may be used at once.
 *
 * Every method rejects with an {@link AdminApiError} for an answer outside 2xx,
 * with an {@link AdminConnectionError} where there is none, and with the
 * signal's reason where the caller ended it.
 */
export class AdminClient {
  /** Where the admin API is. */
  readonly apiUrl: string;
  readonly zones: Zones;
  readonly policies: Policies;
  readonly policyTemplates: PolicyTemplates;
  readonly policySets: PolicySets;
  readonly audit: Audit;
  readonly adminAudit: AdminAudit;
  readonly tokens: Tokens;
  readonly daemons: Daemons;
  readonly bundles: Bundles;
  readonly keys: Keys;
  readonly system: System;

  readonly #options: AdminClientOptions;

  /** Throws a TypeError that names the option which is wrong. */
  constructor(options: AdminClientOptions) {
    const settings = settle(options);
    const operations = new Operations(new Transport(settings));
    this.#options = options;
    this.apiUrl = settings.base;
    this.zones = new Zones(operations);
    this.policies = new Policies(operations);
    this.policyTemplates = new PolicyTemplates(operations);
    this.policySets = new PolicySets(operations);
    this.audit = new Audit(operations);
    this.adminAudit = new AdminAudit(operations);
    this.tokens = new Tokens(operations);
    this.daemons = new Daemons(operations);
    this.bundles = new Bundles(operations);
    this.keys = new Keys(operations);
    this.system = new System(operations);
  }

  /** A client like this one that also sends these headers, such as who it acts for. */
  withDefaultHeaders(headers: Record<string, string>): AdminClient {
    return new AdminClient({ ...this.#options, headers: { ...this.#options.headers, ...headers } });
  }
}
