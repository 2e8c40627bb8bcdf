// Makes dist/ from src/. With --check, nothing is written: it fails where
// src/openapi.ts is not what docs/openapi.json gives, or dist/ not what src/ gives.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** @param {string[]} command */
function run(...command) {
  const [name = "", ...args] = command;
  const { status } = spawnSync(process.execPath, [join(root, "node_modules", name), ...args], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) {
    process.exit(status ?? 1);
  }
}

/** @param {string} out */
function compile(out) {
  run("typescript/bin/tsc", "--project", "tsconfig.json", "--outDir", out);
}

/**
 * The files below a directory, by path.
 * @param {string} dir
 * @returns {Map<string, string>}
 */
function files(dir) {
  const entries = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(entries.map((entry) => {
    const path = join(entry.parentPath, entry.name);
    return [path.slice(dir.length + 1), readFileSync(path, "utf8")];
  }));
}

if (!process.argv.includes("--check")) {
  rmSync(join(root, "dist"), { recursive: true, force: true });
  compile("dist");
} else {
  const scratch = mkdtempSync(join(tmpdir(), "caracal-admin-"));
  try {
    run("openapi-typescript/bin/cli.js", "../../docs/openapi.json", "--output", join(scratch, "openapi.ts"));
    const stale = [];
    if (readFileSync(join(scratch, "openapi.ts"), "utf8") !== readFileSync(join(root, "src", "openapi.ts"), "utf8")) {
      stale.push("src/openapi.ts (npm run generate)");
    }
    compile(join(scratch, "dist"));
    const made = files(join(scratch, "dist"));
    const kept = files(join(root, "dist"));
    for (const path of new Set([...made.keys(), ...kept.keys()])) {
      if (made.get(path) !== kept.get(path)) {
        stale.push(`dist/${path} (npm run build)`);
      }
    }
    if (stale.length > 0) {
      console.error(`not what their source gives:\n  ${stale.join("\n  ")}`);
      process.exitCode = 1;
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
