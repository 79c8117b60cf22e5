// Elements made from text: nothing from a catalog is ever read as HTML.

/** `make("p", {class: "x"}, "text", child)`; empty children are left out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) element.setAttribute(name, value);
  element.append(...children.filter((child) => child != null && child !== ""));
  return element;
}

export const byId = (id) => document.getElementById(id);

export const when = (iso) => {
  const time = new Date(iso ?? "");
  return Number.isNaN(time.getTime()) ? "" : time.toLocaleString(undefined, { dateStyle: "short", timeStyle: "short" });
};

let fading = 0;
export function toast(words) {
  const place = byId("toast");
  place.textContent = words;
  place.classList.add("on");
  clearTimeout(fading);
  fading = setTimeout(() => place.classList.remove("on"), 4000);
}
