// One take large, or several side by side, played together.

import { place } from "./api.js";
import { nameOf } from "./cards.js";
import { byId, make, when } from "./dom.js";

export const MOST_BESIDE = 6;
const dialog = byId("viewer");
const stage = dialog.querySelector(".stage");
const scrub = dialog.querySelector(".scrub");
const said = dialog.querySelector(".said");
let shown = [];

export const isOpen = () => dialog.open;
export const compared = () => shown;

export function open(job, cards) {
  shown = cards;
  const several = cards.length > 1;
  stage.replaceChildren(...cards.map((card, number) => figure(job, card, several ? `${number + 1}: ` : "")));
  scrub.hidden = !videos().length;
  tell();
  if (!dialog.open) dialog.showModal();
  scrub.blur(); // the slider follows the film until somebody takes it
  play();
}

export function close() {
  dialog.close();
}

export function tell() {
  if (shown.length !== 1) {
    said.textContent = "1 to 6 chooses; space stops and plays all together";
    return;
  }
  const { take, shot } = shown[0];
  const verdict = take.verdict ? `${take.verdict} by ${take.who}, ${when(take.when)}${take.note ? `: ${take.note}` : ""}` : "no verdict yet";
  said.textContent = `${nameOf(shot)}, take ${take.take} · ${verdict} · ${take.prompt ?? ""}`;
}

export function toggle() {
  const all = videos();
  const playing = all.some((video) => !video.paused);
  for (const video of all) playing ? video.pause() : start(video);
}

/** Frames back (negative) or on, in all films; they stand still then. */
export function step(frames) {
  for (const [number, video] of videos().entries()) {
    video.pause();
    const fps = shown[number]?.take.fps || 24;
    video.currentTime = Math.min(video.duration || 0, Math.max(0, video.currentTime + frames / fps));
  }
}

function figure(job, card, before) {
  const { take, shot } = card;
  const source = place("film", card.job ?? job, take); // a bake-off compares takes of several jobs
  const still = take.task === "still" || take.frames === 1;
  const picture = still
    ? make("img", { src: source, alt: "" })
    : make("video", { src: source, loop: "", playsinline: "", preload: "auto" });
  if (!still) {
    picture.muted = true;
    picture.addEventListener("error", () => picture.replaceWith(make("p", {}, "the film could not be loaded")));
    picture.addEventListener("timeupdate", () => {
      if (picture === videos()[0] && picture.duration && document.activeElement !== scrub)
        scrub.value = (1000 * picture.currentTime) / picture.duration;
    });
  }
  const figures = [`${before}${nameOf(shot)} take ${take.take}`];
  if (take.rank != null) figures.push(`quality ${take.rank.toFixed(3)}`);
  if (take.verdict) figures.push(take.verdict);
  return make("figure", { "data-take": take.take }, picture, make("figcaption", {}, figures.join(" · ")));
}

const videos = () => [...stage.querySelectorAll("video")];

function start(video) {
  video.play().catch(() => {}); // taken away while it was loading
}

function play() {
  for (const video of videos()) start(video);
}

scrub.addEventListener("input", () => {
  for (const video of videos()) {
    video.pause();
    if (video.duration) video.currentTime = (scrub.value / 1000) * video.duration;
  }
});

dialog.addEventListener("close", () => {
  stage.replaceChildren();
  shown = [];
});
