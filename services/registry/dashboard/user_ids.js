/** User ids as they are shown. They are foreign text, and none may look like another or change the words around it. */

const HIDDEN = /[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\\]|(?! )\p{Zs}|^ | (?= |$)/gu;
const PLAIN = /^[ -~]*$/;

/**
 * The id with what nobody sees as escapes: `\u202e` for what turns the direction of writing, `\u0020` for a blank that
 * a page leaves out. What is not plain is set apart from the direction of the text around it.
 */
export function shownId(userId) {
  const seen = userId.replace(HIDDEN, escaped);
  return PLAIN.test(seen) ? seen : `\u2068${seen}\u2069`;
}

function escaped(character) {
  const code = character.codePointAt(0).toString(16);
  return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`;
}
