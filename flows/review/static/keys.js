// What keys do. A key with Ctrl, Alt or Meta is the browser's.

import { byId } from "./dom.js";
import * as viewer from "./viewer.js";

export function keyboard({ move, moveShot, play, verdict, ask, mark, compare, pick }) {
  const keys = {
    j: () => move(1), ArrowRight: () => move(1), k: () => move(-1), ArrowLeft: () => move(-1),
    ArrowDown: () => moveShot(1), ArrowUp: () => moveShot(-1),
    Enter: () => (viewer.isOpen() ? viewer.toggle() : play()), " ": () => (viewer.isOpen() ? viewer.toggle() : play()),
    ",": () => viewer.step(-1), ".": () => viewer.step(1),
    a: () => verdict("approved"), A: () => ask("approved"), r: () => verdict("rejected"), R: () => ask("rejected"),
    t: () => ask("retake"), u: () => verdict(null), c: mark, v: compare,
    "/": () => byId("words").focus(), "?": () => byId("help").showModal(),
  };
  for (let number = 1; number <= viewer.MOST_BESIDE; number++) keys[number] = () => pick(number);
  document.addEventListener("keydown", (event) => {
    if (byId("ask").open) {
      if (event.key === "Enter" && event.ctrlKey) byId("ask").querySelector("form").requestSubmit();
      return;
    }
    if (event.ctrlKey || event.altKey || event.metaKey || byId("help").open) return;
    if (event.target.matches("input:not([type=range]), select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const comparing = viewer.isOpen() && viewer.compared().length > 1;
    const moves = ["j", "k", "a", "A", "r", "R", "t", "u", "c", "v", "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"];
    if (comparing && moves.includes(event.key)) return;
    if (event.target.matches("button, a") && (event.key === "Enter" || event.key === " ")) return;
    const found = keys[event.key];
    if (!found) return;
    event.preventDefault();
    found();
  });
}
