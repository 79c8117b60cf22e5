// A shot as a section, a take as a card. A card is drawn anew only when what it tells has changed.

import { place } from "./api.js";
import { make, when } from "./dom.js";
import { scrubbed } from "./sprite.js";

export const nameOf = (shot) => (shot.show === "default" ? shot.shot_id : `${shot.show} / ${shot.shot_id}`);

export class Section {
  constructor(job, shot, act) {
    this.job = job;
    this.act = act;
    this.cards = new Map();
    this.head = make("h2");
    this.prompt = make("p");
    this.grid = make("div", { class: "cards" });
    this.element = make("section", {}, this.head, this.prompt, this.grid);
    this.update(shot);
  }

  update(shot) {
    const told = JSON.stringify(shot);
    if (told === this.told) return;
    this.told = told;
    this.shot = shot;
    this.element.dataset.shot = `${shot.show}/${shot.shot_id}`;
    const by = shot.who ? `${shot.who}, ${when(shot.when)}` : "";
    // Requests name their job; those of other jobs of the shot are not awaited here.
    const own = shot.retakes.filter((one) => !String(one.id).includes(":") || String(one.id).startsWith(`${this.job}:`));
    const asked = own.length ? `${own.reduce((sum, one) => sum + (one.count || 1), 0)} asked for again` : "";
    this.head.replaceChildren(
      make("span", {}, nameOf(shot)), make("span", { class: `chip ${shot.state}` }, shot.state),
      make("span", { class: "by" }, [by, asked].filter(Boolean).join(" · ")),
    );
    this.prompt.textContent = shot.takes[0]?.prompt ?? "";
    for (const take of shot.takes) {
      const key = cardKey(take);
      const card = this.cards.get(key);
      if (card) card.update(take, shot);
      else {
        this.cards.set(key, new Card(this.job, take, shot, this.act));
        this.grid.append(this.cards.get(key).element);
      }
    }
  }
}

/** A take without a key yet is known by its number. */
export const cardKey = (take) => `${take.revision}.${take.take}`;

class Card {
  constructor(job, take, shot, act) {
    this.job = job;
    this.act = act;
    this.picture = make("div", { class: "pic" });
    this.facts = make("div", { class: "facts" });
    this.element = make("article", { tabindex: "-1" }, this.picture, this.facts);
    this.element.card = this;
    this.element.addEventListener("pointerdown", () => act("focus", this));
    this.picture.addEventListener("click", () => act("play", this));
    this.update(take, shot);
  }

  update(take, shot) {
    const told = JSON.stringify([take, shot.selected, shot.best]);
    this.shot = shot;
    this.take = take;
    if (told === this.told) return;
    this.told = told;
    for (const name of ["approved", "rejected", "retake"]) this.element.classList.toggle(name, take.verdict === name);
    this.element.dataset.key = take.spec_key ?? "";
    this.element.dataset.take = take.take;
    this.draw(take);
    this.tell(take, shot);
  }

  draw(take) {
    const drawn = take.state === "committed" ? take.spec_key : take.state;
    this.element.classList.toggle("running", take.state === "running");
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.picture.replaceChildren();
    if (take.state !== "committed") {
      const like = this.shot.takes.find((other) => other.width);
      if (like) this.picture.style.aspectRatio = `${like.width} / ${like.height}`;
      this.picture.append(take.state === "running" ? "rendering" : take.state);
      return;
    }
    this.picture.style.aspectRatio = `${take.width} / ${take.height}`;
    const poster = make("img", { loading: "lazy", decoding: "async", alt: "", src: place("poster", this.job, take) });
    this.picture.append(poster);
    if (take.task !== "still" && take.frames > 1) scrubbed(this.picture, this.job, take);
  }

  tell(take, shot) {
    const figures = [];
    if (take.rank != null) figures.push(`quality ${take.rank.toFixed(3)}`);
    if (take.identity_score != null) figures.push(`identity ${take.identity_score.toFixed(2)}`);
    if (take.passed === false) figures.push(`failed its checks${take.reasons?.length ? `: ${take.reasons.join(", ")}` : ""}`);
    if (take.gpu_s != null) figures.push(`${take.gpu_s.toFixed(1)} GPU s`);
    figures.push(`seed ${take.seed}`);
    const goes = shot.selected === take.spec_key ? "goes on" : shot.best === take.spec_key ? "best" : "";
    this.facts.replaceChildren(
      make("div", { class: "top" }, make("strong", {}, `take ${take.take}`),
        take.verdict ? make("span", { class: `chip ${take.verdict}` }, take.verdict) : "",
        goes && take.spec_key ? make("span", { class: "chip" }, goes) : ""),
      make("div", { class: "figures" }, figures.join(" · ")),
      take.who ? make("div", { class: "who" }, `${take.who}, ${when(take.when)}`) : "",
      take.note ? make("p", { class: "note" }, take.note) : "",
      this.buttons(take),
    );
  }

  buttons(take) {
    const acts = make("div", { class: "acts" });
    const wanted = take.state === "committed" ? [["approved", "Approve"], ["rejected", "Reject"]] : [];
    if (take.spec_key) wanted.push(["retake", "Retake"]);
    for (const [verdict, words] of wanted) {
      const button = make("button", { type: "button", tabindex: "-1" }, words);
      button.addEventListener("click", () => this.act(verdict, this));
      acts.append(button);
    }
    return acts;
  }
}
