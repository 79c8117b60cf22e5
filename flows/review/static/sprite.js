// Scrubbing: the pointer's place over a poster chooses one picture of the take's sprite.

import { place } from "./api.js";
import { make } from "./dom.js";

const MOST_TILES = 25; // as the server makes them
const PATIENCE_MS = 120; // a pointer that only passes asks for nothing

export function scrubbed(picture, job, take) {
  const step = Math.max(1, Math.ceil(take.frames / MOST_TILES));
  const tiles = Math.ceil(take.frames / step);
  if (tiles < 2) return;
  let waiting = 0;
  let strip = null;
  const bar = make("div", { class: "at-frame" });
  const show = (event) => {
    if (!strip) return;
    const box = picture.getBoundingClientRect();
    const tile = Math.min(tiles - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * tiles)));
    strip.style.backgroundPosition = `${(tile / (tiles - 1)) * 100}% 0`;
    strip.dataset.tile = tile;
    bar.style.width = `${((tile + 1) / tiles) * 100}%`;
  };
  const leave = () => {
    clearTimeout(waiting);
    strip?.remove();
    bar.remove();
    strip = null;
  };
  picture.addEventListener("pointerenter", (event) => {
    waiting = setTimeout(async () => {
      const url = place("sprite", job, take);
      const image = new Image();
      image.src = url;
      try {
        await image.decode();
      } catch {
        return; // no sprite: the poster stays
      }
      if (!picture.matches(":hover")) return;
      strip = make("div", { class: "strip" });
      strip.style.backgroundImage = `url("${url}")`;
      strip.style.backgroundSize = `${tiles * 100}% 100%`;
      picture.append(strip, bar);
      show(event);
    }, PATIENCE_MS);
  });
  picture.addEventListener("pointermove", show);
  picture.addEventListener("pointerleave", leave);
}
