/**
 * The page's language: Portuguese or English, whichever the browser's user names first; English for all others.
 *
 * Texts are plain: `{name}` is replaced by what is given, and what is rendered from them is escaped like all text.
 */

const KNOWN = ["en", "pt"];

/** `en` or `pt`. */
export const language =
  navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => KNOWN.includes(tag)) ?? "en";

/** The whole tag, for `Intl`: `pt-BR` writes other dates than `pt-PT`. */
export const locale = navigator.languages.find((tag) => tag.toLowerCase().startsWith(language)) ?? language;

document.documentElement.lang = locale;

const pluralRules = new Intl.PluralRules(locale);

/**
 * A function that gives texts by their names. A text may be an object of forms (`one`, `other`), chosen by `count`.
 *
 * @param {{en: Record<string, string | Record<string, string>>, pt: Record<string, string | Record<string, string>>}} texts
 * @returns {(name: string, values?: Record<string, string | number>) => string} throws on a name that there is not.
 */
export function translator(texts) {
  return (name, values = {}) => {
    const text = texts[language][name];
    if (text === undefined) throw new Error(`there is no text "${name}" in ${language}`);
    const form = typeof text === "string" ? text : (text[pluralRules.select(Number(values.count))] ?? text.other);
    return form.replace(/\{(\w+)\}/g, (_, key) => shown(values[key]));
  };
}

function shown(value) {
  return typeof value === "number" ? value.toLocaleString(locale) : String(value);
}
