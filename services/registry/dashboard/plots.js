/** `<time-plot>`: lines or bars over time, on a canvas, in the page's own colours. Others have to say what it shows. */

import uPlot from "./web/vendor/uplot/uPlot.esm.js";
import { timeOfDay } from "./web/format.js";

const HEIGHT = 150;
/** Steps of an axis: of counts, and of durations, where none of the labels needs to be rounded. */
const COUNTS = steps(0, 15);
const SECONDS = [...steps(-3, 0), 10, 20, 60, 120, 300, 600, 1_200, 3_600, 7_200, 18_000, 36_000];
const DASHES = [6, 4];
const DARK = matchMedia("(prefers-color-scheme: dark)");

/**
 * Properties: `series`, `[{label, colour: "--accent", isFilled, isBar, isDashed}]`, `data`, as uPlot takes it (seconds
 * first), `write`, which writes a value at the axis, and `isWhole`, whether values are counts; else they are seconds.
 */
class TimePlot extends HTMLElement {
  #plot = null;
  #series = [];
  #data = null;
  #key = "";
  #sizes = new ResizeObserver(() => this.#fit());
  #again = () => this.#rebuild();
  write = String;
  isWhole = true;

  set series(series) {
    const key = JSON.stringify(series);
    if (key === this.#key) return;
    [this.#key, this.#series] = [key, series];
    this.#rebuild();
  }

  set data(data) {
    this.#data = data;
    if (this.#plot && this.#plot.series.length === data.length) this.#plot.setData(data);
    else this.#rebuild();
  }

  connectedCallback() {
    this.#sizes.observe(this);
    DARK.addEventListener("change", this.#again);
    this.#rebuild();
  }

  disconnectedCallback() {
    this.#sizes.disconnect();
    DARK.removeEventListener("change", this.#again);
    this.#plot?.destroy();
    this.#plot = null;
  }

  #fit() {
    if (this.#plot && this.clientWidth && this.clientWidth !== this.#plot.width) {
      this.#plot.setSize({ width: this.clientWidth, height: HEIGHT });
    }
  }

  #rebuild() {
    this.#plot?.destroy();
    this.#plot = null;
    if (!this.isConnected || !this.#data || this.#data.length !== this.#series.length + 1) return;
    this.#plot = new uPlot(this.#options(), this.#data, this);
  }

  #options() {
    const [line, text] = [this.#colour("--line"), this.#colour("--muted")];
    const axis = {
      stroke: text,
      font: "12px system-ui, sans-serif",
      ticks: { show: false },
      grid: { stroke: line, width: 1 },
    };
    return {
      width: this.clientWidth || 300,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      padding: [8, 18, 0, 0],
      scales: { y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [
        {
          ...axis,
          grid: { show: false },
          values: (_plot, at) => at.map((second) => timeOfDay(second * 1000)),
          space: 70,
          size: 26,
          gap: 4,
        },
        {
          ...axis,
          values: (_plot, at) => at.map((value) => this.write(value)),
          size: 58,
          space: 36,
          incrs: this.isWhole ? COUNTS : SECONDS,
        },
      ],
      series: [{}, ...this.#series.map((one) => this.#drawn(one))],
    };
  }

  #drawn({ label, colour, isFilled, isBar, isDashed }) {
    const stroke = this.#colour(colour);
    if (isBar)
      return { label, fill: stroke, width: 0, paths: uPlot.paths.bars({ size: [0.8, 12] }), points: { show: false } };
    const faint = isFilled ? this.#colour(colour, "22%") : undefined;
    const dash = isDashed ? DASHES : undefined;
    return { label, stroke, fill: faint, width: 2, dash, points: { show: true, size: 4, fill: stroke, filter: alone } };
  }

  /** A canvas knows no CSS variables, so an element says what the colour is now. */
  #colour(name, share = "100%") {
    this.style.color = `color-mix(in srgb, var(${name}) ${share}, transparent)`;
    const colour = getComputedStyle(this).color;
    this.style.color = "";
    return colour;
  }
}

function steps(lowest, highest) {
  const powers = Array.from({ length: highest - lowest + 1 }, (_, at) => 10 ** (lowest + at));
  return powers.flatMap((power) => [1, 2, 5].map((digit) => digit * power));
}

/** Values without neighbours, which are in no line: they get a point. */
function alone(plot, series) {
  const values = plot.data[series];
  return values.flatMap((value, at) =>
    value !== null && (values[at - 1] ?? values[at + 1] ?? null) === null ? [at] : [],
  );
}

customElements.define("time-plot", TimePlot);
