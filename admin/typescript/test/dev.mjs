// A real control plane and daemon for the tests: caracal dev in a directory of its own.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { AdminClient } from "@caracalai/admin";

/** The repository. */
export const root = fileURLToPath(new URL("../../../", import.meta.url));

/** The longest time that a test waits for what must happen, in milliseconds. */
export const patience = 60_000;

/** @param {string} scratch */
function binary(scratch) {
  const given = process.env["CARACAL_BIN"];
  if (given) {
    return given;
  }
  const path = join(scratch, "caracal");
  const { status } = spawnSync("go", ["build", "-o", path, "./cmd/caracal"], { cwd: root, stdio: "inherit" });
  if (status !== 0) {
    throw new Error("caracal does not build");
  }
  return path;
}

/**
 * Starts caracal dev on free ports; it ends with the tests of the file.
 */
export async function startDev() {
  const scratch = mkdtempSync(join(tmpdir(), "caracal-admin-test-"));
  const data = join(scratch, "data");
  const dev = spawn(binary(scratch), ["dev", "--data-dir", data, "--admin-addr", "127.0.0.1:0", "--decide-addr", "127.0.0.1:0"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  dev.stderr.setEncoding("utf8").on("data", (text) => (log = (log + text).slice(-20_000)));
  const ended = new Promise((resolve) => dev.once("exit", resolve));
  after(async () => {
    dev.kill("SIGTERM");
    await ended;
    rmSync(scratch, { recursive: true, force: true });
  });
  for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM"])) {
    process.once(signal, () => {
      dev.kill("SIGTERM");
      process.exit(1);
    });
  }
  const env = join(data, "env");
  await until("caracal dev is ready", () => {
    if (dev.exitCode !== null) {
      throw new Error(`caracal dev ended with ${dev.exitCode}: ${log}`);
    }
    return existsSync(env);
  });
  /** @type {Record<string, string>} */
  const variables = {};
  for (const [, name = "", value = ""] of readFileSync(env, "utf8").matchAll(/^export (\w+)=(.*)$/gm)) {
    variables[name] = value;
  }
  const { CARACAL_API_URL: apiUrl = "", CARACAL_ADMIN_TOKEN: adminToken = "", CARACAL_ZONE_ID: zone = "", CARACAL_DECIDE_URL: decideUrl = "" } = variables;
  return { apiUrl, adminToken, zone, decideUrl, variables, admin: new AdminClient({ apiUrl, adminToken }) };
}

/**
 * Asks a daemon.
 * @param {{ decideUrl: string }} dev
 * @param {unknown} input
 * @param {string} [requestId]
 * @returns {Promise<any>}
 */
export async function decide(dev, input, requestId) {
  const response = await fetch(`${dev.decideUrl}/v1/decide`, {
    method: "POST",
    body: JSON.stringify(input),
    headers: requestId === undefined ? {} : { "X-Request-Id": requestId },
  });
  if (!response.ok) {
    throw new Error(`the daemon refused: ${response.status} ${await response.text()}`);
  }
  return response.json();
}

/**
 * An input of the payments example.
 * @param {string} zone
 * @param {string} name
 * @returns {any}
 */
export function input(zone, name) {
  return JSON.parse(readFileSync(join(root, "examples/payments/inputs", `${name}.json`), "utf8").replaceAll("ZONE_ID", zone));
}

/**
 * A policy of the payments example.
 * @param {string} name
 */
export const policy = (name) => readFileSync(join(root, "examples/payments/policies", `${name}.rego`), "utf8");

/**
 * Waits until something holds, and gives it.
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} check
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, check) {
  for (const end = Date.now() + patience; ; await setTimeout(20)) {
    const result = await check();
    if (result) {
      return /** @type {NonNullable<T>} */ (result);
    }
    if (Date.now() > end) {
      throw new Error(`it never comes to it that ${what}`);
    }
  }
}
