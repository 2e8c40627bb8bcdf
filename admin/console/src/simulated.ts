// Which set versions were simulated in this browser: ids only, for the checklist.
const key = "caracal-simulated";

function kept(): string[] {
  try {
    const list: unknown = JSON.parse(localStorage.getItem(key) ?? "[]");
    return Array.isArray(list) ? list.filter((id) => typeof id === "string") : [];
  } catch {
    return [];
  }
}

export function isSimulated(version: string): boolean {
  return kept().includes(version);
}

export function markSimulated(version: string): void {
  localStorage.setItem(key, JSON.stringify([version, ...kept().filter((id) => id !== version)].slice(0, 500)));
}
