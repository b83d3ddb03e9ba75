/** The page's texts by name: `t("name", {count: 2})`. What the registry says, it says in English. */

import { translator } from "./web/language.js";
import { EN } from "./texts_en.js";
import { PT } from "./texts_pt.js";

export const t = translator({ en: EN, pt: PT });
