import type { components } from "./openapi.js";
type Schemas = components["schemas"];
/** A tenant: it owns policies, sets, one active pointer and an audit trail. */
export type Zone = Schemas["Zone"];
/** What a zone is created with; its slug is made from the name where it is absent. */
export type ZoneCreate = Schemas["ZoneCreate"];
/** Fields that are absent stay as they are. */
export type ZoneUpdate = Schemas["ZoneUpdate"];
/** A zone's choices about its audit: what is masked, how inputs are kept, for how long. */
export type ZoneSettings = Schemas["ZoneSettings"];
/** What governs a zone; ids and hashes are null where nothing does. */
export type Active = Schemas["Active"];
/** One entry of a zone's activation history. */
export type Activation = Schemas["Activation"];
/** A named Rego document; `version` is its newest version. */
export type Policy = Schemas["Policy"];
/** What a policy is created with: a name and the content of its first version. */
export type PolicyCreate = Schemas["PolicyCreate"];
/** One immutable snapshot of a policy; `content` is there where one version is read. */
export type PolicyVersion = Schemas["PolicyVersion"];
/** What a version is made from. */
export type PolicyVersionCreate = Schemas["PolicyVersionCreate"];
/** What validation says of content that is good. */
export type Validation = Schemas["Validation"];
/** The body of the 422 for content that is not. */
export type ValidateFailure = Schemas["ValidateFailure"];
/** Something about content that is no error; a blocking one stops activation. */
export type Warning = Schemas["Warning"];
/** What content reads and decides. */
export type Preview = Schemas["Preview"];
/** Why content was refused, and where. */
export type ContentError = Schemas["ContentError"];
/** A place in content: row and column, from 1. */
export type Location = Schemas["Location"];
/** What tests are run against: content, and the other policies that it needs. */
export type PolicyTest = Schemas["TestRequest"];
/** What came of tests, and what of the content they evaluated. */
export type PolicyTestReport = Schemas["TestReport"];
/** The outcome of one test. */
export type PolicyTestResult = Schemas["TestResult"];
/** What tests evaluated of a policy, by place. */
export type PolicyCoverage = Schemas["FileCoverage"];
/** A part of a rule that was false or undefined, as it is written. */
export type FailedCondition = Schemas["FailedCondition"];
/** A policy to begin with. */
export type PolicyTemplate = Schemas["Template"];
/** A name for a series of manifests. */
export type PolicySet = Schemas["PolicySet"];
/** One immutable manifest; `manifest_json` and `policies` are there where one version is read. */
export type PolicySetVersion = Schemas["PolicySetVersion"];
/** One policy version in a manifest, as people write it. */
export type ManifestEntry = Schemas["ManifestEntry"];
/** One policy version in a manifest, with its name and hash. */
export type SetPolicy = Schemas["SetPolicy"];
/** What a version would decide, and whether anything speaks against activating it. */
export type Simulation = Schemas["Simulation"];
/** What a version would decide for one of many inputs. */
export type SimulationResult = Schemas["SimulationResult"];
/** Which recent decisions of a zone a version would make otherwise. */
export type Replay = Schemas["Replay"];
/** How the rules of a version came to a result. */
export type RuleTraces = Schemas["Trace"];
/** One rule, or else branch, that was tried: what it gave, or which condition failed. */
export type RuleTrace = Schemas["RuleTrace"];
/** What a simulation came to, and why. */
export type Explanation = Schemas["Explanation"];
/** A decision with what determined it. */
export type DecisionResult = Schemas["Result"];
/** An activation that was accepted; daemons load it from now on. */
export type Activated = Schemas["Activated"];
/** How far an activation has come. */
export type ActivationStatus = Schemas["ActivationStatus"];
/** One audit event. */
export type AuditEvent = Schemas["Event"];
/** A request's events, and its decisions with the inputs that were evaluated. */
export type AuditTrace = Schemas["Explain"];
/** One decision of a request, with the input that was evaluated. */
export type DecidedEvent = Schemas["DecidedEvent"];
/** A zone's decisions, counted by step of time and by daemon. */
export type AuditSummary = Schemas["AuditSummary"];
/** One entry of the admin audit: who did what. */
export type AdminEvent = Schemas["AdminEvent"];
/** A token, without its secret. */
export type Token = Schemas["Token"];
/** What a token is created with: a name, roles, and perhaps a zone and an end. */
export type TokenCreate = Schemas["TokenCreate"];
/** A new token with its secret, which is never shown again. */
export type TokenCreated = Schemas["TokenCreated"];
/** Whose token a call was made with. */
export type WhoAmI = Schemas["WhoAmI"];
/** A daemon as its receipts describe it. */
export type Daemon = Schemas["Daemon"];
/** What one daemon has reported for one zone. */
export type DaemonZone = Schemas["DaemonZone"];
/** What a daemon says of itself: readiness, spool, rates, latencies. */
export type DaemonHealth = Schemas["DaemonHealth"];
/** How many daemons there are, by state and version. */
export type Fleet = Schemas["Fleet"];
/** How an activation comes on among a zone's daemons, and who has not loaded it, and why. */
export type Rollout = Schemas["Rollout"];
/** A daemon that has not loaded a version, and why. */
export type RolloutDaemon = Schemas["RolloutDaemon"];
/** The trust roots, oldest first. */
export type TrustResponse = Schemas["TrustResponse"];
/** How the control plane is. */
export type Health = Schemas["Healthy"];
/** The body of every answer outside 2xx that the API itself gives. */
export type ErrorBody = Schemas["Error"];
export {};
