// The board: keeps itself like the store, and turns keys and clicks into verdicts.

import * as api from "./api.js";
import { Section } from "./cards.js";
import { byId, make, toast } from "./dom.js";
import * as filter from "./filter.js";
import { keyboard } from "./keys.js";
import * as viewer from "./viewer.js";

const LOOK_MS = 2000;
const LOOK_HIDDEN_MS = 15000;
const board = byId("board");
let job = "";
let storeUrl = "";
let version = "";
let sections = new Map();
let placed = [];
let shown = [];
let at = null; // the card's element that keys act on

const cardOf = (element) => element?.card ?? null;

async function begin() {
  const { jobs, first, who, store } = await api.start();
  document.title = `Review · ${store}`;
  storeUrl = store;
  const asked = new URLSearchParams(location.search).get("job");
  byId("job").replaceChildren(...jobs.map((name) => make("option", { value: name }, name)));
  byId("who").value = recalled() || who;
  if (!jobs.length) {
    byId("empty").textContent = "This store has no jobs.";
    return;
  }
  byId("job").value = jobs.includes(asked) ? asked : first[0] ?? jobs[0];
  await chooseJob();
  for (;;) {
    await new Promise((done) => setTimeout(done, document.hidden ? LOOK_HIDDEN_MS : LOOK_MS));
    await look();
  }
}

async function chooseJob() {
  job = byId("job").value;
  version = "";
  sections = new Map();
  at = null;
  byId("to-bakeoff").href = "bakeoff?" + new URLSearchParams([["job", job]]);
  await look();
}

/** Brings the page up to date with the store. */
async function look() {
  const of = job;
  let told;
  try {
    told = await api.shotsOf(of, version);
  } catch (error) {
    toast(`The store is not to be seen: ${error.message}`);
    return;
  }
  if (told === null || of !== job) return;
  version = told.version;
  byId("live").hidden = !told.live;
  const { shots, takes } = told.counts;
  byId("counts").textContent =
    Object.entries(shots).map(([name, number]) => `${number} ${name}`).join(" · ") +
    ` — ${takes.committed} of ${Object.values(takes).reduce((sum, one) => sum + one, 0)} takes` +
    (takes.running ? `, ${takes.running} rendering` : "");
  byId("waiting").hidden = told.live || !takes.pending;
  byId("waiting").querySelector("code").textContent = `rushes retry ${shellWord(storeUrl)} --job ${job}`;
  const before = sections.size;
  for (const shot of told.shots) takeIn(shot);
  if (sections.size !== before || !placed.length) rearrange();
  filter.offerTags(placed);
  refilter();
  performance.mark("drawn");
}

function takeIn(shot) {
  const key = `${shot.show}/${shot.shot_id}`;
  const section = sections.get(key);
  if (section) section.update(shot);
  else sections.set(key, new Section(job, shot, act));
}

function rearrange() {
  placed = filter.arrange(board, [...sections.values()]);
  refilter();
}

function refilter() {
  shown = filter.apply(placed);
  byId("empty").hidden = shown.length > 0;
  byId("empty").textContent = sections.size ? "No take fits." : "This job has no takes.";
  byId("shown").textContent = `${shown.length} shown`;
  if (at && at.hidden) focusOn(null);
}

function focusOn(element, { scroll = false } = {}) {
  at?.classList.remove("at");
  at = element;
  at?.classList.add("at");
  if (at && scroll) at.scrollIntoView({ block: "nearest" });
  if (at && viewer.isOpen() && viewer.compared().length === 1 && cardOf(at).take.state === "committed") viewer.open(job, [cardOf(at)]);
}

function move(by) {
  if (!shown.length) return;
  const place = shown.indexOf(at);
  focusOn(shown[place < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, place + by))], { scroll: true });
}

function moveShot(by) {
  const own = placed.filter((section) => !section.element.hidden);
  const place = own.findIndex((section) => section.element.contains(at));
  const next = own[place < 0 ? 0 : Math.min(own.length - 1, Math.max(0, place + by))];
  if (next) focusOn([...next.cards.values()].map((card) => card.element).find((element) => !element.hidden), { scroll: true });
}

function act(what, card) {
  focusOn(card.element);
  if (what === "play") play();
  else if (what === "retake") ask("retake");
  else if (what !== "focus") verdict(what);
}

function play() {
  const card = cardOf(at);
  if (card?.take.state === "committed") viewer.open(job, [card]);
}

function mark() {
  at?.classList.toggle("marked");
  byId("compare").disabled = !shown.length;
}

function compare() {
  let cards = [...board.querySelectorAll("article.marked")].map(cardOf);
  if (cards.length < 2 && at) cards = [...sections.get(at.closest("section").dataset.shot).cards.values()];
  cards = cards.filter((card) => card.take.state === "committed").slice(0, viewer.MOST_BESIDE);
  if (cards.length > 1) viewer.open(job, cards);
  else toast("Mark takes with c first, or go to a shot with several films.");
}

function pick(number) {
  const card = viewer.compared()[number - 1];
  if (!card || viewer.compared().length < 2) return;
  focusOn(card.element, { scroll: true });
  viewer.close();
  for (const element of board.querySelectorAll("article.marked")) element.classList.remove("marked");
  verdict("approved");
}

function ask(what) {
  const card = cardOf(at);
  if (!card) return;
  const dialog = byId("ask");
  const retake = what === "retake";
  byId("ask-title").textContent = `${retake ? "Another take of" : what === "approved" ? "Approve" : "Reject"} ${card.shot.shot_id}${retake ? "" : `, take ${card.take.take}`}`;
  byId("ask-how-many").hidden = !retake;
  byId("ask-note").value = "";
  byId("ask-count").value = 1;
  dialog.showModal();
  byId("ask-note").focus();
  dialog.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    dialog.close();
    verdict(what, byId("ask-note").value.trim(), Number(byId("ask-count").value) || 1);
  };
  dialog.querySelector("button[value=cancel]").onclick = () => dialog.close();
}

async function verdict(what, note = "", count = 1) {
  const card = cardOf(at);
  const who = byId("who").value.trim();
  if (!card || !card.take.spec_key) return;
  if (!who) {
    toast("Say first who you are.");
    byId("who").focus();
    return;
  }
  if (card.take.state !== "committed" && (what === "approved" || what === "rejected")) {
    toast(`Take ${card.take.take} is ${card.take.state}: there is nothing to look at yet.`);
    return;
  }
  const { shot, take } = card;
  try {
    const done = await api.send(job, { spec_key: take.spec_key, verdict: what, note, count, who, seen: shot.seq });
    const queued = done.queued?.length ? `; take ${done.queued.join(", ")} is queued` : "";
    takeIn(done.shot);
    toast(`${shot.shot_id} take ${take.take}: ${what ?? "verdict taken back"}${queued}`);
    if (what && what !== "retake" && at === card.element && !viewer.isOpen()) move(1);
  } catch (error) {
    if (error.shot) takeIn(error.shot);
    tellConflict(error.status === 409 ? `${error.message}. Your verdict was not written${note ? ` (your note: ${note})` : ""}; look again.` : error.message);
  }
  refilter();
  viewer.tell();
  look();
}

function tellConflict(words) {
  byId("conflict").firstElementChild.textContent = words;
  byId("conflict").hidden = false;
}

const shellWord = (text) => (/^[\w./:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function recalled() {
  try {
    return localStorage.getItem("rushes-who");
  } catch {
    return ""; // a browser that keeps nothing
  }
}

byId("who").addEventListener("change", () => {
  try {
    localStorage.setItem("rushes-who", byId("who").value.trim());
  } catch {
    toast("This browser will not remember your name.");
  }
});
byId("job").addEventListener("change", chooseJob);
byId("group").addEventListener("change", rearrange);
byId("compare").addEventListener("click", compare);
byId("keys").addEventListener("click", () => byId("help").showModal());
byId("conflict").querySelector("button").addEventListener("click", () => (byId("conflict").hidden = true));
filter.onChange(refilter);
keyboard({ move, moveShot, play, verdict, ask, mark, compare, pick });
byId("compare").disabled = false;
begin().catch((error) => (byId("empty").textContent = error.message));
