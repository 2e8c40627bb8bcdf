// The examples run unmodified, with only the environment set, where nothing was
// built or installed: from a copy of what is committed that they need.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";

import { root, startDev } from "./dev.mjs";

const dev = await startDev();
const copy = mkdtempSync(join(tmpdir(), "caracal-examples-"));
after(() => rmSync(copy, { recursive: true, force: true }));
for (const path of ["examples", "admin/typescript/dist", "admin/typescript/package.json"]) {
  cpSync(join(root, path), join(copy, path), { recursive: true });
}

/**
 * @param {string} script
 * @param {Record<string, string>} variables
 * @returns {Promise<{ code: number | null, out: string }>}
 */
function run(script, variables) {
  const child = spawn(process.execPath, [join("examples", "activate", script)], { cwd: copy, env: { PATH: dirname(process.execPath), ...variables } });
  let out = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => (out += text));
  }
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, out })));
}

for (const time of ["first", "second"]) {
  test(`activate, the ${time} time`, async () => {
    const { code, out } = await run("activate.mjs", dev.variables);
    assert.equal(code, 0, out);
    assert.match(out, /simulation +allow/);
    assert.match(out, /decision +allow/);
    const { policy_set_version_id } = await dev.admin.zones.active(dev.zone);
    assert.ok(policy_set_version_id !== null && out.includes(policy_set_version_id));
  });

  test(`iterate, the ${time} time`, async () => {
    const { code, out } = await run("iterate.mjs", dev.variables);
    assert.equal(code, 0, out);
    assert.match(out, /denied +request \S+: step_up_required/);
    assert.match(out, /now +allow/);
  });
}

test("without the environment they say what is missing", async () => {
  const { code, out } = await run("activate.mjs", {});
  assert.equal(code, 1);
  assert.match(out, /CARACAL_API_URL is not set/);
});
