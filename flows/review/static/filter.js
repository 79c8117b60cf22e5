// Which cards are shown, and in which order the shots stand.

import { byId, make } from "./dom.js";

const CHOSEN = ["by-state", "by-verdict", "by-take", "by-tag"];

export function onChange(look) {
  byId("words").addEventListener("input", look);
  for (const id of CHOSEN) byId(id).addEventListener("change", look);
}

/** Shows the cards that fit and hides the others; returns those that are shown, in the order of the page. */
export function apply(sections) {
  const [state, verdict, taken, tag] = CHOSEN.map((id) => byId(id).value);
  const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = [];
  for (const section of sections) {
    const { shot } = section;
    let any = false;
    for (const { element, take } of section.cards.values()) {
      const fits =
        (!state || shot.state === state) &&
        (!verdict || (take.verdict ?? "none") === verdict) &&
        (!taken || take.state === taken) &&
        (!tag || tagsOf(take).includes(tag)) &&
        words.every((word) => textOf(shot, take).includes(word));
      element.hidden = !fits;
      any ||= fits;
      if (fits) shown.push(element);
    }
    section.element.hidden = !any;
  }
  return shown;
}

/** Puts the sections below the board, under a heading for each scene where that is asked for. */
export function arrange(board, sections) {
  if (byId("group").value !== "scene") {
    board.replaceChildren(byId("empty"), ...sections.map((section) => section.element));
    return sections;
  }
  const scenes = new Map();
  for (const section of sections) {
    const scene = section.shot.takes[0]?.scene || section.shot.takes[0]?.sequence || "";
    if (!scenes.has(scene)) scenes.set(scene, []);
    scenes.get(scene).push(section);
  }
  const placed = [];
  const order = [...scenes.keys()].sort((one, other) => (one === "") - (other === ""));
  const elements = order.flatMap((scene) => {
    placed.push(...scenes.get(scene));
    return [make("h2", { class: "scene" }, scene || "no scene"), ...scenes.get(scene).map((section) => section.element)];
  });
  board.replaceChildren(byId("empty"), ...elements);
  return placed;
}

export function offerTags(sections) {
  const select = byId("by-tag");
  const tags = new Set(sections.flatMap((section) => section.shot.takes.flatMap(tagsOf)));
  const had = select.value;
  const offered = [...tags].sort();
  if (offered.join("\n") === [...select.options].slice(1).map((option) => option.value).join("\n")) return;
  select.replaceChildren(make("option", { value: "" }, "any"), ...offered.map((tag) => make("option", { value: tag }, tag)));
  select.value = tags.has(had) ? had : "";
}

const tagsOf = (take) => Object.entries(take.tags ?? {}).map(([name, value]) => (value ? `${name}=${value}` : name));

function textOf(shot, take) {
  const parts = [shot.show, shot.shot_id, `take ${take.take}`, take.prompt, take.note, take.who, take.scene, take.camera, String(take.seed)];
  return parts.filter(Boolean).join(" ").toLowerCase();
}
