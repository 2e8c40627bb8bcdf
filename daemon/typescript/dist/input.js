import { invalidInput } from "./errors.js";
import { members } from "./members.js";
/** The version of the input that this package writes. */
export const SCHEMA_VERSION = "2026-05-20";
/** An input as the text that is sent, and its zone. */
export function encode(input) {
    let text;
    try {
        text = typeof input === "string" ? input : JSON.stringify({ schema_version: SCHEMA_VERSION, ...input });
        JSON.parse(text);
    }
    catch (cause) {
        throw invalidInput("it is not JSON", cause);
    }
    const principals = members(text)?.filter(([name]) => name === "principal") ?? [];
    const zones = members(principals[0]?.[1] ?? "")?.filter(([name]) => name === "zone_id") ?? [];
    const zone = principals.length === 1 && zones.length === 1 ? JSON.parse(zones[0]?.[1] ?? "null") : undefined;
    if (typeof zone !== "string" || zone === "")
        throw invalidInput("it has not one principal.zone_id");
    return { text, zone };
}
