/** Keeps the keyboard's place when what had the focus is gone. */

/**
 * Runs `change`. If that removes the element with the focus, its place in the list gets it (the same kind of button of
 * whatever stands there now), or else the heading of its section.
 *
 * @param {() => void} change
 */
export function keepingFocus(change) {
  const before = document.activeElement;
  const item = before?.closest("li[data-id]");
  const list = item?.parentElement;
  const section = before?.closest("section");
  const [place, kind] = [list ? [...list.children].indexOf(item) : 0, before?.className];
  change();
  if (!section || document.activeElement === before) return;
  const next = list?.isConnected ? (list.children[place] ?? list.lastElementChild) : null;
  const buttons = [...(next?.querySelectorAll("button") ?? [])];
  const target = buttons.find(({ className }) => className === kind) ?? buttons[0] ?? section.querySelector("h2");
  target?.focus({ preventScroll: true });
}
