import type { components } from "./openapi.js";
type Schemas = components["schemas"];
/** A tenant: it owns policies, sets, one active pointer and an audit trail. */
export type Zone = Schemas["Zone"];
export type ZoneCreate = Schemas["ZoneCreate"];
/** Fields that are absent stay as they are. */
export type ZoneUpdate = Schemas["ZoneUpdate"];
export type ZoneSettings = Schemas["ZoneSettings"];
/** What governs a zone; ids and hashes are null where nothing does. */
export type Active = Schemas["Active"];
/** One entry of a zone's activation history. */
export type Activation = Schemas["Activation"];
/** A named Rego document; `version` is its newest version. */
export type Policy = Schemas["Policy"];
export type PolicyCreate = Schemas["PolicyCreate"];
export type PolicyVersion = Schemas["PolicyVersion"];
export type PolicyVersionCreate = Schemas["PolicyVersionCreate"];
/** What validation says of content that is good. */
export type Validation = Schemas["Validation"];
/** The body of the 422 for content that is not. */
export type ValidateFailure = Schemas["ValidateFailure"];
export type Warning = Schemas["Warning"];
export type Preview = Schemas["Preview"];
export type ContentError = Schemas["ContentError"];
export type Location = Schemas["Location"];
/** A policy to begin with. */
export type PolicyTemplate = Schemas["Template"];
/** A name for a series of manifests. */
export type PolicySet = Schemas["PolicySet"];
export type PolicySetVersion = Schemas["PolicySetVersion"];
/** One policy version in a manifest, as people write it. */
export type ManifestEntry = Schemas["ManifestEntry"];
/** One policy version in a manifest, with its name and hash. */
export type SetPolicy = Schemas["SetPolicy"];
export type Simulation = Schemas["Simulation"];
export type SimulationResult = Schemas["SimulationResult"];
export type Explanation = Schemas["Explanation"];
/** A decision with what determined it. */
export type DecisionResult = Schemas["Result"];
export type Activated = Schemas["Activated"];
/** How far an activation has come. */
export type ActivationStatus = Schemas["ActivationStatus"];
/** One audit event. */
export type AuditEvent = Schemas["Event"];
/** A request's events, and its denials with the inputs that were evaluated. */
export type AuditTrace = Schemas["Explain"];
export type DeniedEvent = Schemas["DeniedEvent"];
/** One entry of the admin audit: who did what. */
export type AdminEvent = Schemas["AdminEvent"];
export type Token = Schemas["Token"];
export type TokenCreate = Schemas["TokenCreate"];
/** A new token with its secret, which is never shown again. */
export type TokenCreated = Schemas["TokenCreated"];
export type WhoAmI = Schemas["WhoAmI"];
/** A daemon as its receipts describe it. */
export type Daemon = Schemas["Daemon"];
export type DaemonZone = Schemas["DaemonZone"];
/** The trust roots, oldest first. */
export type TrustResponse = Schemas["TrustResponse"];
export type Health = Schemas["Healthy"];
/** The body of every answer outside 2xx that the API itself gives. */
export type ErrorBody = Schemas["Error"];
export {};
