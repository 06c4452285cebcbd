// The page: settings, photos, downloads, tabs.

import { faces, models } from "./api.js";
import { ptsFiles, save, toCsv, toPts, toZip } from "./export.js";
import { choosePoints, drawFaces } from "./overlay.js";
import { Webcam } from "./webcam.js";

const AT_ONCE = 2; // photos at the server at the same time

const $ = (id) => document.getElementById(id);
const markups = new Map();
let known = null; // what GET /v1/models said
let photos = []; // {file, card, record}, in the order they came

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

function settings() {
  const chosen = { model: $("model").value, markup: $("markup").value, min_score: $("score").value };
  return Object.fromEntries(Object.entries(chosen).filter(([, value]) => value));
}

// Settings

async function loadModels() {
  known = await models();
  known.markups.forEach((markup) => markups.set(markup.name, markup));
  $("model").replaceChildren(...known.models.map(({ name }) => element("option", { value: name, textContent: name })));
  $("limits").textContent = `Up to ${known.limits.max_mb} MiB and ${known.limits.max_mpx} megapixels each. ${$("limits").textContent}`;
  offerMarkups();
}

function offerMarkups() {
  const before = $("markup").value;
  const { markups: names } = known.models.find(({ name }) => name === $("model").value);
  $("markup").replaceChildren(...names.map((name) => (
    element("option", { value: name, textContent: `${name} (${plural(markups.get(name).count, "point")})` }))));
  if (names.includes(before)) $("markup").value = before;
}

function showWhatIsWanted() {
  for (const what of ["points", "contours", "numbers", "boxes"]) {
    document.body.classList.toggle(`hide-${what}`, !$(`show-${what}`).checked);
  }
}

// Photos

const waiting = [];
let busy = 0;

function addPhotos(files) {
  for (const file of files) {
    const photo = { file, record: null, card: element("article", { className: "card" }) };
    photos.push(photo);
    $("cards").append(photo.card);
    enqueue(photo);
  }
  count();
}

function enqueue(photo) {
  photo.record = null;
  photo.turn = (photo.turn ?? 0) + 1; // an answer to older settings does not count
  fillCard(photo, element("p", { className: "quiet", textContent: "Waiting ..." }));
  waiting.push([photo, photo.turn]);
  work();
}

async function work() {
  while (busy < AT_ONCE && waiting.length) {
    const [photo, turn] = waiting.shift();
    if (photo.turn !== turn) continue;
    busy += 1;
    process(photo, turn).finally(() => { busy -= 1; work(); });
  }
}

async function process(photo, turn) {
  try {
    const answer = await faces(photo.file, settings());
    if (photo.turn !== turn) return;
    photo.record = { photo: photo.file.name, ...answer };
    showAnswer(photo);
  } catch (error) {
    if (photo.turn === turn) fillCard(photo, element("p", { className: "error", role: "alert", textContent: error.message }));
  }
  count();
}

function fillCard(photo, ...content) {
  const { record } = photo;
  const about = record
    ? `${record.width} × ${record.height} px, ${plural(record.faces.length, "face")}, ${Math.round(record.milliseconds)} ms`
    : "";
  photo.card.replaceChildren(
    element("h2", {}, photo.file.name || "photo", " ", element("small", { textContent: about })),
    ...content,
  );
}

function showAnswer(photo) {
  const { record } = photo;
  const markup = markups.get(record.markup);
  const stage = element("div", { className: "stage", tabIndex: record.faces.length ? 0 : -1 });
  stage.setAttribute("role", "group");
  stage.setAttribute("aria-label", `${photo.file.name}, ${plural(record.faces.length, "face")}; arrow keys go from point to point`);
  const image = element("img", { alt: photo.file.name, width: record.width, height: record.height });
  image.addEventListener("error", () => { stage.classList.add("blank"); readout.textContent = "The browser cannot show this format; the points are right."; });
  image.src = URL.createObjectURL(photo.file);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const hint = record.faces.length ? "Point at a landmark, or use the arrow keys, to see its number." : "";
  const readout = element("output", { className: "readout", textContent: hint });
  readout.setAttribute("aria-live", "polite");
  drawFaces(svg, record, markup);
  choosePoints(stage, svg, record, markup, readout);
  stage.append(image, svg);
  const found = record.faces.length ? faceTable(photo) : element("p", { textContent: "No face was found. A lower score may help." });
  fillCard(photo, element("div", { className: "columns" },
    element("figure", {}, stage, readout), element("div", { className: "found" }, found)));
}

function faceTable(photo) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const degrees = (value) => (value === undefined ? "" : `${Math.round(value)}°`);
  const rows = photo.record.faces.map((face, index) => {
    const button = element("button", { type: "button", textContent: ".pts", title: `Download the points of face ${index + 1}` });
    button.setAttribute("aria-label", button.title);
    const [name] = ptsFiles([photo.record])[index];
    button.addEventListener("click", () => save(name, toPts(face.points)));
    const cells = [index + 1, face.score.toFixed(2), face.confidence ? mean(face.confidence).toFixed(2) : "",
      degrees(face.pose?.yaw), degrees(face.pose?.pitch), degrees(face.pose?.roll)];
    return element("tr", {}, ...cells.map((text) => element("td", { textContent: text })), element("td", {}, button));
  });
  const heads = [["Face"], ["Score", "of the face detector"], ["Conf.", "mean confidence of the points"],
    ["Yaw", "positive to the image's right"], ["Pitch", "positive up"], ["Roll", "positive clockwise"], [""]];
  const head = element("tr", {}, ...heads.map(([textContent, title = ""]) => element("th", { scope: "col", textContent, title })));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
}

function count() {
  const records = photos.filter(({ record }) => record).map(({ record }) => record);
  $("all").hidden = !photos.length;
  const sum = records.reduce((total, { faces: list }) => total + list.length, 0);
  $("counts").textContent = `${plural(photos.length, "photo")}, ${plural(sum, "face")}`;
  for (const id of ["save-json", "save-csv", "save-pts"]) $(id).disabled = !records.length;
}

function records() {
  return photos.filter(({ record }) => record).map(({ record }) => record);
}

function saveAll(kind) {
  const done = records();
  if (kind === "json") save("landmarks.json", `${JSON.stringify(done, null, 1)}\n`, "application/json");
  if (kind === "csv") save("landmarks.csv", toCsv(done, markups.get(done[0].markup).count), "text/csv");
  if (kind === "pts") {
    const files = ptsFiles(done);
    if (files.length === 1) save(...files[0]);
    else if (files.length) save("landmarks.zip", toZip(files));
  }
}

// Tabs, the camera, and what starts it all

const webcam = new Webcam($("live"), {
  settings,
  markup: (name) => markups.get(name),
  speed: ({ rate, milliseconds, faces: list }) => {
    const [pose] = list.map((face) => face.pose);
    const turned = pose ? `; yaw ${Math.round(pose.yaw)}°, pitch ${Math.round(pose.pitch)}°, roll ${Math.round(pose.roll)}°` : "";
    $("speed").textContent = `${rate.toFixed(1)} frames/s, ${Math.round(milliseconds)} ms, ${plural(list.length, "face")}${turned}`;
  },
  failed: cameraFailed,
});

function cameraFailed(error) {
  $("camera").textContent = "Start the camera";
  $("camera-error").textContent = error.message;
  $("camera-error").hidden = false;
}

function stopCamera() {
  webcam.stop();
  $("live").replaceChildren();
  $("speed").textContent = "";
  $("camera").textContent = "Start the camera";
}

async function toggleCamera() {
  if (webcam.running) {
    stopCamera();
    return;
  }
  $("camera-error").hidden = true;
  $("camera").disabled = true;
  try {
    await webcam.start();
    $("camera").textContent = "Stop the camera";
  } catch (error) {
    cameraFailed(error);
  } finally {
    $("camera").disabled = false;
  }
}

const tabs = [$("tab-photos"), $("tab-webcam")];

function select(tab) {
  for (const other of tabs) {
    other.setAttribute("aria-selected", String(other === tab));
    other.tabIndex = other === tab ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
  if (tab !== $("tab-webcam")) stopCamera();
}

tabs.forEach((tab, index) => {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", ({ key }) => {
    if (key !== "ArrowLeft" && key !== "ArrowRight") return;
    const next = tabs[(index + 1) % tabs.length];
    select(next);
    next.focus();
  });
});

$("settings").addEventListener("submit", (event) => event.preventDefault());
$("score").addEventListener("input", () => { $("score-shown").textContent = Number($("score").value).toFixed(2); });
$("model").addEventListener("change", offerMarkups);
for (const id of ["model", "markup", "score"]) $(id).addEventListener("change", () => photos.forEach(enqueue));
for (const what of ["points", "contours", "numbers", "boxes"]) $(`show-${what}`).addEventListener("change", showWhatIsWanted);
$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => { addPhotos($("files").files); $("files").value = ""; });
$("sample").addEventListener("click", async () => {
  const blob = await (await fetch("/page/sample.jpg")).blob();
  addPhotos([new File([blob], "sample.jpg", { type: blob.type })]);
});
$("clear").addEventListener("click", () => {
  photos.forEach((photo) => { photo.turn += 1; });
  photos = [];
  $("cards").replaceChildren();
  count();
  $("choose").focus();
});
for (const kind of ["json", "csv", "pts"]) $(`save-${kind}`).addEventListener("click", () => saveAll(kind));
$("camera").addEventListener("click", toggleCamera);
document.addEventListener("visibilitychange", () => { if (document.hidden) stopCamera(); });

// Photos may be dropped anywhere on the page.
document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (!event.dataTransfer.files.length) return;
  select($("tab-photos"));
  addPhotos(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) addPhotos(event.clipboardData.files);
});

showWhatIsWanted();
loadModels().catch((error) => {
  $("cards").replaceChildren(element("p", { className: "error", role: "alert", textContent: error.message }));
});
