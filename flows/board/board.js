"use strict";
(() => {
  const cards = Array.from(document.querySelectorAll("article"));
  const buttons = Array.from(document.querySelectorAll("[data-filter]"));
  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const empty = document.getElementById("empty");
  const texts = cards.map((card) => card.dataset.text.toLowerCase());
  let state = "";

  function apply() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    cards.forEach((card, i) => {
      const fits = (!state || card.dataset.state === state || card.dataset.verdict === state) && words.every((word) => texts[i].includes(word));
      card.hidden = !fits;
      if (fits) count += 1;
      else card.querySelector("video")?.pause();
    });
    shown.textContent = count === cards.length ? "" : count + " of " + cards.length + " shown";
    empty.hidden = count > 0;
  }

  for (const button of buttons) {
    button.addEventListener("click", () => {
      state = button.dataset.filter;
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      apply();
    });
  }
  search.addEventListener("input", apply);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && document.activeElement === search) {
      search.value = "";
      apply();
    }
  });

  document.addEventListener("click", (event) => {
    const play = event.target.closest(".play");
    if (play && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      const video = play.parentElement.querySelector("video");
      if (!video) return; // a still: the link opens the picture
      event.preventDefault();
      for (const other of document.querySelectorAll("video")) if (other !== video) other.pause();
      video.hidden = false;
      video.controls = true;
      play.hidden = true;
      video.addEventListener("error", () => {
        video.hidden = true;
        play.hidden = false;
        play.querySelector("span").textContent = "\u2715";
        play.title = "The film could not be loaded from " + video.getAttribute("src");
      }, { once: true });
      video.play().catch(() => {});
      video.focus();
      return;
    }
    const prompt = event.target.closest(".prompt.long");
    if (prompt && !String(window.getSelection())) prompt.classList.toggle("open");
  });

  for (const image of document.querySelectorAll(".picture img")) {
    const gone = () => { image.hidden = true; };
    if (image.complete && image.src && image.naturalWidth === 0 && image.loading !== "lazy") gone();
    image.addEventListener("error", gone, { once: true });
  }
  document.querySelector(".controls").hidden = false;
})();
