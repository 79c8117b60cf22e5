// Jobs of one catalog side by side: a table of what each came to, and the takes of the same name beside one another.

import * as api from "./api.js";
import { byId, make } from "./dom.js";
import { scrubbed } from "./sprite.js";
import * as viewer from "./viewer.js";

const percent = (value) => `${(100 * value).toFixed(1)} %`;
const figure = (value) => value.toLocaleString(undefined, { maximumFractionDigits: 3 });
// What is told of each job; +1 where more is better, -1 where less is.
const METRICS = [
  ["takes committed", "committed", figure, 0], ["quarantined", "quarantined", figure, -1],
  ["shots approved", "shots_approved", figure, 1], ["takes kept", "kept", figure, 1], ["takes rejected", "rejected", figure, 0],
  ["keep rate", "keep_rate", percent, 1], ["passed their checks", "passed_rate", percent, 1],
  ["quality, mean", "quality_mean", figure, 1], ["best take of the shot", "best_shots", figure, 1],
  ["GPU seconds", "gpu_s", figure, -1], ["GPU seconds a take", "gpu_s_per_take", figure, -1],
  ["GPU seconds a second of film", "gpu_s_per_delivered_s", figure, -1],
  ["GPU seconds a used second", "gpu_s_per_used_s", figure, -1], ["cost", "money", figure, -1],
];

async function begin() {
  const { jobs, first } = await api.start();
  const asked = new URLSearchParams(location.search).getAll("job").filter((job) => jobs.includes(job));
  const chosen = asked.length > 1 || first.length < 2 ? asked : first;
  for (const job of jobs) {
    const box = make("input", { type: "checkbox", value: job });
    box.checked = chosen.includes(job);
    box.addEventListener("change", draw);
    byId("jobs").append(make("label", {}, box, ` ${job}`));
  }
  await draw();
}

async function draw() {
  const jobs = [...byId("jobs").querySelectorAll("input:checked")].map((box) => box.value);
  byId("empty").hidden = jobs.length > 1;
  byId("metrics").hidden = jobs.length < 2;
  byId("rows").replaceChildren();
  if (jobs.length < 2) return;
  history.replaceState(null, "", "?" + new URLSearchParams(jobs.map((job) => ["job", job])));
  const told = await api.bakeoff(jobs);
  byId("metrics").replaceChildren(...table(told.jobs));
  byId("rows").replaceChildren(...told.rows.map((row) => beside(told.jobs, row)));
  performance.mark("drawn");
}

function table(jobs) {
  const line = (name, cells, tag = "td") => make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((cell) => make(tag, {}, cell)));
  const rows = [line("", jobs.map((job) => job.job_id), "th"), line("model", jobs.map((job) => job.model ?? "not told"))];
  for (const name of Object.keys(jobs[0].options))
    rows.push(line(name, jobs.map((job) => (job.options[name] == null ? "–" : typeof job.options[name] === "object" ? JSON.stringify(job.options[name]) : String(job.options[name])))));
  for (const [words, name, written, better] of METRICS) {
    const values = jobs.map((job) => job.metrics[name]);
    if (values.every((value) => value == null)) continue;
    const known = values.filter((value) => value != null);
    const top = better > 0 ? Math.max(...known) : Math.min(...known);
    const differ = new Set(known).size > 1;
    rows.push(make("tr", {}, make("th", { scope: "row" }, words), ...values.map((value, number) => {
      const currency = name === "money" && value != null ? ` ${jobs[number].metrics.currency}` : "";
      return make("td", { class: better && differ && value === top ? "number most" : "number" }, value == null ? "–" : written(value) + currency);
    })));
  }
  for (const [kind, words] of [["measures", "mean"], ["reasons", "failed by"]]) {
    const names = [...new Set(jobs.flatMap((job) => Object.keys(job.metrics[kind])))].sort();
    for (const name of names)
      rows.push(make("tr", {}, make("th", { scope: "row" }, `${words} ${name}`), ...jobs.map((job) =>
        make("td", { class: "number" }, job.metrics[kind][name] == null ? "–" : figure(job.metrics[kind][name])))));
  }
  return rows;
}

function beside(jobs, row) {
  const cards = [];
  const cells = row.cells.map((take, number) => {
    const picture = make("div", { class: "pic" });
    if (!take || take.state !== "committed") picture.append(take ? take.state : "not in this job");
    else {
      picture.style.aspectRatio = `${take.width} / ${take.height}`;
      const job = jobs[number].job_id;
      picture.append(make("img", { loading: "lazy", decoding: "async", alt: "", src: api.place("poster", job, take) }));
      if (take.task !== "still" && take.frames > 1) scrubbed(picture, job, take);
      cards.push({ take, shot: { show: row.show, shot_id: `${row.shot_id} (${job})` }, job });
      picture.addEventListener("click", () => viewer.open(null, cards));
    }
    const told = take ? [take.rank != null ? `quality ${take.rank.toFixed(3)}` : "", take.gpu_s != null ? `${take.gpu_s.toFixed(1)} GPU s` : "", take.verdict ?? ""] : [];
    return make("article", {}, picture, make("div", { class: "facts" }, told.filter(Boolean).join(" · ")));
  });
  const name = row.show === "default" ? row.shot_id : `${row.show} / ${row.shot_id}`;
  const element = make("div", { class: "beside" }, make("h2", {}, `${name}, take ${row.take}`), ...cells);
  element.style.gridTemplateColumns = `repeat(${jobs.length}, minmax(160px, 320px))`;
  return element;
}

document.addEventListener("keydown", (event) => {
  if (!viewer.isOpen() || event.target.matches("button")) return;
  const acts = { " ": viewer.toggle, ",": () => viewer.step(-1), ".": () => viewer.step(1) };
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
});
begin().catch((error) => {
  byId("empty").hidden = false;
  byId("empty").textContent = error.message;
});
