// The page's language, and talking to the studio. What the words are stands in wording.py.
const root = document.documentElement;
let table = {};

export const language = () => root.dataset.language;
export const say = (key, values = {}) =>
  Object.entries(values).reduce((text, [name, value]) => text.replaceAll(`{${name}}`, value), table[key]?.[language()] ?? key);
export const pick = (text) => text?.[language()] ?? text?.en ?? "";

export const learn = (words) => { table = words; };

export const speak = (chosen) => {
  root.dataset.language = chosen;
  root.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const which of ["en", "zh"]) {
    document.getElementById(`language-${which}`).setAttribute("aria-pressed", String(which === chosen));
  }
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word);
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = say(element.dataset.placeholder);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
  document.title = say("title");
  try { localStorage.setItem("medillus-language", chosen); } catch { /* a browser may keep nothing */ }
  document.dispatchEvent(new Event("spoken"));
};

export const preferred = () => {
  let kept = null;
  try { kept = localStorage.getItem("medillus-language"); } catch { /* likewise */ }
  return kept === "zh" || kept === "en" ? kept : navigator.language.startsWith("zh") ? "zh" : "en";
};

// { status, body }; status 0 where nobody answers.
export const ask = async (path, body, kind = "application/json") => {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": kind }, body: kind === "application/json" && !(body instanceof Blob) ? JSON.stringify(body) : body,
  };
  try {
    const answer = await fetch(path, options);
    return { status: answer.status, body: await answer.json() };
  } catch {
    return { status: 0, body: { error: table.offline ?? { en: "offline", zh: "offline" } } };
  }
};

export const element = (name, text = "", attributes = {}) => {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
