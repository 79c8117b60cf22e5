// The few calls that the page makes.

export async function start() {
  return answer(await fetch("api/start"));
}

/** The job's shots, or null where nothing has changed since `have`. */
export async function shotsOf(job, have) {
  const reply = await fetch(`api/jobs/${encodeURIComponent(job)}?have=${encodeURIComponent(have)}`);
  return reply.status === 204 ? null : answer(reply);
}

export async function bakeoff(jobs) {
  return answer(await fetch("api/bakeoff?" + new URLSearchParams(jobs.map((job) => ["job", job]))));
}

/** A verdict. Throws an error whose `shot` is what stands now, where somebody else was first. */
export async function send(job, verdict) {
  const reply = await fetch(`api/jobs/${encodeURIComponent(job)}/verdicts`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-rushes-review": "1" },
    body: JSON.stringify(verdict),
  });
  return answer(reply);
}

export const place = (kind, job, take) => `${kind}/${encodeURIComponent(job)}/${take.spec_key}`;

async function answer(reply) {
  const told = await reply.json().catch(() => ({}));
  if (reply.ok) return told;
  const words = typeof told.error === "string" ? told.error : `the server answered ${reply.status}`;
  throw Object.assign(new Error(words), { status: reply.status, shot: told.shot });
}
