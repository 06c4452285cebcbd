// Talks to the server that this page came from, and to no other.

const TRIES = 5; // at a busy server

let token = sessionStorage.getItem("facekd-token") ?? "";

/** An answer that is an error; its message is a sentence for people. */
export class ApiError extends Error {}

/** Ask for the token and remember it for this tab. */
function askForToken() {
  const dialog = document.getElementById("ask");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const field = document.getElementById("token");
      token = field.value.trim();
      field.value = ""; // another one, if this one is wrong
      sessionStorage.setItem("facekd-token", token);
      resolve();
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

let asking = null; // one dialog, however many requests wait for it

async function request(path, options = {}) {
  for (let tries = 1; ; tries += 1) {
    let answer;
    try {
      const headers = token ? { authorization: `Bearer ${token}` } : {};
      answer = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The server does not answer; is it still running?");
    }
    if (answer.ok) return answer.json();
    if (answer.status === 401) {
      asking ??= askForToken().finally(() => { asking = null; });
      await asking;
    } else if (answer.status === 503 && tries < TRIES) {
      const seconds = Number(answer.headers.get("retry-after") ?? 1);
      await new Promise((resolve) => { setTimeout(resolve, 1000 * seconds); });
    } else {
      const body = await answer.json().catch(() => null);
      throw new ApiError(body?.error?.message ?? `The server answered ${answer.status}.`);
    }
  }
}

/** List the networks and mark-ups of the server. */
export function models() {
  return request("/v1/models");
}

/** Find the faces of a photo: a Blob, and settings {model, markup, min_score, max_faces}. */
export function faces(blob, settings, signal) {
  return request(`/v1/faces?${new URLSearchParams(settings)}`, { method: "POST", body: blob, signal });
}
