/** Repeats something while the page can be seen. */

const AFTER_FAILURE_MS = 5_000;

/**
 * Runs `step` now, and again after as many milliseconds as it resolves to; not while the page is hidden, and at once
 * when it is seen again.
 *
 * @param {() => Promise<number>} step is run again after a pause when it throws or rejects
 * @returns {() => void} runs it at once, or once more when it runs already.
 */
export function whileSeen(step) {
  let timer = 0;
  let isRunning = false;
  let isWanted = false;

  async function run() {
    isWanted = true;
    if (isRunning) return;
    isRunning = true;
    clearTimeout(timer);
    let pauseMs = 0;
    while (isWanted) {
      isWanted = false;
      pauseMs = await pauseAfter(step);
    }
    isRunning = false;
    if (document.visibilityState === "visible") timer = setTimeout(run, pauseMs);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") run();
    else clearTimeout(timer);
  });
  run();
  return run;
}

async function pauseAfter(step) {
  try {
    return await step();
  } catch {
    return AFTER_FAILURE_MS;
  }
}
