/**
 * How a Pokémon is shown: its name, and a drawing of our own. The drawing is made of its number alone, always the same,
 * and is nobody's artwork: a round creature whose colours, ears, eyes, mouth and marks are drawn by lot.
 */

import { svg } from "./vendor/lit-html/lit-html.js";

const TURNS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** `mr-mime` as `Mr Mime`. One that is in no table may be any text, but turns nothing round that stands beside it. */
export function displayName(name) {
  const plain = name.replace(TURNS, "");
  return plain.replace(/(^|-)(\p{L})/gu, (_, dash, letter) => (dash ? " " : "") + letter.toUpperCase());
}

/** `#0025`. */
export const displayNumber = (id) => `#${String(id).padStart(4, "0")}`;

const EARS = [
  (tone) => svg`<path d="M26 38 18 12 44 26Z M74 38 82 12 56 26Z" fill=${tone} />`,
  (tone) => svg`<ellipse cx="34" cy="20" rx="8" ry="18" fill=${tone} /><ellipse cx="66" cy="20" rx="8" ry="18" fill=${tone} />`,
  (tone) => svg`<circle cx="26" cy="28" r="13" fill=${tone} /><circle cx="74" cy="28" r="13" fill=${tone} />`,
  (tone) => svg`<path d="M50 30V12" stroke=${tone} stroke-width="5" /><circle cx="50" cy="10" r="7" fill=${tone} />`,
  (tone) => svg`<path d="M34 30 40 8 50 24 60 8 66 30Z" fill=${tone} />`,
  (tone) => svg`<path d="M20 42Q2 30 10 14 24 20 32 32ZM80 42Q98 30 90 14 76 20 68 32Z" fill=${tone} />`,
];

const MARKS = [
  (tone) => svg`<ellipse cx="50" cy="74" rx="20" ry="14" fill=${tone} />`,
  (tone) => svg`<circle cx="27" cy="64" r="6" fill=${tone} /><circle cx="73" cy="64" r="6" fill=${tone} />`,
  (tone) => svg`<path d="M36 30 50 44 64 30Z" fill=${tone} />`,
  (tone) => svg`<path d="M24 74H76M28 82H72" stroke=${tone} stroke-width="5" stroke-linecap="round" />`,
  (tone) => svg`<circle cx="40" cy="78" r="4" fill=${tone} /><circle cx="54" cy="82" r="5" fill=${tone} /><circle cx="64" cy="75" r="3" fill=${tone} />`,
];

const EYES = [
  () => svg`<circle cx="38" cy="54" r="7" fill="#fff" /><circle cx="62" cy="54" r="7" fill="#fff" /><circle cx="39" cy="55" r="3.5" fill="#1a2230" /><circle cx="61" cy="55" r="3.5" fill="#1a2230" />`,
  () => svg`<circle cx="38" cy="54" r="4.5" fill="#1a2230" /><circle cx="62" cy="54" r="4.5" fill="#1a2230" /><circle cx="39.5" cy="52.5" r="1.4" fill="#fff" /><circle cx="63.5" cy="52.5" r="1.4" fill="#fff" />`,
  () => svg`<path d="M32 56Q38 48 44 56M56 56Q62 48 68 56" fill="none" stroke="#1a2230" stroke-width="3.5" stroke-linecap="round" />`,
  () => svg`<circle cx="50" cy="53" r="10" fill="#fff" /><circle cx="50" cy="54" r="5" fill="#1a2230" />`,
];

const MOUTHS = [
  () => svg`<path d="M43 66Q50 72 57 66" fill="none" stroke="#1a2230" stroke-width="3" stroke-linecap="round" />`,
  () => svg`<path d="M44 65H56L50 72Z" fill="#1a2230" />`,
  () => svg`<circle cx="50" cy="68" r="3.5" fill="#1a2230" />`,
  () => svg`<path d="M42 67Q46 71 50 67 54 71 58 67" fill="none" stroke="#1a2230" stroke-width="3" stroke-linecap="round" />`,
];

/** The drawing of a number, for an `svg` of `viewBox="0 0 100 100"`; decoration, so a name has to stand beside it. */
export function drawing(id) {
  const lot = lots(id);
  const hue = lot(360);
  const body = `hsl(${hue} 58% 62%)`;
  const dark = `hsl(${hue} 48% 46%)`;
  const mark = `hsl(${(hue + 40 + lot(280)) % 360} 70% 76%)`;
  const [ears, marks, eyes, mouth] = [EARS, MARKS, EYES, MOUTHS].map((parts) => parts[lot(parts.length)]);
  const [wide, high] = [30 + lot(9), 30 + lot(7)];
  return svg`
    ${ears(dark)}
    <ellipse cx="36" cy="90" rx="10" ry="6" fill=${dark} /><ellipse cx="64" cy="90" rx="10" ry="6" fill=${dark} />
    <ellipse cx="50" cy="58" rx=${wide} ry=${high} fill=${body} />
    ${marks(mark)} ${eyes()} ${mouth()}`;
}

/** Numbers drawn by lot, the same for the same seed (mulberry32). */
function lots(seed) {
  let state = (seed * 0x9e3779b1) >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
