/** Where the focus goes when what had it is gone: to the beginning of what is there, not to nowhere. */

/** Focus the title of the view. */
export const focusTitle = () => document.querySelector("main h1")?.focus({ preventScroll: true });

/** Do what may take away what has the focus. A dialog looks after its own. */
export function keepingFocus(run) {
  const before = document.activeElement;
  run();
  if (!before?.isConnected) focusTitle();
}

/** Focus the title where nothing has the focus, as after a dialog whose button is gone. */
export function findFocus() {
  if (document.activeElement === document.body) focusTitle();
}
