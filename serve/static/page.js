"use strict";
// Translates while somebody types. All texts are shown with textContent.
const DELAY = 400; // milliseconds without a key before a text is translated
const CERTAIN = 90; // per cent: a text in the target language is then translated into the other language
const EXPLAIN_DELAY = 800;
const REMEMBER_DELAY = 3000;
const ENTRIES = 30;
const SURE = 0.7, UNSURE = 0.3; // confidences without shade and with the full shade
const STORE = "paper-transformer";
const byId = (id) => document.getElementById(id);
const text = byId("text"), output = byId("output"), source = byId("source"), target = byId("target");
let languages = [], limit = Infinity;
let settings = {}; // of the server
let store = { history: [] };
let parts = []; // strings, and sentences as the server sends them, with the number of the chosen translation
let selected = -1; // number of a part
let shown = null; // the request whose answer is on the page
let detected; // the language of its text, if the server detected it

function make(name, content, parent) {
  const element = document.createElement(name);
  element.textContent = content;
  parent.append(element);
  return element;
}

function nameOf(code) {
  return languages.find((language) => language.code === code)?.name ?? code;
}

// Runs the last task after a delay. A newer task stops the one that is waiting or running.
function lastOnly() {
  let timer, controller = new AbortController();
  return (task, delay) => {
    clearTimeout(timer);
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    if (task) timer = setTimeout(() => task(signal), delay);
  };
}
const translateLast = lastOnly(), explainLast = lastOnly(), rememberLast = lastOnly();

class ServerError extends Error {
  constructor(message, seconds = 0) {
    super(message);
    this.seconds = seconds; // after which the request may be sent again, or 0
  }
}

async function send(path, body, signal) {
  let response;
  try {
    const headers = body instanceof FormData ? {} : { "Content-Type": "application/json" };
    response = await fetch(path, { method: "POST", body, signal, headers });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServerError("The server does not answer. Is it running?");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const seconds = response.status === 429 ? Number(response.headers.get("Retry-After")) : 0;
  throw new ServerError(answer.error ?? `The server answered with the status ${response.status}`, seconds);
}

function post(path, fields, signal) {
  const key = byId("key").value;
  return send(path, JSON.stringify(key ? { ...fields, api_key: key } : fields), signal);
}

function request() {
  return { q: text.value, source: source.value, target: target.value, beam: byId("beam").value };
}

function lengthOf(content) {
  return [...content].length; // characters, as the server counts them
}

function schedule(delay = DELAY) {
  output.setAttribute("aria-busy", String(text.value.trim() !== ""));
  rememberLast();
  byId("problem").textContent = "";
  const length = lengthOf(text.value);
  byId("count").textContent = `${length} / ${limit}`;
  if (text.value.trim() && length <= limit) {
    translateLast(translate, delay);
    return;
  }
  translateLast();
  show({ parts: [] }, null);
  if (length > limit) byId("problem").textContent = `The text has ${length} characters. This server translates at most ${limit} at once.`;
}

async function translate(signal) {
  const asked = request();
  try {
    const answer = await (await post("sentences", asked, signal)).json();
    if (signal.aborted) return;
    byId("problem").textContent = "";
    show(answer, asked);
    rememberLast(remember, REMEMBER_DELAY);
  } catch (error) {
    if (signal.aborted) return;
    show({ parts: [] }, null);
    byId("problem").textContent = error.message + (error.seconds ? `. The page tries again in ${error.seconds} s.` : "");
    if (error.seconds) translateLast(translate, 1000 * error.seconds);
  }
}

function show(answer, asked) {
  shown = asked;
  parts = answer.parts.map((part) => (typeof part === "string" ? part : { ...part, chosen: 0 }));
  output.setAttribute("aria-busy", "false");
  output.lang = target.value;
  output.replaceChildren();
  byId("download").hidden = true;
  const sentences = parts.filter((part) => typeof part !== "string");
  for (const part of parts) {
    if (typeof part === "string") output.append(part);
    else makeSentence(part);
  }
  byId("copy").disabled = parts.length === 0;
  byId("legend").hidden = !sentences.some((part) => confidenceOf(part) !== null);
  detected = answer.detectedLanguage?.language;
  showDetected(answer.detectedLanguage);
  byId("swap").disabled = !otherSource();
  byId("status").textContent = asked === null ? "" : describe(sentences);
  select(parts.findIndex((part) => typeof part !== "string"));
}

function describe(sentences) {
  if (sentences.length === 0) return "The text is unchanged";
  const known = sentences.map(confidenceOf).filter((value) => value !== null);
  const count = sentences.length === 1 ? "1 sentence" : `${sentences.length} sentences`;
  return `${count} translated` + (known.length ? `, lowest confidence ${Math.min(...known).toFixed(2)}` : "");
}

function confidenceOf(part) {
  return part.translations[part.chosen].confidence;
}

function makeSentence(part) {
  const span = make("span", "", output);
  span.className = "part";
  span.setAttribute("role", "button");
  span.addEventListener("click", () => select(parts.indexOf(part)));
  part.span = span;
  fill(part);
}

function fill(part) {
  const confidence = confidenceOf(part);
  part.span.textContent = part.translations[part.chosen].text;
  part.span.title = confidence === null ? "" : `Confidence ${confidence.toFixed(2)}`;
  const share = confidence === null ? 0 : Math.min(1, Math.max(0, (SURE - confidence) / (SURE - UNSURE)));
  part.span.style.setProperty("--share", `${(100 * share).toFixed(0)}%`);
}

function select(number) {
  selected = number;
  const sentences = parts.filter((part) => typeof part !== "string");
  for (const part of sentences) {
    part.span.tabIndex = part === parts[number] ? 0 : -1;
    part.span.setAttribute("aria-pressed", String(part === parts[number]));
  }
  output.classList.toggle("several", sentences.length > 1);
  byId("sentence").hidden = byId("explain").hidden = number < 0;
  explainLast();
  const view = byId("explanation");
  view.style.minHeight = `${view.clientHeight}px`; // so that the page does not jump until the next view is there
  view.replaceChildren();
  if (number < 0) return;
  byId("sentence-label").textContent = `Sentence ${sentences.indexOf(parts[number]) + 1} of ${sentences.length}`;
  showAlternatives(parts[number]);
  explainSoon();
}

function showAlternatives(part) {
  const confidence = confidenceOf(part);
  byId("sentence-source").textContent = part.source;
  byId("confidence").textContent = confidence === null ? "" : `Confidence ${confidence.toFixed(2)} of 1`;
  byId("alternatives").replaceChildren();
  part.translations.forEach((translation, n) => {
    const button = make("button", "", make("li", "", byId("alternatives")));
    button.type = "button";
    button.setAttribute("aria-pressed", String(n === part.chosen));
    make("span", translation.text, button).lang = target.value;
    make("small", `score ${translation.score.toFixed(2).replace("-", "−")}`, button);
    button.addEventListener("click", () => {
      part.chosen = n;
      fill(part);
      showAlternatives(part);
      byId("alternatives").children[n].firstElementChild.focus();
    });
  });
}

output.addEventListener("keydown", (event) => {
  const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "Enter" || event.key === " ") event.preventDefault();
  if (!move) return;
  event.preventDefault();
  const numbers = parts.flatMap((part, n) => (typeof part === "string" ? [] : [n]));
  const next = numbers[numbers.indexOf(selected) + move];
  if (next === undefined) return;
  select(next);
  parts[next].span.focus();
});

// Languages

function fillSelect(element, options) {
  const value = element.value;
  element.replaceChildren();
  for (const [key, name] of options) make("option", name, element).value = key;
  if (options.some(([key]) => key === value)) element.value = value;
}

function choose(element, ...values) {
  const known = [...element.options].map((option) => option.value);
  element.value = values.find((value) => known.includes(value)) ?? known[0];
}

function otherTargets(code) {
  return (languages.find((language) => language.code === code)?.targets ?? []).filter((other) => other !== code);
}

function fillTargets() {
  const from = source.value;
  const codes = languages.map(({ code }) => code).filter((code) => code === from || from === "auto").flatMap(otherTargets);
  fillSelect(target, [...new Set(codes)].map((code) => [code, nameOf(code)]));
}

function changeLanguages() {
  fillTargets();
  text.lang = source.value === "auto" ? "" : source.value;
  byId("swap").disabled = !otherSource();
  save();
  schedule(0);
}

function showDetected(found) {
  const line = byId("detected");
  line.textContent = found ? `Detected: ${nameOf(found.language)} (${found.confidence} %)` : "";
  if (!found || found.language !== target.value) return;
  const others = otherTargets(found.language);
  if (others.length === 1 && found.confidence >= CERTAIN) {
    target.value = others[0];
    changeLanguages();
    return;
  }
  line.append(". Choose another target.");
}

// The target language after a swap; undefined if no model translates into it.
function otherSource() {
  const codes = otherTargets(target.value);
  const from = source.value === "auto" ? detected ?? codes[0] : source.value;
  return codes.find((code) => code === from);
}

byId("swap").addEventListener("click", () => {
  const from = otherSource();
  const translated = output.getAttribute("aria-busy") === "false" ? output.textContent : "";
  source.value = target.value;
  fillTargets();
  target.value = from;
  text.value = translated || text.value;
  changeLanguages();
});
source.addEventListener("change", changeLanguages);
target.addEventListener("change", changeLanguages);
byId("beam").addEventListener("change", () => { save(); schedule(0); });
text.addEventListener("input", () => schedule());
byId("clear").addEventListener("click", () => { text.value = ""; schedule(0); text.focus(); });

byId("copy").addEventListener("click", async () => {
  const copied = output.textContent;
  try {
    await navigator.clipboard.writeText(copied);
  } catch { // the page has no clipboard without HTTPS
    const field = make("textarea", copied, document.body);
    field.select();
    document.execCommand("copy");
    field.remove();
    byId("copy").focus();
  }
  if (shown) remember();
  byId("status").textContent = "Copied";
});

// Files

async function openFile(file) {
  byId("problem").textContent = "";
  const ending = file.name.slice(file.name.lastIndexOf(".")).toLowerCase();
  try {
    const content = await read(file);
    if (lengthOf(content) > limit || (ending !== ".txt" && settings.supportedFilesFormat.includes(ending))) {
      text.value = "";
      schedule();
      output.setAttribute("aria-busy", "true");
      byId("status").textContent = `The server translates ${file.name}`;
      translateLast((signal) => translateFile(file, content, signal), 0);
    } else {
      text.value = content;
      schedule(0);
    }
  } catch (error) {
    show({ parts: [] }, null);
    byId("problem").textContent = error.message;
  }
}

async function read(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const utf16 = { "255,254": "utf-16le", "254,255": "utf-16be" }[bytes.subarray(0, 2).join()];
  try {
    return new TextDecoder(utf16 ?? "utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error(`${file.name} is not a text file. Choose a text in UTF-8.`);
  }
}

async function translateFile(file, content, signal) {
  try {
    const form = new FormData();
    form.append("source", await languageOf(file, content, signal));
    form.append("target", target.value);
    if (byId("key").value) form.append("api_key", byId("key").value);
    form.append("file", file);
    const answer = await (await send("translate_file", form, signal)).json();
    if (signal.aborted) return;
    show({ parts: [] }, null);
    const link = byId("download");
    link.href = `download_file/${answer.translatedFileUrl.split("/").at(-1)}`;
    link.textContent = `Download the translation of ${file.name}`;
    link.hidden = false;
    byId("status").textContent = `${file.name} is translated into ${nameOf(target.value)}`;
    link.focus();
  } catch (error) {
    if (signal.aborted) return;
    show({ parts: [] }, null);
    byId("problem").textContent = error.message;
  }
}

// The source language of a file. If the file is in the target language, the target is changed.
async function languageOf(file, content, signal) {
  if (source.value !== "auto") return source.value;
  const words = content.replace(/<[^>]*>/g, " ").slice(0, limit);
  const [found] = await (await post("detect", { q: words }, signal)).json();
  if (found.language === target.value) {
    const others = otherTargets(found.language);
    if (others.length !== 1) throw new Error(`${file.name} is in ${nameOf(found.language)}. Choose another target.`);
    target.value = others[0];
    save();
  }
  return found.language;
}

byId("file").addEventListener("change", () => {
  const [file] = byId("file").files;
  if (file) openFile(file);
  byId("file").value = ""; // so that the same file can be chosen again
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    text.classList.toggle("drop", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) openFile(event.dataTransfer.files[0]);
  });
}

// Explanation

function explainSoon() {
  if (selected >= 0 && byId("explain").open) explainLast(explain, EXPLAIN_DELAY);
}

async function explain(signal) {
  byId("explain-status").textContent = "The server explains the sentence";
  try {
    const fields = { ...shown, q: parts[selected].source, source: detected ?? shown.source };
    const page = await (await post("explain", fields, signal)).text();
    if (signal.aborted) return;
    const frame = document.createElement("iframe"); // a new one, so that the history of the browser has no entry
    frame.title = "How the model translates this sentence";
    frame.setAttribute("sandbox", "allow-scripts");
    frame.srcdoc = page;
    byId("explanation").replaceChildren(frame);
    byId("explain-status").textContent = "";
  } catch (error) {
    if (signal.aborted) return;
    byId("explain-status").textContent = error.message;
    byId("explanation").style.minHeight = "";
  }
}

window.addEventListener("message", (event) => {
  const frame = byId("explanation").firstElementChild;
  if (frame && event.source === frame.contentWindow && Number.isFinite(event.data?.height)) {
    frame.style.height = `${Math.min(event.data.height + 2, 30000)}px`;
    byId("explanation").style.minHeight = "";
  }
});
byId("explain").addEventListener("toggle", () => { save(); explainSoon(); });

// History and settings: in this browser only

function load() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE));
    if (Array.isArray(found?.history)) store = found;
    byId("key").value = sessionStorage.getItem(STORE) ?? "";
  } catch {
    // The browser allows no storage.
  }
}

function save() {
  Object.assign(store, { source: source.value, target: target.value, beam: byId("beam").value, explain: byId("explain").open });
  try {
    localStorage.setItem(STORE, JSON.stringify(store));
    sessionStorage.setItem(STORE, byId("key").value);
  } catch {
    // The browser allows no storage, or it is full.
  }
}

// Keeps what is on the page. A text that was continued replaces its beginning.
function remember() {
  const { q, source: from, target: to } = shown;
  const continued = (entry) => entry.source === from && entry.target === to && (q.startsWith(entry.text) || entry.text.startsWith(q));
  if (store.history.length && continued(store.history[0])) store.history.shift();
  store.history = store.history.filter((entry) => !(entry.text === q && entry.source === from && entry.target === to));
  store.history.unshift({ source: from, detected, target: to, text: q, translation: output.textContent });
  store.history.length = Math.min(store.history.length, ENTRIES);
  save();
  showHistory();
}

function showHistory() {
  byId("entries").replaceChildren();
  byId("forget").disabled = store.history.length === 0;
  for (const entry of store.history) {
    const button = make("button", "", make("li", "", byId("entries")));
    button.type = "button";
    make("small", `${nameOf(entry.detected ?? entry.source)} to ${nameOf(entry.target)}`, button);
    make("span", entry.text, button);
    make("span", entry.translation, button);
    button.addEventListener("click", () => {
      source.value = entry.source;
      fillTargets();
      target.value = entry.target;
      text.value = entry.text;
      changeLanguages();
      text.focus();
    });
  }
}

byId("forget").addEventListener("click", () => {
  store.history = [];
  save();
  showHistory();
  byId("status").textContent = "The history is empty";
});
byId("key").addEventListener("change", () => { save(); schedule(0); });

async function start() {
  load();
  try {
    [languages, settings] = await Promise.all(["languages", "frontend/settings"].map(async (path) => (await fetch(path)).json()));
  } catch {
    byId("problem").textContent = "The server does not answer. Is it running?";
    return;
  }
  limit = settings.charLimit;
  byId("key-line").hidden = !settings.keyRequired;
  if (settings.keyRequired && !byId("key").value) byId("settings").open = true;
  const sources = languages.filter(({ code }) => otherTargets(code).length);
  const options = sources.map(({ code, name }) => [code, name]);
  fillSelect(source, settings.detection ? [["auto", "Detect language"], ...options] : options);
  choose(source, store.source, settings.detection ? "auto" : settings.language.source.code);
  fillTargets();
  choose(target, store.target, settings.language.target.code);
  byId("beam").value = store.beam ?? "";
  byId("explain").open = Boolean(store.explain);
  byId("file").accept = settings.supportedFilesFormat.join();
  text.lang = source.value === "auto" ? "" : source.value;
  showHistory();
  schedule(0);
}
start();
