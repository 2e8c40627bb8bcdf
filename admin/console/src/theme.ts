// Light or dark: as the system says, until a person chooses.
export type Theme = "system" | "light" | "dark";

const key = "caracal-theme";

export function theme(): Theme {
  const kept = localStorage.getItem(key);
  return kept === "light" || kept === "dark" ? kept : "system";
}

export function applyTheme(next: Theme = theme()): void {
  if (next === "system") localStorage.removeItem(key);
  else localStorage.setItem(key, next);
  document.documentElement.dataset["theme"] = next;
}
