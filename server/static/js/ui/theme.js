/** Light and dark: the system's choice until the reader makes one, which is then remembered. */

const STORAGE_KEY = "towow.theme";

/** What is shown now. @returns {"light" | "dark"} */
export function currentTheme() {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "light" || chosen === "dark") return chosen;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** Show the other one and remember it. @param {Pick<Storage, "setItem"> | null} storage */
export function toggleTheme(storage) {
  const theme = currentTheme() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    storage?.setItem(STORAGE_KEY, theme);
  } catch {
    // It lasts for this visit.
  }
}
