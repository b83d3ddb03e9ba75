/** Numbers, times and durations, as the page's language writes them. */

import { locale } from "./language.js";

const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
const exact = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });
const toTheSecond = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
const dayAndTime = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit" });
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 });

const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

/** `12,345`. */
export const number = (value) => whole.format(value);

/** `12.3K`. */
export const compact = (value) => short.format(value);

/** `98.5%`, of a share from 0 to 1. */
export const share = (value) => percent.format(value);

/** Date and time to the second. */
export const moment = (iso) => exact.format(new Date(iso));

/** Hours and minutes. */
export const timeOfDay = (iso) => clock.format(new Date(iso));

/** The time to the second for today, date and time for other days. */
export function when(iso) {
  const date = new Date(iso);
  return (date.toDateString() === new Date().toDateString() ? toTheSecond : dayAndTime).format(date);
}

/** `2 min. ago`, `in 5 sec.`; `now` is in milliseconds since 1970. */
export function ago(iso, now = Date.now()) {
  const seconds = Math.round((new Date(iso).getTime() - now) / 1000);
  const [unit, length] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS.at(-1);
  return relative.format(Math.trunc(seconds / length), unit);
}

/** `350 ms`, `2.5 s`, `3 min`, of seconds. */
export function duration(seconds) {
  if (seconds < 1) return unitOf(seconds * 1000, "millisecond", 0);
  if (seconds < 120) return unitOf(seconds, "second", seconds < 10 ? 1 : 0);
  return seconds < 7_200 ? unitOf(seconds / 60, "minute", 0) : unitOf(seconds / 3_600, "hour", 1);
}

function unitOf(value, unit, digits) {
  const format = { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits };
  return new Intl.NumberFormat(locale, format).format(value);
}
