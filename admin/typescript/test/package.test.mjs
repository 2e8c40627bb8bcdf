// What npm pack makes can be installed offline, imported, and compiled against.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL("..", import.meta.url));
const project = mkdtempSync(join(tmpdir(), "caracal-admin-pack-"));
after(() => rmSync(project, { recursive: true, force: true }));

/**
 * @param {string} cwd
 * @param {string} name
 * @param {string[]} args
 */
function run(cwd, name, ...args) {
  const { status, stdout, stderr } = spawnSync(name, args, { cwd, encoding: "utf8" });
  assert.equal(status, 0, `${name} ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

/** @type {[{ filename: string, files: { path: string }[] }]} */
const [packed] = JSON.parse(run(here, "npm", "pack", "--json", "--pack-destination", project));
writeFileSync(join(project, "package.json"), JSON.stringify({ type: "module", private: true }));
run(project, "npm", "install", "--offline", "--no-audit", "--no-fund", join(project, packed.filename));

test("it has what it needs, and nothing else", () => {
  const other = packed.files.map((f) => f.path).filter((path) => !/^dist\/[\w/-]+(\.d)?\.(js|ts)$/.test(path));
  assert.deepEqual(other.sort(), ["LICENSE", "README.md", "package.json"]);
  assert.deepEqual(readdirSync(join(project, "node_modules")).filter((name) => !name.startsWith(".")), ["@caracalai"]);
});

test("it imports nothing but itself, so that a browser can load it as it is", () => {
  for (const { path } of packed.files.filter((f) => f.path.endsWith(".js"))) {
    for (const [, from = ""] of readFileSync(join(here, path), "utf8").matchAll(/\b(?:from|import)\s*\(?\s*["']([^"']+)["']/g)) {
      assert.match(from, /^\.\.?\/[\w/-]+\.js$/, path);
    }
  }
});

test("it can be imported", () => {
  writeFileSync(join(project, "use.js"), `import * as all from "@caracalai/admin"; console.log(Object.keys(all).sort().join());`);
  assert.equal(run(project, process.execPath, "use.js").trim(), "AdminApiError,AdminClient,AdminConnectionError,NotLoadedError,parseExactly,stringifyExactly");
});

for (const [module, moduleResolution] of /** @type {const} */ ([["NodeNext", "NodeNext"], ["ESNext", "Bundler"]])) {
  test(`it compiles with the module resolution ${moduleResolution}`, () => {
    writeFileSync(
      join(project, "use.ts"),
      `import { AdminClient, type Policy, type Simulation } from "@caracalai/admin";
       const admin = new AdminClient({ apiUrl: "http://127.0.0.1:3000", adminToken: "t" });
       export const make = (zone: string): Promise<Policy> => admin.policies.create(zone, { name: "n", content: "" });
       export const decision = (s: Simulation): string | undefined => s.result?.decision;
       // @ts-expect-error: a policy has content
       export const wrong = (zone: string) => admin.policies.create(zone, { name: "n" });`,
    );
    writeFileSync(
      join(project, "tsconfig.json"),
      JSON.stringify({ compilerOptions: { target: "ES2022", lib: ["ES2022", "DOM"], types: [], module, moduleResolution, strict: true, exactOptionalPropertyTypes: true, noEmit: true }, files: ["use.ts"] }),
    );
    run(project, process.execPath, join(here, "node_modules/typescript/bin/tsc"), "--project", "tsconfig.json");
  });
}
