// Fails where dist/ is not what the sources give, or where the first page loads
// more than it may.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

/** The most bytes, compressed, that a first page loads without the editor. */
const most = 300_000;
const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** @param {string[]} args */
function run(...args) {
  const [name = "", ...rest] = args;
  const { status } = spawnSync(process.execPath, [join(root, "node_modules", name), ...rest], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) process.exit(status ?? 1);
}

/** @param {string} dir */
function files(dir) {
  const entries = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(entries.map((entry) => [join(entry.parentPath, entry.name).slice(dir.length + 1), readFileSync(join(entry.parentPath, entry.name))]));
}

const scratch = mkdtempSync(join(tmpdir(), "caracal-console-"));
try {
  run("typescript/bin/tsc");
  run("vite/bin/vite.js", "build", "--outDir", scratch, "--emptyOutDir", "--logLevel", "warn");
  const made = files(scratch), kept = files(join(root, "dist"));
  const stale = [...new Set([...made.keys(), ...kept.keys()])].filter((name) => !made.get(name)?.equals(kept.get(name) ?? Buffer.alloc(0)));
  if (stale.length > 0) {
    console.error(`dist/ is not what the sources give; run npm run build:\n  ${stale.join("\n  ")}`);
    process.exit(1);
  }
  const page = kept.get("index.html")?.toString() ?? "";
  const first = [...kept].filter(([name]) => page.includes(name) || /^assets\/(overview|chart)-/i.test(name)).reduce((sum, [, data]) => sum + gzipSync(data).length, 0);
  console.log(`the first page loads ${first} bytes, compressed`);
  if (first > most) {
    console.error(`the first page may load ${most}`);
    process.exit(1);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
