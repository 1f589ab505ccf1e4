/**
 * Runs before the first paint: the remembered theme, so that a dark page never flashes white.
 *
 * A classic script in the head on purpose; modules run after the first paint.
 */
(() => {
  try {
    const theme = localStorage.getItem("towow.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Without storage the page follows the system.
  }
})();
